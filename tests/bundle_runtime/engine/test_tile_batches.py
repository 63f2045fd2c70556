"""Batches of tiles, and inference on whole pictures."""

import pytest
import torch
from monai.inferers import SlidingWindowInferer

from bundle_runtime.engine.tile_batches import TileBatch, WholeImageInferer
from custom_components.augment import Normalise, PhotometricDistortion, Pipeline
from custom_components.errors import InputError

NORMALISE = Normalise([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])


def test_pictures_are_normalised_and_masks_come_along() -> None:
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    label = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    batch = TileBatch(Pipeline([NORMALISE]))
    image, target = batch({"image": images, "label": label}, "cpu")
    torch.testing.assert_close(image, (images / 255 - 0.5) / 0.25)
    assert target is label
    _, target = batch({"image": images, "label": label, "border": label + 1}, "cpu")
    assert sorted(target) == ["border", "label"]
    assert batch({"image": images}, "cpu")[1] is None


def test_random_numbers_of_the_data_set_are_used() -> None:
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    batch = TileBatch(Pipeline([PhotometricDistortion(prob=1.0)]))
    random = torch.rand(2, 8)
    one, other = (batch({"image": images, "random": numbers}, "cpu")[0] for numbers in (random, random.flip(0)))
    assert not torch.equal(one, other)
    with pytest.raises(InputError, match="takes 8 random numbers"):
        batch({"image": images}, "cpu")


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
    """341 pixels for a window of 512 (fact sheet 2.6)."""
    starts = []

    def network(x: torch.Tensor) -> torch.Tensor:
        starts.extend(x[:, 0, 0, 0].tolist())
        return x

    columns = torch.arange(1000.0).repeat(1, 1, 512, 1)
    SlidingWindowInferer([512, 512], sw_batch_size=4, overlap=0.333)(columns, network)
    assert starts == [0, 341, 488]
