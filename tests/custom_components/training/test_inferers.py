from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.training.inferers import WholeImageInferer, WindowInferer
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer

OPTIONS = {"roi_size": (8, 8, 8), "overlap": 0.5, "mode": "gaussian"}


def network3d(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Conv3d(1, 3, 3, padding=1)


@given(
    shape=st.lists(st.integers(5, 23), min_size=2, max_size=3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    mode=st.sampled_from(["gaussian", "constant"]),
    batch=st.integers(1, 2),
    at_a_time=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_windows_are_those_of_monai(shape: list[int], overlap: float, mode: str, batch: int, at_a_time: int) -> None:
    torch.manual_seed(0)
    network = (torch.nn.Conv2d if len(shape) == 2 else torch.nn.Conv3d)(1, 3, 3, padding=1)
    image = torch.rand(batch, 1, *shape)
    options = {"roi_size": 8, "sw_batch_size": at_a_time, "overlap": overlap, "mode": mode}
    with torch.no_grad():
        ours = WindowInferer(**options)(image, network)
        theirs = SlidingWindowInferer(**{**options, "roi_size": [8] * len(shape)})(image, network)
    assert (ours.dtype, ours.shape) == (torch.float16, theirs.shape)
    torch.testing.assert_close(ours.float(), theirs, atol=1e-3, rtol=1e-3)


def test_flips_are_undone() -> None:
    # Averaging over mirrored passes does not care whether it is given a volume or its mirror image.
    network, volume = network3d(), torch.rand(1, 1, 20, 18, 16)
    with torch.no_grad():
        plain = WindowInferer(**OPTIONS)(volume, network)
        average = WindowInferer(flip_axes=[0], **OPTIONS)
        torch.testing.assert_close(
            average(volume, network), average(volume.flip(2), network).flip(2), atol=2e-3, rtol=0
        )
        assert not torch.allclose(average(volume, network), plain, atol=1e-2)


def test_empty_windows_are_left_out_and_nothing_inside_changes() -> None:
    network, volume = network3d(), torch.zeros(1, 1, 40, 24, 24)
    volume[:, :, 9:15, 4:20, 5:17] = torch.rand(6, 16, 12) + 0.1
    volume[:, :, 30:33, 2:6, 3:7] = 0.5  # planes without anything between
    seen = []

    def counted(window: torch.Tensor) -> torch.Tensor:
        seen.append(len(window))
        return network(window)

    with torch.no_grad():
        whole = WindowInferer(**OPTIONS)(volume, counted)
        windows = sum(seen)
        seen.clear()
        some = WindowInferer(skip_empty=True, **OPTIONS)(volume, counted)
        regions = WindowInferer(skip_empty=True, background=None, **OPTIONS)(volume, counted)
        nothing = WindowInferer(skip_empty=True, **OPTIONS)(torch.zeros_like(volume), counted)
    assert sum(seen) - 1 < windows
    body = volume[0, 0] > 0
    assert torch.equal(some[0][:, body], whole[0][:, body])
    assert some[0, :, 20, 12, 12].tolist() == [20.0, -20.0, -20.0]
    assert regions[0, :, 20, 12, 12].tolist() == [-20.0, -20.0, -20.0]
    assert nothing[0, :, -1, -1, -1].tolist() == [20.0, -20.0, -20.0]


def test_precision_is_the_networks_own() -> None:
    seen = []

    def counted(window: torch.Tensor) -> torch.Tensor:
        seen.append(torch.nn.functional.conv3d(window, torch.ones(2, 1, 1, 1, 1)))
        return seen[-1]

    WindowInferer(amp="bf16", **OPTIONS)(torch.rand(1, 1, 8, 8, 8), counted)
    assert seen[0].dtype == torch.bfloat16
    assert WholeImageInferer(amp="bf16")(torch.rand(1, 1, 8, 8, 8), counted).dtype == torch.float32
    assert seen[1].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "gauss"}, "blend is 'gauss'; choose one of gaussian, constant"),
        ({"overlap": 1.0}, "overlap is 1.0; it must be at least 0 and below 1"),
        ({"amp": "half"}, "amp is 'half'"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WindowInferer(**{**OPTIONS, **options})


def test_whole_pictures_are_squashed_and_brought_back() -> None:
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x[:, :2]

    ramp = torch.linspace(0, 1, 60).repeat(1, 3, 40, 1)  # B C H W
    logits = WholeImageInferer(32)(ramp, network)
    assert seen == [(1, 3, 32, 32)]
    assert logits.shape == (1, 2, 40, 60)
    torch.testing.assert_close(logits[0, 0, 20, 5:55], ramp[0, 0, 20, 5:55], atol=0.02, rtol=0)


def test_the_overlap_of_the_configs_is_the_papers_stride() -> None:
    """341 pixels for a window of 512 (SD-MAE's segmentation configs)."""
    starts = []

    def network(x: torch.Tensor) -> torch.Tensor:
        starts.extend(x[:, 0, 0, 0].tolist())
        return x

    columns = torch.arange(1000.0).repeat(1, 1, 512, 1)
    WindowInferer([512, 512], sw_batch_size=4, overlap=0.333)(columns, network)
    assert starts == [0, 341, 488]


@pytest.mark.parametrize(("side", "sizes"), [(64, [1, 1, 1]), (32, [2, 1])])
def test_a_processor_takes_large_windows_one_by_one(side: int, sizes: list[int]) -> None:
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x

    WindowInferer(side, sw_batch_size=2, overlap=0)(torch.rand(1, 1, 3 * side, side, side), network)
    assert seen == sizes


def test_metadata_of_the_image_stay_with_what_is_said_of_it() -> None:
    volume = MetaTensor(torch.rand(1, 1, 9, 8, 8), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
    said = WindowInferer(**OPTIONS)(volume, network3d())
    assert isinstance(said, MetaTensor)
    assert torch.equal(said.affine, volume.affine)
