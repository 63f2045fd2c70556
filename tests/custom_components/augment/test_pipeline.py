"""Whole pipelines."""

import numpy as np
import pytest
import torch
from custom_components.augment import (
    CentreCrop,
    Normalise,
    Pipeline,
    RandAugment,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
)
from custom_components.errors import InputError
from custom_components.seeding import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import batch
from torch import Tensor


def everything(fill: float | str = "noise") -> Pipeline:
    return Pipeline(
        [
            RandomResizedCrop(24, (0.2, 1.0), interpolation="bicubic"),
            RandomFlip(0.5, 0.5),
            RandAugment(inversion=True),
            Normalise(0.5, 0.225),
            RandomErasing(0.5, fill=fill),
        ]
    )


def numbers(items: list[int], draws: int, epoch: int = 0) -> Tensor:
    return torch.from_numpy(uniform(0, np.full(len(items), epoch), items, draws))


def test_columns_are_dealt_out_in_order() -> None:
    pipeline = everything()
    assert pipeline.draws == sum(step.draws for step in pipeline.steps) == 22 + 2 + 10 + 0 + 24
    crop, flip = RandomResizedCrop(20), RandomFlip(0.5, 0.5)
    images, random = batch(8, 3), numbers(list(range(8)), 40)
    merged = Pipeline([crop, flip])(images, random)
    torch.testing.assert_close(merged, flip(crop(images, random[:, :22]), random[:, 22:24]), atol=1e-5, rtol=0)
    other_order = Pipeline([flip, crop])(images, random)
    torch.testing.assert_close(other_order, crop(flip(images, random[:, :2]), random[:, 2:24]))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6, unique=True), st.integers(0, 5), st.sampled_from([1, 3]))
def test_an_item_is_augmented_alike_in_any_batch(items: list[int], epoch: int, channels: int) -> None:
    pipeline = everything()
    images = batch(31, channels, 32, 32)
    together = pipeline(images[items], numbers(items, pipeline.draws, epoch))
    assert together.shape == (len(items), channels, 24, 24)
    alone = pipeline(images[items[-1:]], numbers(items[-1:], pipeline.draws, epoch))
    torch.testing.assert_close(together[-1:], alone)


def test_epochs_differ() -> None:
    pipeline, images = everything(), batch(4)
    first, second = (pipeline(images, numbers([0, 1, 2, 3], pipeline.draws, epoch)) for epoch in (1, 2))
    assert not torch.isclose(first, second).flatten(1).all(1).any()
    assert torch.equal(first, pipeline(images, numbers([0, 1, 2, 3], pipeline.draws, 1)))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]))
def test_before_normalisation_values_lie_between_black_and_white(item: int, channels: int) -> None:
    pipeline = Pipeline(everything().steps[:3])
    result = pipeline(torch.randint(0, 2, (2, channels, 32, 32), dtype=torch.uint8) * 255, numbers([item] * 2, 34))
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("fill", ["noise", 0.0])
def test_the_callers_images_and_numbers_stay(kind: torch.dtype, fill: float | str) -> None:
    images = batch(16).to(kind) / (1 if kind == torch.uint8 else 255)
    images = images.to(kind)
    for pipeline in (
        everything(fill),
        Pipeline([CentreCrop(20), Normalise(0.5, 0.225)]),
        Pipeline(everything().steps[1:]),
    ):
        random = numbers(list(range(16)), pipeline.draws)
        before = images.clone(), random.clone()
        pipeline(images, random)
        assert torch.equal(images, before[0])
        assert torch.equal(random, before[1])


def test_for_evaluation_no_random_numbers_are_needed() -> None:
    images = batch(3)
    pipeline = Pipeline([CentreCrop(32), Normalise(0.5, 0.225)])
    assert pipeline.draws == 0
    torch.testing.assert_close(pipeline(images), (images[:, :, 8:40, 14:46] / 255 - 0.5) / 0.225)
    torch.testing.assert_close(Pipeline([])(images), images / 255)


def test_nothing_is_read_back_from_the_device() -> None:
    # Tensors on "meta" have no values, so that whatever would wait for them raises.
    pipeline = everything()
    random = numbers(list(range(64)), pipeline.draws)
    for channels in (1, 3):
        images = torch.empty(64, channels, 32, 32, dtype=torch.uint8, device="meta")
        result = pipeline(images, random)
        assert result.device.type == "meta"
        assert result.shape == (64, channels, 24, 24)
    with pytest.raises(RuntimeError, match="meta"):
        bool(result.sum() > 0)


def test_wrong_input_gets_a_sentence() -> None:
    pipeline = Pipeline([RandomFlip()])
    for random in (None, torch.rand(4, 1), torch.rand(3, 2), torch.rand(4)):
        with pytest.raises(InputError, match="takes 2 random numbers for each of 4 images and the batch has"):
            pipeline(batch(4), random)
    with pytest.raises(TypeError, match="leave them in host memory"):
        pipeline(batch(4), torch.empty(4, 2, device="meta"))
    for images in (torch.zeros(4, 8, 8, dtype=torch.uint8), torch.zeros(4, 1, 8, 8, dtype=torch.float16)):
        with pytest.raises(TypeError, match="Expected uint8 or float32 images"):
            pipeline(images, torch.rand(4, 2))


NONE = torch.zeros(2, 0)


def test_the_papers_values() -> None:
    images = batch(2)
    torch.testing.assert_close(Normalise(0.5, 0.225)(images, NONE), (images / 255 - 0.5) / 0.225)
    black = Normalise(0.5, 0.225)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), NONE)
    assert black.unique().item() == pytest.approx(-2.2222222)


@pytest.mark.parametrize(
    ("mean", "std"), [([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.1, 0.2, 0.3], 0.5), (0.5, [1, 2, 3])]
)
def test_values_for_each_channel(mean: object, std: object) -> None:
    images = batch(2, 3)
    columns = [torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1) for values in (mean, std)]
    step = Normalise(mean, std)  # type: ignore[arg-type]
    for _ in range(2):  # the second time from constants that are kept
        torch.testing.assert_close(step(images, NONE), (images / 255 - columns[0]) / columns[1])


def test_wrong_values_and_channels_get_a_sentence() -> None:
    for mean, std in ((0.5, 0.0), (0.5, [0.2, -1]), ([0.1, 0.2], [0.1, 0.2, 0.3]), ([], 1.0), (0.5, [])):
        with pytest.raises(InputError, match=r"mean is .* and std is .* std above 0"):
            Normalise(mean, std)
    # Broadcasting would make three channels of one, without a word.
    with pytest.raises(InputError, match="Normalise has 3 means or deviations and the images have 1 channels"):
        Normalise([0.1, 0.2, 0.3], 1.0)(batch(2), NONE)
