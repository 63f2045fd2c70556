"""RandAugment on batches."""

import numpy as np
import pytest
import torch
from custom_components.augment import RandAugment
from custom_components.errors import InputError
from custom_components.seeding import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import as_pillow, batch, levels
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats
from torch import Tensor

NO_OP = [0.0, 0.9, 0.5, 0.0, 0.9]  # probability 0.5: not applied


def numbers(count: int, draws: int) -> Tensor:
    return torch.from_numpy(uniform(0, np.zeros(count, np.int64), np.arange(count), draws))


def columns(step: RandAugment, name: str, sign: int, magnitude: float = 0.5) -> list[float]:
    """Random numbers that make one operation certain; `magnitude` is a quantile of its distribution."""
    position = (step.operations.index(name) + 0.5) / len(step.operations)
    return [position, 0.0, magnitude, 0.1 if sign > 0 else 0.9, 0.9]


def test_the_operations() -> None:
    kept = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y", "autocontrast", "equalize"}
    kept |= {"colour", "contrast", "brightness", "sharpness"}
    assert set(RandAugment().operations) == kept
    assert set(RandAugment(inversion=True).operations) == kept | {"invert", "posterize", "solarize", "solarize_add"}
    assert len(RandAugment(inversion=True).operations) == 15
    assert RandAugment(num_ops=3).draws == 15


@pytest.mark.parametrize("inversion", [False, True])
def test_operations_are_drawn_evenly_applied_half_the_time_and_signed_evenly(inversion: bool) -> None:
    step = RandAugment(inversion=inversion)
    operation, change, bicubic = step.decide(numbers(30000, 5))
    applied = operation >= 0
    assert applied.double().mean().item() == pytest.approx(0.5, abs=0.015)
    counts = torch.bincount(operation[applied], minlength=len(step.operations))
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert (change > 0).double().mean().item() == pytest.approx(0.5, abs=0.015)
    assert bicubic.double().mean().item() == pytest.approx(0.5, abs=0.015)


def test_magnitudes_are_normal_and_clipped() -> None:
    random = numbers(20000, 5)
    size = 10 * RandAugment(magnitude=5.0).decide(random)[1].abs()
    assert stats.kstest(size.numpy(), "norm", args=(5.0, 0.5)).pvalue > 1e-3
    size = 10 * RandAugment().decide(random)[1].abs()
    assert size.max() == 10
    assert (size == 10).double().mean().item() == pytest.approx(stats.norm.sf(2.0), abs=0.004)
    random[0, 2] = 0.0  # the lowest number there is
    assert RandAugment().decide(random)[1][0].abs().item() == pytest.approx(0.9 + 0.05 * stats.norm.ppf(2.0**-25))
    assert set(RandAugment(magnitude_std=0.0).decide(random)[1].abs().tolist()) == {0.9}


def expected(image: Image.Image, name: str, sign: int) -> Image.Image:
    """What the reference's op does at magnitude 9, as Pillow calls."""
    grey = image.mode == "L"
    fill = {"resample": Image.Resampling.BILINEAR, "fillcolor": 128 if grey else (128, 128, 128)}
    width, height = image.size
    if name in ("colour", "contrast", "brightness", "sharpness"):
        kind = {"colour": "Color"}.get(name, name.capitalize())
        return getattr(ImageEnhance, kind)(image).enhance(1 + sign * 0.81)
    if name == "rotate":
        return image.rotate(sign * 27, **fill)
    affine = {
        "shear_x": (1, sign * 0.27, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, sign * 0.27, 1, 0),
        "translate_x": (1, 0, sign * 0.405 * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, sign * 0.405 * height),
    }
    if name in affine:
        return image.transform(image.size, Image.Transform.AFFINE, affine[name], **fill)
    if name == "solarize_add":
        table = [min(255, level + 99) if level < 128 else level for level in range(256)]
        return image.point(table * len(image.getbands()))
    arguments = {"posterize": (1,), "solarize": (26,)}.get(name, ())
    return getattr(ImageOps, name)(image, *arguments)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_operation_at_magnitude_9_is_that_of_the_reference(channels: int, sign: int) -> None:
    step = RandAugment(num_ops=1, inversion=True)
    images = batch(len(step.operations), channels)
    random = torch.tensor([columns(step, name, sign) for name in step.operations])
    results = step(images, random) * 255
    for image, name, result in zip(images, step.operations, results, strict=True):
        difference = (result - levels(expected(as_pillow(image), name, sign))).abs()
        assert difference.max() < 1.6, name
        assert (result - image).abs().max() > 5 or (name == "colour" and channels == 1), name


