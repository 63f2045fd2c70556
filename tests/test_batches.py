import torch
from monai.inferers import SlidingWindowInferer

from custom_components.batches import FlipSlidingWindowInferer, ImageBatch, SegmentationBatch


def test_what_the_trainer_hands_on() -> None:
    batch = {"image": torch.rand(2, 1, 4, 4), "label": torch.ones(2, 1, 4, 4), "unlabelled": torch.zeros(2, 3).bool()}
    image, target = ImageBatch()(batch, "cpu")
    assert target is None
    assert torch.equal(image, batch["image"])
    image, target = SegmentationBatch()(batch, "cpu")
    assert set(target) == {"label", "unlabelled"}


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
