import pytest
import torch
from monai.inferers import SlidingWindowInferer

from custom_components.errors import InputError
from custom_components.training.inferers import FlipSlidingWindowInferer, WholeImageInferer


def test_no_flips_is_monais_inferer_and_flips_are_undone() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    volume = torch.rand(1, 1, 20, 18, 16)
    options = {"roi_size": (8, 8, 8), "overlap": 0.5, "mode": "gaussian"}
    plain = SlidingWindowInferer(**options)(volume, network)
    assert torch.allclose(FlipSlidingWindowInferer(**options)(volume, network), plain)
    # Averaging over mirrored passes does not care whether it is given a volume or its mirror image.
    average = FlipSlidingWindowInferer(flip_axes=[0], **options)
    assert torch.allclose(average(volume, network), average(volume.flip(2), network).flip(2), atol=1e-5)
    assert not torch.allclose(average(volume, network), plain, atol=1e-3)
    with pytest.raises(InputError, match="blend is 'gauss'; choose one of gaussian, constant"):
        FlipSlidingWindowInferer(roi_size=(8, 8, 8), mode="gauss")


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
    SlidingWindowInferer([512, 512], sw_batch_size=4, overlap=0.333)(columns, network)
    assert starts == [0, 341, 488]
