"""Brightness, contrast, saturation and hue."""

import colorsys

import pytest
import torch
from custom_components.augment import PhotometricDistortion, Pipeline
from custom_components.errors import InputError

PICTURES = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))


def changed(which: int, amount: float, images: torch.Tensor = PICTURES) -> torch.Tensor:
    """Only the change number `which`, with the random number `amount`."""
    random = torch.full((len(images), 8), 0.99)
    random[:, 2 * which], random[:, 2 * which + 1] = 0.0, amount
    return PhotometricDistortion(prob=0.5)(images, random)


def test_nothing_is_changed_where_chance_says_so() -> None:
    torch.testing.assert_close(PhotometricDistortion()(PICTURES, torch.full((4, 8), 0.9)), PICTURES)


def test_brightness_and_contrast() -> None:
    torch.testing.assert_close(changed(0, 1.0), (PICTURES + 32 / 255).clamp(0, 1))
    torch.testing.assert_close(changed(1, 0.0), PICTURES * 0.5)


def test_saturation_and_hue_leave_grey_alone() -> None:
    grey = torch.rand(2, 1, 4, 4).repeat(1, 3, 1, 1)
    for which in (2, 3):
        torch.testing.assert_close(changed(which, 0.9, grey), grey, atol=1e-5, rtol=0)


def test_hue_turns_the_colour_circle_as_hsv_does_roughly() -> None:
    red = torch.tensor([0.6, 0.3, 0.3])[None, :, None, None]
    hues = [colorsys.rgb_to_hsv(*changed(3, amount, red)[0, :, 0, 0].tolist())[0] for amount in (0.75, 1.0)]
    turned = [(0.5 - abs(hue - 0.5)) for hue in hues]  # distance from red on the circle
    assert 0.02 < turned[0] < turned[1] < 0.16


def test_saturation_of_nothing_is_luma() -> None:
    half = PhotometricDistortion(saturation=(1e-6, 1e-6), prob=1.0, brightness=0, contrast=(1, 1), hue=0)
    luma = torch.einsum("c,bchw->bhw", torch.tensor([0.299, 0.587, 0.114]), PICTURES)
    torch.testing.assert_close(half(PICTURES, torch.zeros(4, 8)), luma[:, None].repeat(1, 3, 1, 1), atol=1e-4, rtol=0)


def test_bytes_grey_pictures_and_a_pipeline() -> None:
    pipeline = Pipeline([PhotometricDistortion()])
    assert pipeline.draws == 8
    images = (PICTURES[:, :1] * 255).to(torch.uint8)
    result = pipeline(images, torch.rand(4, 8))
    assert result.dtype == torch.float32
    assert result.shape == images.shape
    assert 0 <= result.min() <= result.max() <= 1


def test_a_picture_does_not_depend_on_its_batch() -> None:
    random = torch.rand(4, 8)
    whole = PhotometricDistortion()(PICTURES, random)
    torch.testing.assert_close(whole[2:3], PhotometricDistortion()(PICTURES[2:3], random[2:3]))


def test_mistakes_are_refused() -> None:
    for settings in ({"brightness": 2.0}, {"hue": 0.6}, {"contrast": (1.5, 0.5)}, {"prob": 1.5}):
        with pytest.raises(InputError):
            PhotometricDistortion(**settings)
    with pytest.raises(InputError, match="1 or 3 channels; the images have 4"):
        PhotometricDistortion()(torch.rand(1, 4, 2, 2), torch.rand(1, 8))
