"""Grey level and colour operations against Pillow."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from custom_components.augment import colour
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import as_pillow, batch, levels
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

FACTORS = [0.1, 0.55, 1.0, 1.3, 1.9]


def solarize_add(image: Image.Image, amount: float) -> Image.Image:
    return image.point(
        [min(255, level + int(amount)) if level < 128 else level for level in range(256)] * len(image.getbands())
    )


# Ours, Pillow's, the values to try, and the levels by which Pillow's own rounding may separate them.
Graded = tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Image.Image, float], Image.Image], list[float], float]
GRADED: dict[str, Graded] = {
    "brightness": (colour.brightness, lambda image, v: ImageEnhance.Brightness(image).enhance(v), FACTORS, 1.0),
    "contrast": (colour.contrast, lambda image, v: ImageEnhance.Contrast(image).enhance(v), FACTORS, 1.0),
    "colour": (colour.colour, lambda image, v: ImageEnhance.Color(image).enhance(v), FACTORS, 1.5),
    "sharpness": (colour.sharpness, lambda image, v: ImageEnhance.Sharpness(image).enhance(v), FACTORS, 1.5),
    "posterize": (colour.posterize, lambda image, v: ImageOps.posterize(image, int(v)), [1, 2, 4, 8], 0.0),
    "solarize": (colour.solarize, lambda image, v: ImageOps.solarize(image, int(v)), [0, 26, 128, 256], 0.0),
    "solarize_add": (colour.solarize_add, solarize_add, [0, 11, 110], 0.0),
}
PLAIN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Image.Image], Image.Image], float]] = {
    "autocontrast": (colour.autocontrast, ImageOps.autocontrast, 1.0),
    "equalize": (colour.equalize, ImageOps.equalize, 0.0),
    "invert": (colour.invert, ImageOps.invert, 0.0),
}
SLACK = 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", GRADED)
def test_graded_operations_are_those_of_pillow(name: str, channels: int) -> None:
    ours, theirs, values, tolerance = GRADED[name]
    images = batch(len(values), channels)
    results = ours(images / 255, torch.tensor(values, dtype=torch.float32)) * 255
    for image, value, result in zip(images, values, results, strict=True):
        expected = levels(theirs(as_pillow(image), value))
        assert (result - expected).abs().max() <= tolerance + SLACK, value


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_operations_are_those_of_pillow(name: str, channels: int) -> None:
    ours, theirs, tolerance = PLAIN[name]
    images = batch(4, channels)
    images[1] = images[1] // 8 + 90  # low contrast
    images[2] = (images[2] > 100) * 200  # two levels
    for image, result in zip(images, ours(images / 255) * 255, strict=True):
        assert (result - levels(theirs(as_pillow(image)))).abs().max() <= tolerance + SLACK


@settings(deadline=None)
@given(
    st.sampled_from(sorted(PLAIN)),
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.integers(0, 255), min_size=1),
    st.integers(0, 9),
)
def test_histogram_operations_on_any_image(name: str, height: int, width: int, palette: list[int], seed: int) -> None:
    ours, theirs, tolerance = PLAIN[name]
    pixels = np.random.default_rng(seed).choice(np.array(palette, np.uint8), (height, width))
    result = ours(torch.from_numpy(pixels)[None, None] / 255)[0] * 255
    assert (result - levels(theirs(Image.fromarray(pixels)))).abs().max() <= tolerance + SLACK


@pytest.mark.parametrize("level", [76.5, 80.0])  # half-way between two levels, and on one
def test_rounding_errors_are_not_stretched_to_full_contrast(level: float) -> None:
    # Resampling a constant image leaves differences of 1e-7, which on whole grey levels would not exist.
    flat = level / 255 + (torch.rand(2, 1, 32, 32) - 0.5) * 1e-6
    torch.testing.assert_close(colour.autocontrast(flat), flat)
    torch.testing.assert_close(colour.equalize(flat), flat)
    nearly = flat.clone()
    nearly[:, :, :16] = 0.5
    stretched = colour.autocontrast(nearly)
    assert stretched[:, :, :16].min() > 0.99
    assert stretched[:, :, 16:].max() < 0.01


def test_colour_leaves_grey_images_alone() -> None:
    grey, factor = batch(2) / 255, torch.tensor([0.1, 1.9])
    assert torch.equal(colour.colour(grey, factor), grey)
    three = grey.expand(-1, 3, -1, -1)
    torch.testing.assert_close(colour.colour(three, factor), three)


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (3, 3)])
def test_images_without_an_inside_are_not_sharpened(shape: tuple[int, int]) -> None:
    image = torch.rand(1, 1, *shape)
    result = colour.sharpness(image, torch.tensor([1.9]))
    edge = torch.ones(shape, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert torch.equal(result[0, 0][edge], image[0, 0][edge])
    assert torch.equal(result, image) is (min(shape) < 3)


@given(st.sampled_from(sorted(GRADED)), st.floats(0.1, 1.9), st.integers(0, 9))
def test_an_image_alone_is_treated_as_in_a_batch(name: str, factor: float, seed: int) -> None:
    run = GRADED[name][0]
    images = torch.rand(3, 1, 6, 7, generator=torch.Generator().manual_seed(seed))
    values = torch.tensor([factor, 1.2, 0.7])
    torch.testing.assert_close(run(images.clone(), values)[:1], run(images[:1].clone(), values[:1]))
