"""What is usual among pictures, and which picture is not."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.picture_looks import differences, summed_up
from bundle_runtime.data.verify_pictures import look_of
from hypothesis import given, settings
from hypothesis import strategies as st

WHAT = "those of the training"


def chest(seed: int, size: tuple[int, int] = (60, 50)) -> np.ndarray:
    """Bright middle and shoulders between two dark lungs, on a dark ground, uint8 (1, H, W)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(size) / np.array(size).reshape(2, 1, 1)
    lungs = sum(np.exp(-(((columns - x) / 0.12) ** 2) - ((rows - 0.5) / 0.25) ** 2) for x in (0.3, 0.7))
    body = 1 / (1 + np.exp(30 * (np.abs(columns - 0.5) - 0.45)))
    values = body * (210 - 150 * lungs) * rng.uniform(0.9, 1.1) + rng.normal(0, 8, size)
    return values.clip(0, 255).astype(np.uint8)[None]


def tile(seed: int) -> np.ndarray:
    """Pink ground with violet nuclei anywhere, uint8 (3, H, W)."""
    rng = np.random.default_rng(seed)
    pixels = np.full((3, 48, 48), 215.0) + np.reshape((5, -30, 0), (3, 1, 1)) + rng.normal(0, 6, (48, 48))
    for row, column in rng.integers(0, 44, (20, 2)):
        pixels[:, row : row + 4, column : column + 4] = np.reshape((90, 60, 140), (3, 1, 1))
    return pixels.clip(0, 255).astype(np.uint8)


def usual(pictures: Sequence[np.ndarray]) -> dict[str, Any]:
    return summed_up([look_of(picture) for picture in pictures])


CHESTS, TILES = usual([chest(seed) for seed in range(30)]), usual([tile(seed) for seed in range(30)])


def said(picture: np.ndarray, seen: dict[str, Any]) -> list[str]:
    return differences(look_of(picture), seen, WHAT)


def test_what_is_kept_is_small_and_plain() -> None:
    assert len(look_of(chest(0))) == len(look_of(tile(0))) == 92
    assert {key: len(values) for key, values in TILES.items()} == {"levels": 3, "tint": 3, "layout": 64, "likeness": 3}
    assert CHESTS["tint"] == []
    assert sorted(CHESTS["likeness"]) == CHESTS["likeness"]
    assert CHESTS["likeness"][0] > 0.9
    assert usual([chest(seed) for seed in range(4)]) == {}


def test_the_levels_are_those_of_the_picture() -> None:
    picture = np.arange(200, dtype=np.uint8).repeat(5)[None, :, None].repeat(8, axis=2)
    low, middle, high = np.array(usual([picture] * 5)["levels"])[1]
    assert (low, middle, high) == (0, 99, 198)


@settings(deadline=None, max_examples=60)
@given(st.integers(100, 10_000), st.floats(0.9, 1.1), st.integers(-10, 10))
def test_pictures_like_the_others(seed: int, contrast: float, brightness: int) -> None:
    for picture, seen in ((chest(seed), CHESTS), (tile(seed), TILES)):
        other = (picture * contrast + brightness).clip(0, 255).astype(np.uint8)
        assert said(other, seen) == []


@pytest.mark.parametrize("seed", range(5))
def test_black_and_white_exchanged(seed: int) -> None:
    assert any("are black and white exchanged" in text for text in said(255 - chest(100 + seed), CHESTS))
    assert any("has other colours" in text for text in said(255 - tile(100 + seed), TILES))  # nothing else in common


@pytest.mark.parametrize("seed", range(5))
def test_channels_exchanged(seed: int) -> None:
    """Green and red, or red and blue of pictures that are more red than blue, as OpenCV writes them."""
    picture = tile(300 + seed)
    (text,) = said(picture[[1, 0, 2]], TILES)
    assert re.match(
        r"has other colours \(red -\d+, blue -?\+?\d+ against green\) than those of the training \(red \+", text
    )
    skin = [np.clip(tile(number) + np.reshape((40, 0, -40), (3, 1, 1)), 0, 255).astype(np.uint8) for number in range(9)]
    assert said(skin[0], usual(skin)) == []
    assert "are its channels exchanged" in " ".join(said(skin[0][::-1], usual(skin)))
    assert said(chest(seed).repeat(3, axis=0), CHESTS) == []  # grey stored as colour


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels // 16,  # 12 of 16 bits, cut to the upper 8
        lambda pixels: 200 + pixels // 5,
        lambda pixels: (pixels.astype(int) * 3).clip(0, 255).astype(np.uint8),
        lambda pixels: np.zeros_like(pixels),
    ],
)
def test_another_window(change: object) -> None:
    for number in range(3):
        (text,) = [entry for entry in said(change(chest(200 + number)), CHESTS) if "window" in entry]
        assert text.startswith("holds grey levels from ")
        assert "those of the training from" in text


def test_a_blank_picture_has_no_layout_to_compare() -> None:
    assert [text for text in said(np.full((1, 9, 9), 120, np.uint8), CHESTS) if "exchanged" in text] == []
