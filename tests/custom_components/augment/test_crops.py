"""Random resized crops, flips, centre crops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import as_pillow, batch, levels
from scipy import stats
from torch import Tensor

from custom_components.augment import CentreCrop, RandomFlip, RandomResizedCrop
from custom_components.errors import InputError
from custom_components.seeding import uniform


def numbers(count: int, draws: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(uniform(seed, np.zeros(count, np.int64), np.arange(count), draws))


def one_box(row: list[float], scale: tuple, ratio: tuple, height: int, width: int) -> list[int]:
    """torchvision's `get_params`, one image at a time, from given numbers."""
    for number in range(10):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * row[number])
        log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
        aspect = math.exp(log_low + (log_high - log_low) * row[10 + number])
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return [int(row[20] * (height - tall + 1)), int(row[21] * (width - wide + 1)), tall, wide]
    if width / height < ratio[0]:
        tall, wide = max(1, round(width / ratio[0])), width  # torchvision may end at 0
    elif width / height > ratio[1]:
        tall, wide = height, max(1, round(height * ratio[1]))
    else:
        tall, wide = height, width
    return [(height - tall) // 2, (width - wide) // 2, tall, wide]


SIDES = st.integers(1, 300)


@settings(deadline=None)
@given(SIDES, SIDES, st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.2, 5), st.floats(1, 3), st.integers(0, 99))
def test_boxes_are_those_of_torchvision(
    height: int, width: int, low: float, share: float, ratio: float, spread: float, seed: int
) -> None:
    scale, ratios = (low * share, share), (ratio, ratio * spread)
    random = numbers(12, RandomResizedCrop.draws, seed)
    boxes = RandomResizedCrop(8, scale, ratios).boxes(random, (height, width))
    assert boxes.dtype == torch.int64
    for row, box in zip(random.tolist(), boxes.tolist(), strict=True):
        top, left, tall, wide = box
        assert min(top, left) >= 0
        assert min(tall, wide) > 0
        assert top + tall <= height
        assert left + wide <= width
        assert box == one_box(row, scale, ratios, height, width)


def test_shares_of_the_area_ratios_and_positions_are_distributed_as_promised() -> None:
    # So large that rounding to pixels does not show, and small shares, so that no rectangle is refused.
    crop, side = RandomResizedCrop(8, (0.1, 0.5), (0.5, 2.0)), 100_000
    top, left, height, width = crop.boxes(numbers(5000, crop.draws), (side, side)).double().unbind(1)
    samples = {
        "area": (height * width / side**2 - 0.1) / 0.4,
        "ratio": ((width / height).log2() + 1) / 2,
        "top": top / (side - height),
        "left": left / (side - width),
    }
    for name, sample in samples.items():
        assert stats.kstest(sample.numpy(), "uniform").pvalue > 1e-3, name


def test_without_a_fitting_rectangle_the_largest_centred_one_is_taken() -> None:
    crop = RandomResizedCrop(8, (1.0, 1.0))
    random = numbers(5, crop.draws)
    assert crop.boxes(random, (100, 300)).tolist() == [[0, 83, 100, 133]] * 5
    assert crop.boxes(random, (300, 90)).tolist() == [[90, 0, 120, 90]] * 5
    assert RandomResizedCrop(8, (1.0, 1.0), (0.5, 0.6)).boxes(random, (50, 50)).tolist() == [[0, 10, 50, 30]] * 5


def test_the_whole_image_comes_back_at_its_own_size() -> None:
    images = batch(3, 3, 40, 40)
    crop = RandomResizedCrop(40, (1.0, 1.0), (1.0, 1.0))
    torch.testing.assert_close(crop(images, numbers(3, crop.draws)), images / 255)


def test_flips_happen_with_their_probability() -> None:
    flip = RandomFlip(0.3, 0.8)
    mirrored = flip.mirrored(numbers(20000, flip.draws)).float().mean(0)
    assert mirrored.tolist() == pytest.approx([0.8, 0.3], abs=0.02)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_flips_are_those_of_pillow(kind: torch.dtype) -> None:
    images = batch(6, 3).to(kind)
    flip = RandomFlip(0.5, 0.5)
    random = torch.tensor([[a, b] for a in (0.2, 0.9) for b in (0.1, 0.49, 0.5)])
    flipped = flip(images.clone(), random)
    assert flipped.dtype == kind
    for image, (upside, sideways), result in zip(images, (random < 0.5).tolist(), flipped, strict=True):
        expected = as_pillow(image.to(torch.uint8))
        expected = expected.transpose(1) if upside else expected  # FLIP_TOP_BOTTOM
        expected = expected.transpose(0) if sideways else expected  # FLIP_LEFT_RIGHT
        assert torch.equal(result.float(), levels(expected))


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 30), st.integers(1, 30))
def test_the_centre_is_the_centre(margin_y: int, margin_x: int, height: int, width: int) -> None:
    images = torch.arange((margin_y + height) * (margin_x + width)).view(1, 1, margin_y + height, -1)
    crop = CentreCrop([height, width])(images, torch.zeros(1, 0))
    assert crop.shape == (1, 1, height, width)
    top, left = divmod(int(crop[0, 0, 0, 0]), margin_x + width)
    assert abs(2 * top - margin_y) <= 1
    assert abs(2 * left - margin_x) <= 1


def test_wrong_settings_and_small_images_get_a_sentence() -> None:
    for wrong, message in (
        ({"scale": (0.5, 0.2)}, "scale is"),
        ({"scale": (0.0, 0.2)}, "scale is"),
        ({"ratio": (0, 1)}, "ratio is"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; it must be one of bilinear, bicubic"),
    ):
        with pytest.raises(InputError, match=message):
            RandomResizedCrop(8, **wrong)
    with pytest.raises(InputError, match="vertical is 2"):
        RandomFlip(vertical=2)
    with pytest.raises(InputError, match="CentreCrop takes 50 x 20 pixels and the images have 48 x 60; lower img_size"):
        CentreCrop([50, 20])(batch(1), torch.zeros(1, 0))
