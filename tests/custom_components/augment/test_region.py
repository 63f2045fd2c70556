import pytest
import torch

from custom_components.augment import CentreCrop, Pipeline, RandAugment, RandomFlip, RandomResizedCrop, Region, Resize
from custom_components.errors import InputError


def test_parts_of_parts() -> None:
    left = Region(
        torch.tensor([[0.0, 0.0, 1.0, 0.5]]).double(), torch.tensor([[False, True]])
    )  # the left half, mirrored
    part = left.then(Region(torch.tensor([[0.25, 0.0, 0.5, 0.25]]).double(), torch.tensor([[True, True]])))
    # Its first quarter is the image's 0.375 ... 0.5, and mirroring twice is not mirroring.
    assert part.box.tolist() == [[0.25, 0.375, 0.5, 0.125]]
    assert part.mirrored.tolist() == [[True, False]]


def test_boxes_in_pixels_become_shares() -> None:
    region = Region.of_boxes(torch.tensor([[10, 20, 50, 40]]), (100, 200))
    assert region.box[0].tolist() == pytest.approx([0.1, 0.1, 0.5, 0.2])


def test_the_region_of_a_pipeline_uses_the_random_numbers_of_its_images() -> None:
    crop, flip = RandomResizedCrop(32, (0.2, 1.0)), RandomFlip(0.5, 0.5)
    pipeline = Pipeline([CentreCrop(64), crop, flip])
    random = torch.rand(20, pipeline.draws, generator=torch.Generator().manual_seed(0))
    region = pipeline.region(random, (80, 96))
    boxes = crop.boxes(random, (64, 64))
    for axis, (margin, side) in enumerate([(8, 80), (16, 96)]):
        assert torch.allclose(region.box[:, axis] * side, boxes[:, axis].double() + margin)
        assert torch.allclose(region.box[:, axis + 2] * side, boxes[:, axis + 2].double())
    assert torch.equal(region.mirrored, flip.mirrored(random[:, crop.draws :]))


def test_resize_shows_all_of_the_image() -> None:
    region = Pipeline([Resize(32)]).region(torch.zeros(2, 0), (50, 70))
    assert region.box.tolist() == [[0, 0, 1, 1]] * 2
    assert not region.mirrored.any()


def test_a_step_that_turns_the_image_is_refused() -> None:
    pipeline = Pipeline([RandAugment()])
    with pytest.raises(InputError, match="RandAugment"):
        pipeline.region(torch.rand(2, pipeline.draws), (32, 32))
