"""Equalisation against scikit-image and Pillow, resizing against Pillow, and the order of the steps."""

from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.image_prepare import (
    EQUALISE,
    FITS,
    INTERPOLATIONS,
    ORDERS,
    Recipe,
    as_channels,
    centre,
    equalise_histogram,
    equalise_locally,
    resize,
    stretch,
    to_uint8,
    value_range,
)
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from picture_files import shades
from PIL import Image, ImageOps
from skimage.exposure import equalize_adapthist, equalize_hist

PICTURES = arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 20), st.integers(1, 20)))


def test_equalisation_is_that_of_scikit_image_with_black_kept_black() -> None:
    for seed in range(5):
        pixels = shades(60, 70, seed)
        shares = equalize_hist(pixels, nbins=256)
        expected = 255 * (shares - shares.min()) / (1 - shares.min())
        np.testing.assert_allclose(equalise_histogram(pixels[None])[0], expected, atol=0.5 + 1e-6)
        # Pillow counts the pixels below a level instead of those up to it, which shifts by at most the level's share.
        largest_bin = np.bincount(pixels.ravel()).max() / pixels.size
        pillow = np.asarray(ImageOps.equalize(Image.fromarray(pixels))).astype(float)
        assert np.abs(equalise_histogram(pixels[None])[0] - pillow).max() <= 255 * 2 * largest_bin + 1


@settings(deadline=None)
@given(PICTURES)
def test_equalisation_keeps_the_order_of_the_levels(pixels: np.ndarray) -> None:
    result = equalise_histogram(pixels)
    assert result.shape == pixels.shape
    assert result.dtype == np.uint8
    if pixels.min() == pixels.max():
        np.testing.assert_array_equal(result, pixels)
        return
    assert (result[pixels == pixels.min()] == 0).all()
    assert (result[pixels == pixels.max()] == 255).all()
    order = np.argsort(pixels.ravel(), kind="stable")
    assert (np.diff(result.ravel()[order].astype(int)) >= 0).all()


