"""One case against the mean of others, as a record of the training keeps it."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.body import coarse_picture
from bundle_runtime.data.flips import FLIPS, flips_against, in_words, packed, unpacked
from head_files import SEQUENCES, draw

RAS = np.diag([2.0, 2, 3, 1])


def head(seed: int) -> np.ndarray:
    volume = draw(seed)[0][SEQUENCES[seed % 4]]
    found = coarse_picture(nib.Nifti1Image(volume, RAS), volume)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def mean() -> np.ndarray:
    return unpacked(packed(np.sum([head(seed) for seed in range(6)], axis=0)))


def test_a_text_keeps_a_picture() -> None:
    picture = head(0)
    text = packed(picture)
    assert len(text) < 11_000
    assert np.allclose(unpacked(text), picture, atol=0.01 * np.abs(picture).max())
    assert not unpacked(packed(np.zeros_like(picture))).any()


def test_heads_that_lie_right(mean: np.ndarray) -> None:
    assert not any(flips_against(head(seed), mean) for seed in range(6, 12))


@pytest.mark.parametrize("axes", [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)])
def test_flipped_ones_are_found(mean: np.ndarray, axes: tuple[int, ...]) -> None:
    for seed in range(6, 9):
        found = flips_against(np.flip(head(seed), axes), mean)
        assert axes in found if axes != (0,) else found == []  # the sides of a head are too alike


def test_in_words() -> None:
    assert in_words([(1,)]) == "front-back"
    assert in_words([(1, 2), (0, 1, 2)]) == (
        "front-back and head-foot (and perhaps left-right: the two sides are too alike to tell)"
    )
    assert len(FLIPS) == 8
