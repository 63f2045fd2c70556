import pytest
import torch
from custom_components.augment import CentreCrop, Extent, Pipeline, RandAugment, RandomFlip, RandomResizedCrop, Resize
from custom_components.augment.step import as_float, as_interval, as_pair, change_rows
from custom_components.errors import InputError


def test_uint8_becomes_float_from_0_to_1_and_float_stays() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert as_float(images).tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert images.tolist() == [0, 51, 255]
    values = torch.rand(3)
    assert as_float(values) is values


def test_rows_are_changed_in_place_and_the_others_left() -> None:
    images = torch.arange(5.0)[:, None, None, None].expand(5, 1, 2, 2).clone()
    change_rows(images, torch.tensor([3, 1]), lambda part, factor: part * factor, 10)
    assert images[:, 0, 0, 0].tolist() == [0, 10, 2, 30, 4]
    change_rows(images, torch.tensor([], dtype=torch.int64), lambda part: 1 / 0)
    assert images[:, 0, 0, 0].tolist() == [0, 10, 2, 30, 4]


def test_sizes() -> None:
    assert as_pair(3) == (3, 3)
    assert as_pair([3, 4]) == (3, 4)
    for wrong in (0, -1, [3], [3, 4, 5], [3, 0], [3.5, 2]):
        with pytest.raises(InputError, match=r"size is .* must be a whole number of pixels, or height and width"):
            as_pair(wrong)


def test_intervals() -> None:
    assert as_interval([0.2, 1], "scale", high=1.0) == (0.2, 1.0)
    for wrong in ([0.5, 0.2], [0, 1], [0.5, 1.5], [0.5], [float("nan"), 1]):
        with pytest.raises(InputError, match=r"scale is .* two ascending numbers above 0 and at most 1"):
            as_interval(wrong, "scale", high=1.0)


def test_parts_of_parts() -> None:
    left = Extent(
        torch.tensor([[0.0, 0.0, 1.0, 0.5]]).double(), torch.tensor([[False, True]])
    )  # the left half, mirrored
    part = left.then(Extent(torch.tensor([[0.25, 0.0, 0.5, 0.25]]).double(), torch.tensor([[True, True]])))
    # Its first quarter is the image's 0.375 ... 0.5, and mirroring twice is not mirroring.
    assert part.box.tolist() == [[0.25, 0.375, 0.5, 0.125]]
    assert part.mirrored.tolist() == [[True, False]]


def test_boxes_in_pixels_become_shares() -> None:
    region = Extent.of_boxes(torch.tensor([[10, 20, 50, 40]]), (100, 200))
    assert region.box[0].tolist() == pytest.approx([0.1, 0.1, 0.5, 0.2])


def test_the_region_of_a_pipeline_uses_the_random_numbers_of_its_images() -> None:
    crop, flip = RandomResizedCrop(32, (0.2, 1.0)), RandomFlip(0.5, 0.5)
    pipeline = Pipeline([CentreCrop(64), crop, flip])
    random = torch.rand(20, pipeline.draws, generator=torch.Generator().manual_seed(0))
    region = pipeline.extent(random, (80, 96))
    boxes = crop.boxes(random, (64, 64))
    for axis, (margin, side) in enumerate([(8, 80), (16, 96)]):
        assert torch.allclose(region.box[:, axis] * side, boxes[:, axis].double() + margin)
        assert torch.allclose(region.box[:, axis + 2] * side, boxes[:, axis + 2].double())
    assert torch.equal(region.mirrored, flip.mirrored(random[:, crop.draws :]))


def test_resize_shows_all_of_the_image() -> None:
    region = Pipeline([Resize(32)]).extent(torch.zeros(2, 0), (50, 70))
    assert region.box.tolist() == [[0, 0, 1, 1]] * 2
    assert not region.mirrored.any()


def test_a_step_that_turns_the_image_is_refused() -> None:
    pipeline = Pipeline([RandAugment()])
    with pytest.raises(InputError, match="RandAugment"):
        pipeline.extent(torch.rand(2, pipeline.draws), (32, 32))
