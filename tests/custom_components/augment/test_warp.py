"""Rotation, shear and translation against Pillow."""

import pytest
import torch
from custom_components.augment.warp import GEOMETRIC, matrix, warp
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import as_pillow, batch, levels
from PIL import Image

VALUES = {"rotate": [-30.0, -11.0, 4.5, 27.0], "shear_x": [-0.3, 0.27], "shear_y": [-0.27, 0.3]}
VALUES |= {"translate_x": [-0.4, 0.05], "translate_y": [-0.05, 0.405]}


def of_pillow(image: Image.Image, name: str, value: float) -> Image.Image:
    """As timm's RandAugment calls Pillow."""
    fill = {"resample": Image.Resampling.BILINEAR, "fillcolor": 128 if image.mode == "L" else (128, 128, 128)}
    if name == "rotate":
        return image.rotate(value, **fill)
    width, height = image.size
    data = {
        "shear_x": (1, value, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, value * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, value * height),
    }[name]
    return image.transform(image.size, Image.Transform.AFFINE, data, **fill)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_each_movement_is_that_of_pillow(name: str, channels: int) -> None:
    values = VALUES[name]
    images = batch(len(values), channels)
    matrices = torch.tensor([matrix(name, value, 48, 60) for value in values])
    moved = warp(images / 255, matrices, "bilinear", 128 / 255) * 255
    for image, value, result in zip(images, values, moved, strict=True):
        difference = (result - levels(of_pillow(as_pillow(image), name, value))).abs()
        assert difference.max() <= 1.01, value  # Pillow gives whole levels
        assert (result - image).abs().max() > 20


@settings(deadline=None)
@given(st.sampled_from(GEOMETRIC), st.floats(-1, 1), st.sampled_from(["bilinear", "bicubic"]))
def test_values_stay_between_black_and_white_and_the_fill_is_not_blended(name: str, value: float, mode: str) -> None:
    images = torch.randint(0, 2, (1, 1, 20, 30)).float()
    moved = warp(images, torch.tensor([matrix(name, 40 * value if name == "rotate" else value, 20, 30)]), mode, 0.5)
    assert moved.min() >= 0
    assert moved.max() <= 1
    white = warp(torch.ones(1, 1, 20, 30), torch.tensor([matrix(name, value, 20, 30)]), mode, 0.5)
    assert set(white.mul(1000).round().unique().tolist()) <= {500.0, 1000.0}


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_no_movement_changes_nothing(name: str, mode: str) -> None:
    images = batch(1, 3) / 255
    torch.testing.assert_close(
        warp(images, torch.tensor([matrix(name, 0.0, 48, 60)]), mode, 0.5), images, atol=1e-5, rtol=0
    )


def test_whole_pixels_move_as_they_are() -> None:
    images = batch(1) / 255
    left = warp(images, torch.tensor([matrix("translate_x", 0.25, 48, 60)]), "bicubic", 0.5)
    torch.testing.assert_close(left[..., :45], images[..., 15:], atol=1e-4, rtol=0)
    assert (left[..., 45:] == 0.5).all()
