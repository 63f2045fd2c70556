import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from custom_components.errors import InputError
from mae_tools.demo_data.stain import Stain
from mae_tools.demo_data.tissue import paint_tissue
from mae_tools.demo_data.tissue_kinds import KINDS


def paint(seed: int, kind: str, size: int = 128, stain: Stain | None = None) -> tuple[np.ndarray, np.ndarray]:
    return paint_tissue(np.random.default_rng(seed), size, size, kind, stain or Stain())


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(list(KINDS)), st.integers(16, 80), st.integers(16, 80))
def test_any_size_and_seed(seed: int, kind: str, height: int, width: int) -> None:
    rgb, instances = paint_tissue(np.random.default_rng(seed), height, width, kind, Stain())
    assert (rgb.shape, rgb.dtype) == ((height, width, 3), np.uint8)
    assert (instances.shape, instances.dtype) == ((height, width), np.uint16)
    numbers = np.unique(instances)
    assert list(numbers[numbers > 0]) == list(range(1, int(instances.max()) + 1))
    for number in range(1, int(instances.max()) + 1):
        assert ndimage.label(instances == number)[1] == 1
        assert (instances == number).sum() >= 12
    again = paint_tissue(np.random.default_rng(seed), height, width, kind, Stain())
    assert np.array_equal(rgb, again[0])
    assert np.array_equal(instances, again[1])


@pytest.mark.parametrize("kind", list(KINDS))
def test_nuclei_are_bluer_and_darker_than_the_rest(kind: str) -> None:
    for seed in range(4):
        rgb, instances = paint(seed, kind)
        inside, outside = rgb[instances > 0].mean(0), rgb[instances == 0].mean(0)
        assert inside[0] < outside[0] - 25
        assert inside[2] > inside[0] > inside[1]


def touching(instances: np.ndarray) -> int:
    """Pairs of neighbouring pixels that belong to different nuclei."""
    return sum(
        int(((first != second) & (first > 0) & (second > 0)).sum())
        for first, second in ((instances[1:], instances[:-1]), (instances[:, 1:], instances[:, :-1]))
    )


def test_what_the_kinds_are_told_apart_by() -> None:
    area: dict[str, list[float]] = {}
    spread: dict[str, list[float]] = {}
    thin: dict[str, list[float]] = {}
    for kind in KINDS:
        for seed in range(5):
            instances = paint(seed, kind)[1]
            sizes = np.bincount(instances.ravel())[1:]
            area.setdefault(kind, []).append(float(np.median(sizes)))
            spread.setdefault(kind, []).append(float(sizes.std() / sizes.mean()))
            shapes = []
            for number in range(1, int(instances.max()) + 1):
                points = np.argwhere(instances == number)
                small, large = np.linalg.eigvalsh(np.cov(points.T) + 0.1 * np.eye(2))
                shapes.append(np.sqrt(small / large))
            thin.setdefault(kind, []).append(float(np.median(shapes)))
        assert sum(touching(paint(seed, kind)[1]) for seed in range(5)) > 0
    assert np.mean(thin["stroma"]) < 0.5 < 0.8 < np.mean(thin["lymphocytes"])
    assert np.mean(area["tumour"]) > 1.2 * np.mean(area["lymphocytes"])
    assert np.mean(spread["tumour"]) > np.mean(spread["lymphocytes"])


def test_one_slide_has_one_stain() -> None:
    pale = paint(0, "stroma", stain=Stain(eosin=(0.05, 0.3, 0.15)))[0]
    dark = paint(0, "stroma", stain=Stain(eosin=(0.25, 1.2, 0.6)))[0]
    assert pale[..., 1].mean() > dark[..., 1].mean() + 20


@pytest.mark.parametrize(
    ("kind", "size", "sentence"),
    [("fat", 64, "kind is 'fat'; choose one of normal, tumour"), ("stroma", 8, "8 x 8 pixels is too small")],
)
def test_refusals(kind: str, size: int, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        paint(0, kind, size)
