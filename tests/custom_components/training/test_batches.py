import torch
from custom_components.training.batches import ImageBatch, SegmentationBatch


def test_what_the_trainer_hands_on() -> None:
    batch = {"image": torch.rand(2, 1, 4, 4), "label": torch.ones(2, 1, 4, 4), "unlabelled": torch.zeros(2, 3).bool()}
    image, target = ImageBatch()(batch, "cpu")
    assert target is None
    assert torch.equal(image, batch["image"])
    image, target = SegmentationBatch()(batch, "cpu")
    assert set(target) == {"label", "unlabelled"}
