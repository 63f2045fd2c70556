import numpy as np
import pytest
from mae_tools.demo_data.tissue import KINDS, Stain, paint_tissue
from scipy.ndimage import label


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_shows_numbered_nuclei_that_are_darker_than_the_rest(kind: str) -> None:
    stain = Stain.draw(rng(1))
    pixels, objects = paint_tissue(rng(2), 96, 112, kind, stain)
    assert (pixels.shape, pixels.dtype) == ((96, 112, 3), np.uint8)
    assert (objects.shape, objects.dtype) == ((96, 112), np.uint16)
    again = paint_tissue(rng(2), 96, 112, kind, stain)
    assert np.array_equal(pixels, again[0])
    assert np.array_equal(objects, again[1])
    numbers = np.unique(objects)
    assert numbers.tolist() == list(range(len(numbers)))
    assert len(numbers) > 5
    for number in numbers[1:]:
        assert label(objects == number)[1] == 1
        assert (objects == number).sum() >= 10
    assert pixels[objects > 0][:, 0].mean() < pixels[objects == 0][:, 0].mean() - 20


def test_nuclei_differ_between_kinds_as_they_should() -> None:
    sizes, counts = {}, {}
    for kind in KINDS:
        objects = [paint_tissue(rng(3, n), 112, 112, kind, Stain.draw(rng(n)))[1] for n in range(6)]
        areas = [np.bincount(piece.ravel())[1:] for piece in objects]
        counts[kind] = np.mean([len(found) for found in areas])
        sizes[kind] = np.mean(np.concatenate(areas))
    assert sizes["tumour"] > 1.3 * sizes["lymphocytes"]
    assert counts["lymphocytes"] > 2 * counts["stroma"]


def test_the_mean_colour_tells_no_kind() -> None:
    """A tile's kind cannot be read off its redness: within a kind it varies more than between kinds."""
    colours = np.array([
        [paint_tissue(rng(5, n), 80, 80, kind, Stain.draw(rng(n)))[0].mean((0, 1)) for n in range(12)] for kind in KINDS
    ])  # fmt: skip
    assert (colours.std(axis=1).mean(axis=0) > colours.mean(axis=1).std(axis=0)).all()


def test_slides_are_stained_differently() -> None:
    colours = [paint_tissue(rng(4), 64, 64, "stroma", Stain.draw(rng(n)))[0].mean((0, 1)) for n in range(8)]
    assert np.std(colours, axis=0).min() > 4