def test_operations_follow_each_other() -> None:
    step = RandAugment()
    images = batch(2, 3)
    both = step(images, torch.tensor([columns(step, "rotate", 1) + columns(step, "contrast", -1), NO_OP + NO_OP]))
    single = RandAugment(num_ops=1)
    first = single(images[:1], torch.tensor([columns(single, "rotate", 1)]))
    torch.testing.assert_close(both[:1], single(first, torch.tensor([columns(single, "contrast", -1)])))
    torch.testing.assert_close(both[1], images[1] / 255)


def test_by_default_no_operation_turns_grey_levels_around() -> None:
    """SelfMedMAE inverts, solarises and posterises X-rays, whose order of grey levels means something."""
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    step = RandAugment(num_ops=1, inversion=True)
    ordered = set()
    for name in step.operations:
        if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "sharpness"):  # not level by level
            continue
        for sign in (1, -1):
            result = step(ramp, torch.tensor([columns(step, name, sign)])).flatten()
            if bool((result.diff() >= -1e-6).all()) and result[-1] > result[0]:
                ordered.add(name)
    assert ordered >= {"autocontrast", "equalize", "colour", "contrast", "brightness", "posterize"}
    assert not ordered & {"invert", "solarize", "solarize_add"}
    assert not {"invert", "solarize", "solarize_add", "posterize"} & set(RandAugment().operations)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=5, unique=True),
    st.sampled_from(["random", "bilinear", "bicubic"]),
)
def test_ranges_and_batches(items: list[int], interpolation: str) -> None:
    step = RandAugment(num_ops=3, probability=1.0, inversion=True, interpolation=interpolation)
    random = torch.from_numpy(uniform(1, [0] * len(items), items, step.draws))
    images = torch.randint(0, 256, (len(items), 3, 20, 24), dtype=torch.uint8)
    result = step(images, random)
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1
    torch.testing.assert_close(result[1:2], step(images[1:2], random[1:2]))


def test_the_fill_may_be_a_colour() -> None:
    """timm fills with the mean of the data set: (124, 116, 104) for ImageNet's."""
    step = RandAugment(num_ops=1, magnitude=10, magnitude_std=0, probability=1, fill=[124, 116, 104])
    step.operations = ["translate_x"]
    moved = step(torch.ones(1, 3, 40, 40), torch.zeros(1, step.draws))
    colours = {tuple(column) for column in (255 * moved[0, :, 20]).round().T.tolist()}
    assert colours == {(255, 255, 255), (124, 116, 104)}


def test_the_fill_is_a_grey_level() -> None:
    for fill in (128.0, 0.0):
        step = RandAugment(num_ops=1, fill=fill)
        moved = step(
            torch.full((1, 1, 40, 40), 255, dtype=torch.uint8), torch.tensor([columns(step, "translate_x", 1)])
        )
        assert moved[0, 0, :, -10:].unique().item() == pytest.approx(fill / 255)


def test_wrong_settings_get_a_sentence() -> None:
    for wrong, message in (
        ({"num_ops": 0}, "num_ops is 0"),
        ({"magnitude": 11}, "magnitude is 11"),
        ({"magnitude_std": -1}, r"magnitude is 9.0 \+- -1"),
        ({"probability": 1.5}, "probability is 1.5"),
        ({"interpolation": "area"}, "must be bilinear, bicubic or random"),
        ({"fill": 300}, r"fill is \[300"),
    ):
        with pytest.raises(InputError, match=message):
            RandAugment(**wrong)