@given(PICTURES.filter(lambda pixels: np.ptp(pixels) > 0))
def test_equalisation_ignores_a_monotone_change_of_exposure(pixels: np.ndarray) -> None:
    brighter = (pixels // 2 + 60).astype(np.uint8)
    distinct = len(np.unique(pixels)) == len(np.unique(brighter))
    if distinct:
        np.testing.assert_array_equal(equalise_histogram(brighter), equalise_histogram(pixels))


def test_local_equalisation_is_that_of_scikit_image() -> None:
    pixels = shades(64, 80)
    expected = equalize_adapthist(pixels, clip_limit=0.03, nbins=256) * 255
    np.testing.assert_allclose(equalise_locally(pixels[None], 0.03)[0], expected, atol=0.5 + 1e-6)
    flat = np.full((1, 20, 20), 7, np.uint8)
    np.testing.assert_array_equal(equalise_locally(flat), flat)


@pytest.mark.parametrize("work", [equalise_histogram, equalise_locally])
def test_colour_is_equalised_in_its_luma(work: Any) -> None:
    grey = shades()[None]
    np.testing.assert_array_equal(work(np.repeat(grey, 3, 0)), np.repeat(work(grey), 3, 0))
    colour = np.moveaxis(shades(channels=3) // 2 + 60, -1, 0).astype(np.uint8)
    before, after = (Image.fromarray(np.moveaxis(p, 0, -1)).convert("YCbCr").split() for p in (colour, work(colour)))
    spread = [np.asarray(image[0]).std() for image in (before, after)]
    assert spread[1] > 1.2 * spread[0]
    unclipped = (np.moveaxis(work(colour), 0, -1) > 0).all(-1) & (np.moveaxis(work(colour), 0, -1) < 255).all(-1)
    for channel in (1, 2):
        shift = np.asarray(after[channel]).astype(int) - np.asarray(before[channel]).astype(int)
        assert np.abs(shift[unclipped]).max() <= 2


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_squashing_is_pillows_resize(interpolation: str) -> None:
    pixels = shades(90, 50)
    expected = Image.fromarray(pixels).resize((32, 32), INTERPOLATIONS[interpolation])
    np.testing.assert_array_equal(resize(pixels[None], 32, "squash", interpolation)[0], expected)
    colour = shades(90, 50, channels=3)
    expected = Image.fromarray(colour).resize((32, 32), INTERPOLATIONS[interpolation])
    got = resize(np.moveaxis(colour, -1, 0), 32, "squash", interpolation)
    np.testing.assert_array_equal(np.moveaxis(got, 0, -1), expected)


def test_shrinking_averages_over_all_pixels() -> None:
    """The default must not alias: a checkerboard of single pixels becomes grey, not black or white."""
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    small = Recipe(32, 1, "none").apply(checks[None])
    assert np.abs(small.astype(int) - 128).max() <= 8


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.sampled_from(FITS))
def test_every_fit_gives_the_size(height: int, width: int, size: int, fit: str) -> None:
    pixels = np.full((1, height, width), 200, np.uint8)
    result = Recipe(size, 1, "none", fit=fit).apply(pixels)
    assert result.shape == (1, size, size)
    filled = (result[0] == 200).sum()
    if fit == "pad":
        longer = max(height, width)
        sides = [max(1, round(size * side / longer)) for side in (height, width)]
        assert filled == sides[0] * sides[1]
    else:
        assert filled == size * size


def test_padding_is_even_and_cropping_takes_the_middle() -> None:
    wide = np.full((1, 10, 40), 255, np.uint8)
    padded = centre(resize(wide, 20, "pad", "area"), 20)[0]
    assert padded[:7].max() == padded[12:].max() == 0  # 5 rows, 7 above and 8 below
    assert padded[7:12].min() == 255
    steps = np.repeat(np.arange(4, dtype=np.uint8), 10)[None, None].repeat(10, 1)  # four squares side by side
    np.testing.assert_array_equal(resize(steps, 10, "crop", "nearest")[0, 0], [1] * 5 + [2] * 5)


def test_the_orders_differ_and_bars_take_no_part() -> None:
    tall = shades(80, 30)[None]
    first = Recipe(40, 1, order="equalise_first").apply(tall)
    last = Recipe(40, 1, order="resize_first").apply(tall)
    assert not np.array_equal(first, last)
    np.testing.assert_array_equal(first[0], centre(resize(equalise_histogram(tall), 40, "pad", "bilinear"), 40)[0])
    inner = last[0][:, last[0].any(0)]
    np.testing.assert_array_equal(inner, equalise_histogram(resize(tall, 40, "pad", "bilinear"))[0])
    # Half of the picture is bars; had they been counted, everything else would lie in the upper half.
    assert np.median(inner) < 150


@pytest.mark.parametrize("equalise", EQUALISE)
@pytest.mark.parametrize("order", ORDERS)
def test_grey_in_three_channels_is_grey_three_times(equalise: str, order: str) -> None:
    pixels = shades()[None]
    three, one = (Recipe(24, channels, equalise, order).apply(pixels) for channels in (3, 1))
    np.testing.assert_array_equal(three, np.repeat(one, 3, 0))
    colour = np.moveaxis(shades(channels=3), -1, 0)
    assert Recipe(24, 1, equalise, order).apply(colour).shape == (1, 24, 24)
    assert Recipe(24, 3, equalise, order).apply(colour).shape == (3, 24, 24)


def test_colour_to_grey_is_pillows_luma() -> None:
    colour = shades(channels=3)
    grey = as_channels(np.ascontiguousarray(np.moveaxis(colour, -1, 0)), 1)
    np.testing.assert_array_equal(grey[0], np.asarray(Image.fromarray(colour).convert("L")))
    equal = np.repeat(shades()[None], 3, 0)
    np.testing.assert_array_equal(as_channels(equal, 1), shades()[None])


def test_the_range_is_robust() -> None:
    values = np.arange(10_000, dtype=np.uint16)
    values[0] = 65535
    low, high = value_range(values)
    assert (low, high) == pytest.approx(tuple(np.percentile(values, (0.1, 99.9))))
    few = np.zeros(10_000)
    few[3] = 9
    assert value_range(few) == (0, 9)
    assert value_range(np.empty(0)) == (0, 0)


@given(arrays(np.int32, 50), st.floats(-1e9, 1e9, width=32), st.floats(-1e9, 1e9, width=32))
def test_stretching(values: np.ndarray, low: float, high: float) -> None:
    unit = stretch(values, low, high)
    assert unit.dtype == np.float32
    assert ((unit >= 0) & (unit <= 1)).all()
    if low < high:
        assert (unit[values <= low] == 0).all()
        assert (unit[values >= high] == 1).all()
    else:
        assert not unit.any()
    assert to_uint8(unit).dtype == np.uint8


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"size": 0}, "size is 0; it must be a whole number"),
        ({"size": 2.5}, "size is 2.5"),
        ({"size": True}, "size is True"),
        ({"channels": 4}, "channels is 4; choose one of 1, 3"),
        ({"equalise": "histogram"}, "equalise is 'histogram'; choose one of hist, clahe, none"),
        ({"order": "first"}, "order is 'first'"),
        ({"fit": "stretch"}, "fit is 'stretch'; choose one of pad, squash, crop"),
        ({"interpolation": "cubic"}, "interpolation is 'cubic'"),
        ({"clip_limit": 0.0}, "clip_limit is 0.0"),
    ],
)
def test_a_wrong_setting_is_refused(setting: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Recipe(**setting)


def test_settings_without_effect_do_not_count() -> None:
    assert Recipe(equalise="none", order="resize_first").settings() == Recipe(equalise="none").settings()
    assert Recipe(clip_limit=0.5).settings() == Recipe().settings()
    assert Recipe(equalise="clahe", clip_limit=0.5).settings() != Recipe(equalise="clahe").settings()
