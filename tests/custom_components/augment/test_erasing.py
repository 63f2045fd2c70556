"""Random erasing."""

import math

import numpy as np
import pytest
import torch
from custom_components.augment import RandomErasing
from custom_components.augment.erasing import noise
from custom_components.errors import InputError
from custom_components.seeding import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import batch
from scipy import stats
from torch import Tensor


def numbers(count: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(uniform(seed, np.zeros(count, np.int64), np.arange(count), RandomErasing.draws))


def one_box(row: list[float], step: RandomErasing, height: int, width: int) -> list[int] | None:
    """timm's choice, one image at a time, from given numbers."""
    low, high = (math.log(value) for value in step.ratio)
    for number in range(10):
        area = height * width * (step.area[0] + (step.area[1] - step.area[0]) * row[number])
        aspect = math.exp(low + (high - low) * row[10 + number])
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if tall < height and wide < width:
            return [int(row[21] * (height - tall + 1)), int(row[22] * (width - wide + 1)), tall, wide]
    return None


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(2, 60), st.floats(0, 1), st.integers(0, 99))
def test_the_rectangle_is_timms_and_all_else_stays(height: int, width: int, probability: float, seed: int) -> None:
    step, random = RandomErasing(probability, fill=-7.0), numbers(8, seed)
    images = torch.rand(8, 2, height, width)
    result = step(images.clone(), random)
    for image, row, new in zip(images, random.tolist(), result, strict=True):
        expected, box = image.clone(), one_box(row, step, height, width)
        if row[20] < probability and box is not None:
            expected[:, box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = -7
        assert torch.equal(new, expected)


def test_the_share_of_erased_images_and_their_area() -> None:
    step = RandomErasing(0.25, area=(0.05, 0.2), ratio=(0.5, 2.0))
    found, boxes = step.boxes(numbers(20000), (100_000, 100_000))
    assert found.double().mean().item() == pytest.approx(0.25, abs=0.01)
    height, width = boxes[found][:, 2:].double().unbind(1)
    assert stats.kstest(((height * width / 1e10 - 0.05) / 0.15).numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest((((height / width).log2() + 1) / 2).numpy(), "uniform").pvalue > 1e-3


def test_noise_is_standard_normal_and_belongs_to_the_image() -> None:
    step, images = RandomErasing(1.0, area=(0.5, 0.5), ratio=(1.0, 1.0), fill="noise"), torch.full((6, 3, 90, 90), 9.0)
    result = step(images.clone(), numbers(6))
    parts = [image[image != 9] for image in result]
    for part in parts:
        assert len(part) == 3 * 64 * 64
        assert stats.kstest(part.numpy(), "norm").pvalue > 1e-3
    for first, second in ((parts[0], parts[1]), (parts[2][:4096], parts[2][4096:8192])):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(parts[0][:-1], parts[0][1:])[0, 1]) < 0.05
    assert torch.equal(result[2:3], step(images[2:3].clone(), numbers(6)[2:3]))


def test_noise_of_many_keys_has_no_outliers_and_no_repetition() -> None:
    drawn = noise(torch.arange(0, 2**24, 2**14), torch.Size([1024, 1, 16, 16]))
    assert torch.isfinite(drawn).all()
    assert drawn.abs().max() < 7
    assert abs(drawn.mean().item()) < 0.01
    assert drawn.std().item() == pytest.approx(1, abs=0.01)
    assert len(drawn.flatten(1).unique(dim=0)) == 1024
    between = np.corrcoef(drawn[:2].flatten(1).numpy())[0, 1]
    assert abs(between) < 0.3


def test_uint8_images_become_float() -> None:
    images = batch(4)
    result = RandomErasing(0.0)(images, numbers(4))
    torch.testing.assert_close(result, images / 255)


def test_wrong_settings_get_a_sentence() -> None:
    for wrong, message in (
        ({"probability": 2}, "probability is 2"),
        ({"area": (0.5, 0.1)}, "area is"),
        ({"ratio": (0, 1)}, "ratio is"),
        ({"fill": "mean"}, "fill is 'mean'; it must be a number or noise"),
    ):
        with pytest.raises(InputError, match=message):
            RandomErasing(**wrong)
