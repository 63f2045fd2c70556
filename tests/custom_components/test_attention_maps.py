from pathlib import Path
from typing import Any

import launch
import pytest
import torch
from bundle_runtime.data.image_dataset import ImageDataset
from bundle_runtime.engine.attention_refresh import compute_maps
from bundle_runtime.figures.attention import class_attention_map
from custom_components.attention_maps import AttentionMaps, sample_maps
from custom_components.augment import Extent, Normalise, Pipeline, RandomFlip, RandomResizedCrop, Resize
from custom_components.errors import InputError
from custom_components.networks.ms_mae import MSMAE
from encoders import on_vit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F


class Pixels:
    """Stands in for an image cache: images that depend on their position only."""

    def __init__(self, count: int, size: int = 40) -> None:
        self.items = items(count)
        self.images = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0)).byte()

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Any) -> torch.Tensor:
        return self.images[torch.as_tensor(indices)]


def items(count: int) -> list[dict[str, Any]]:
    return [{"image": f"/data/{i}.png", "file": f"{i}.png", "case": str(i), "label": i % 2} for i in range(count)]


def dataset(count: int = 7, draws: int = 0) -> ImageDataset:
    return ImageDataset(Pixels(count), ["a", "b"], "multi_class", draws=draws)


def network() -> MSMAE:
    torch.manual_seed(0)
    return on_vit(
        MSMAE, 3, 32, 8, hidden_size=32, mlp_dim=64, num_layers=2, num_heads=2, spatial_dims=2, num_classes=2,
        decoder_size=32, decoder_layers=1, decoder_heads=2,
    )  # fmt: skip


PIPELINE = Pipeline([Resize(32), Normalise(0.5, 0.25)])


def test_a_refresh_gives_maps_that_differ_from_patch_to_patch() -> None:
    """The released code returns a buffer of ones, so its masking is uniform throughout."""
    maps = compute_maps(network(), dataset(), PIPELINE, "cpu")
    assert maps.shape == (7, 4, 4)
    assert maps.flatten(1).std(dim=1).min() > 0.05
    assert (maps[0] - maps[1]).abs().max() > 1e-4


def test_the_maps_are_the_class_token_s_attention_on_the_whole_image() -> None:
    """Oracle: the package's own attention maps, which compute all rows of all heads."""
    net, data = network(), dataset()
    expected = class_attention_map(net, PIPELINE(data.cache.rows(range(7))), head_fusion="minmax")
    assert torch.allclose(compute_maps(net, data, PIPELINE, "cpu", batch_size=3), expected, atol=2e-3)


def test_a_refresh_leaves_the_mode_of_the_network() -> None:
    net = network().train()
    compute_maps(net, dataset(), PIPELINE, "cpu")
    assert net.training
    assert net.encoder.training


def test_maps_start_even_and_are_off_until_switched_on() -> None:
    maps = AttentionMaps(items(5), (4, 4))
    index, region = torch.tensor([3, 0]), Extent.whole(2)
    assert maps.batch(index, region) is None
    maps.active = True
    weights = maps.batch(index, region)
    assert weights is not None
    assert torch.allclose(weights, torch.ones(2, 16))


def test_the_batch_s_index_picks_the_rows() -> None:
    maps = AttentionMaps(items(5), (4, 4), active=True)
    maps.values.copy_(torch.arange(5.0)[:, None, None].expand(5, 4, 4))
    weights = maps.batch(torch.tensor([4, 1, 1]), Extent.whole(3))
    assert weights is not None
    assert torch.allclose(weights.mean(1), torch.tensor([4.0, 1.0, 1.0]))


def test_maps_of_another_training_list_are_refused() -> None:
    saved = AttentionMaps(items(5), (4, 4)).state_dict()
    others = [[*items(4), {"image": "/data/x.png", "file": "x.png"}], items(5)[::-1], items(6)]
    for other in others:
        with pytest.raises(InputError, match="another training list"):
            AttentionMaps(other, (4, 4)).load_state_dict(saved)
    with pytest.raises(InputError, match="4 x 4 patches"):
        AttentionMaps(items(5), (8, 2)).load_state_dict(saved)
    maps = AttentionMaps(items(5), (4, 4))
    maps.load_state_dict({**saved, "values": torch.full((5, 4, 4), 0.25), "epoch": 3})
    assert maps.values.eq(0.25).all()
    assert maps.epoch == 3


def test_maps_stay_valid_where_the_data_set_is_moved() -> None:
    """The names of a prepared item are absolute paths; a job's scratch folder has another name each time."""
    names = [f"{folder}/{number}.png" for folder in "ab" for number in (0, 1)]
    here, there, other = (
        [{"image": f"{folder}/{name}", "file": f"{folder}/{name}"} for name in names]
        for folder in ("/scratch/1", "/scratch/22", "/scratch/1/c")
    )
    saved = AttentionMaps(here, (4, 4)).state_dict()
    AttentionMaps(there, (4, 4)).load_state_dict(saved)
    other[0]["file"] = other[0]["file"].replace("a/0", "a/2")
    with pytest.raises(InputError, match="another training list"):
        AttentionMaps(other, (4, 4)).load_state_dict(saved)


def test_an_encoder_without_class_token_has_no_maps() -> None:
    net = network()
    net.encoder.class_token = False
    with pytest.raises(InputError, match="class_token"):
        compute_maps(net, dataset(), PIPELINE, "cpu")


def _share(rank: int, world: int, folder: str, count: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=world)
    maps = compute_maps(network(), dataset(count), PIPELINE, "cpu", batch_size=2)
    torch.save(maps, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("count", [7, 2])
def test_three_processes_gather_the_maps_of_one(count: int, tmp_path: Path) -> None:
    launch.together(_share, 3, str(tmp_path), count, processes=3)
    alone = compute_maps(network(), dataset(count), PIPELINE, "cpu", batch_size=2)
    for rank in range(3):
        assert torch.allclose(torch.load(tmp_path / f"{rank}.pt"), alone, atol=1e-6)


def region(*box: float, mirrored: tuple[bool, bool] = (False, False)) -> Extent:
    return Extent(torch.tensor([box]).double(), torch.tensor([mirrored]))


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
    whole = sample_maps(maps, Extent.whole(3))
    assert torch.allclose(whole.mean((1, 2)), maps.mean((1, 2)), atol=0.02)
    assert torch.corrcoef(torch.stack([whole.flatten(), maps.flatten()]))[0, 1] > 0.95
    assert torch.allclose(sample_maps(torch.ones(3, 5, 7), Extent.whole(3)), torch.ones(()))


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
    assert torch.allclose(sample_maps(maps, pipeline.extent(random, side)), expected, atol=0.012)


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
