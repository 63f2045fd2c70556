import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from custom_components.augment import Pipeline, RandomFlip, RandomResizedCrop, Region, Resize, sample_maps


def region(*box: float, mirrored: tuple[bool, bool] = (False, False)) -> Region:
    return Region(torch.tensor([box]).double(), torch.tensor([mirrored]))


def half_hot(cells: int = 14) -> torch.Tensor:
    maps = torch.zeros(1, cells, cells)
    maps[:, :, cells // 2 :] = 1
    return maps


def test_the_right_half_of_a_half_hot_map_stays_hot() -> None:
    """MSMAE's released code takes the upper left 2 x 2 cells of the map whatever the crop."""
    cropped = sample_maps(half_hot(), region(0.1, 0.55, 0.8, 0.45))
    assert torch.allclose(cropped, torch.ones_like(cropped))
    assert torch.allclose(sample_maps(half_hot(), region(0.1, 0.0, 0.8, 0.45)), torch.zeros(()), atol=1e-6)


def test_mirrored_crops_mirror_the_map() -> None:
    maps = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    plain = sample_maps(maps, region(0.2, 0.3, 0.5, 0.6))
    for mirrored, axes in (((True, False), [1]), ((False, True), [2]), ((True, True), [1, 2])):
        turned = sample_maps(maps, region(0.2, 0.3, 0.5, 0.6, mirrored=mirrored))
        assert torch.allclose(turned, plain.flip(axes), atol=1e-6)


def test_the_mean_survives_where_the_whole_image_is_shown() -> None:
    maps = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    whole = sample_maps(maps, Region.whole(3))
    assert torch.allclose(whole.mean((1, 2)), maps.mean((1, 2)), atol=0.02)
    assert torch.corrcoef(torch.stack([whole.flatten(), maps.flatten()]))[0, 1] > 0.95
    assert torch.allclose(sample_maps(torch.ones(3, 5, 7), Region.whole(3)), torch.ones(()))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([(4, 4), (3, 5), (8, 6)]), st.floats(0.1, 0.9))
def test_the_map_agrees_with_an_image_of_it_that_went_through_the_same_pipeline(
    seed: int, grid: tuple[int, int], smallest: float
) -> None:
    """Oracle: draw the map as an image on a fine grid, run the pipeline on it, average over the patches."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(4, *grid, generator=generator)
    side, patch = (grid[0] * 64, grid[1] * 64), 16
    pipeline = Pipeline([RandomResizedCrop((grid[0] * patch, grid[1] * patch), (smallest, 1.0)), RandomFlip(0.5, 0.5)])
    random = torch.rand(4, pipeline.draws, generator=generator)
    picture = F.interpolate(maps[:, None], side, mode="bilinear", align_corners=False)
    expected = F.avg_pool2d(pipeline(picture, random), patch)[:, 0]
    assert torch.allclose(sample_maps(maps, pipeline.region(random, side)), expected, atol=0.012)


def test_a_tiny_crop_is_finite() -> None:
    maps = torch.rand(1, 14, 14, generator=torch.Generator().manual_seed(0))
    found = sample_maps(maps, region(0.5, 0.5, 1 / 256, 1 / 256))
    assert torch.allclose(found, found.mean().expand_as(found), atol=0.1)
    assert 0 <= found.min() <= found.max() <= 1


def test_resizing_an_image_agrees_with_interpolation() -> None:
    image = torch.rand(2, 3, 40, 30)
    expected = F.interpolate(image, (24, 24), mode="bilinear", align_corners=False)
    assert torch.allclose(Pipeline([Resize(24)])(image), expected, atol=1e-6)
    with pytest.raises(ValueError, match="interpolation"):
        Resize(24, "nearest")
