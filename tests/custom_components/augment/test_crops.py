"""Random resized crops, flips, centre crops."""

import math

import numpy as np
import pytest
import torch
from custom_components.augment import CentreCrop, RandomFlip, RandomResizedCrop
from custom_components.augment import crops as module
from custom_components.augment.crops import INTERPOLATIONS, resample
from custom_components.errors import InputError
from custom_components.seeding import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import as_pillow, batch, levels
from PIL import Image
from scipy import stats
from skimage.transform import resize
from torch import Tensor
from torch.nn import functional as F


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
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; choose one of bilinear, bicubic"),
    ):
        with pytest.raises(InputError, match=message):
            RandomResizedCrop(8, **wrong)
    with pytest.raises(InputError, match="vertical is 2"):
        RandomFlip(vertical=2)
    with pytest.raises(InputError, match="CentreCrop takes 50 x 20 pixels and the images have 48 x 60; lower img_size"):
        CentreCrop([50, 20])(batch(1), torch.zeros(1, 0))


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


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(INTERPOLATIONS), st.integers(8, 90), st.integers(8, 90), st.integers(0, 99))
def test_antialiased_crops_are_those_of_pillow_everywhere(mode: str, tall: int, wide: int, seed: int) -> None:
    """The released code crops the picture as it was taken and shrinks by Pillow, which rounds to 8 bits twice."""
    images = batch(2, 3, 96 + seed % 3, 100)
    boxes = torch.tensor([[3, 5, tall, wide], [96 - tall, 100 - wide, tall, wide]])
    mirrored = torch.tensor([[False, True], [True, False]])
    ours = resample(images, boxes, (20, 24), mode, mirrored, antialias=True)
    others = module._by_products(images, boxes, (20, 24), mode, mirrored).clamp(0, 1)
    torch.testing.assert_close(ours, others, atol=2e-6, rtol=0)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    for image, box, flips, result in zip(images, boxes.tolist(), mirrored.tolist(), ours, strict=True):
        top, left, height, width = box
        picture = as_pillow(image).crop((left, top, left + width, top + height)).resize((24, 20), filters[mode])
        expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
        expected = expected.flip([axis for axis, wanted in zip((1, 2), flips, strict=True) if wanted])
        assert (result - expected).abs().max() < 2 / 255
