"""Cropping and resizing of a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import batch
from skimage.transform import resize
from torch import Tensor
from torch.nn import functional as F

from custom_components.augment import resample as module
from custom_components.augment.resample import INTERPOLATIONS, resample

BOXES = torch.tensor([[0, 0, 48, 60], [3, 5, 20, 31], [40, 50, 8, 10], [10, 0, 1, 60]])
STRAIGHT = torch.zeros(4, 2, dtype=torch.bool)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (33, 70), (1, 5)])
def test_bilinear_is_that_of_scikit_image(channels: int, size: tuple[int, int]) -> None:
    images = batch(4, channels)
    ours = resample(images, BOXES, size, "bilinear", STRAIGHT)
    assert ours.shape == (4, channels, *size)
    assert ours.dtype == torch.float32
    for image, (top, left, height, width), result in zip(images, BOXES.tolist(), ours, strict=True):
        crop = image[:, top : top + height, left : left + width].numpy() / 255
        theirs = resize(crop, (channels, *size), order=1, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(result, theirs, atol=1e-5)


def test_bicubic_is_that_of_pytorch_on_the_crop_alone() -> None:
    # Not on the whole image: pixels beside the crop have no influence, as in torchvision.
    images = batch(4)
    ours = module._all_at_once(images, BOXES, (40, 24), "bicubic", STRAIGHT)
    for image, (top, left, height, width), result in zip(images, BOXES.tolist(), ours, strict=True):
        crop = image[None, :, top : top + height, left : left + width].float() / 255
        theirs = F.interpolate(crop, (40, 24), mode="bicubic", align_corners=False)[0]
        torch.testing.assert_close(result, theirs, atol=2e-5, rtol=0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, tuple[int, int], str, Tensor]:
    count, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    images = torch.randint(0, 256, (count, draw(st.sampled_from([1, 3])), height, width), dtype=torch.uint8)
    boxes = []
    for _ in range(count):
        tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
        boxes.append([draw(st.integers(0, height - tall)), draw(st.integers(0, width - wide)), tall, wide])
    mirrored = torch.tensor([[draw(st.booleans()), draw(st.booleans())] for _ in range(count)])
    size = draw(st.integers(1, 15)), draw(st.integers(1, 15))
    return images, torch.tensor(boxes), size, draw(st.sampled_from(INTERPOLATIONS)), mirrored


@settings(deadline=None)
@given(cases())
def test_processor_and_accelerator_give_the_same(case: tuple) -> None:
    images, boxes, size, mode, mirrored = case
    before = images.clone()
    single = module._one_by_one(images, boxes, size, mode, mirrored)
    torch.testing.assert_close(single, module._all_at_once(images, boxes, size, mode, mirrored), atol=2e-5, rtol=0)
    values = module._all_at_once(images.float() / 255, boxes, size, mode, mirrored)
    torch.testing.assert_close(single, values, atol=2e-5, rtol=0)
    assert torch.equal(images, before)
    result = resample(images, boxes, size, mode, mirrored)
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("mode", INTERPOLATIONS)
@pytest.mark.parametrize("run", [module._one_by_one, module._all_at_once])
def test_a_mirrored_crop_is_the_crop_mirrored(run: object, mode: str) -> None:
    images = batch(4, 3)
    mirrored = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    ours = run(images, BOXES, (31, 17), mode, mirrored)  # type: ignore[operator]
    straight = run(images, BOXES, (31, 17), mode, STRAIGHT)  # type: ignore[operator]
    expected = [straight[0], straight[1].flip(1), straight[2].flip(2), straight[3].flip(1, 2)]
    torch.testing.assert_close(ours, torch.stack(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("mode", INTERPOLATIONS)
def test_a_crop_of_the_wanted_size_keeps_its_pixels(mode: str) -> None:
    images = batch(2)
    boxes = torch.tensor([[5, 7, 20, 30], [0, 1, 20, 30]])
    expected = torch.stack([images[0, :, 5:25, 7:37], images[1, :, 0:20, 1:31]]) / 255
    for run in (module._one_by_one, module._all_at_once):
        torch.testing.assert_close(run(images, boxes, (20, 30), mode, STRAIGHT[:2]), expected, atol=1e-6, rtol=0)
