import pytest
import torch
from custom_components.attention_maps import AttentionMaps
from custom_components.augment import (
    Mix,
    Normalise,
    PhotometricDistortion,
    Pipeline,
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
)
from custom_components.errors import InputError
from custom_components.training.picture_batches import MappedPictureBatch, MaskedPictureBatch, PictureBatch
from torch.nn import functional

NORMALISE = Normalise([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])


def test_pictures_are_changed_on_the_device_by_their_own_numbers() -> None:
    pipeline = Pipeline([RandomFlip(horizontal=0.5), Normalise(0.5, 0.25)])
    mix = Mix(3, label_smoothing=0.1)
    pixels = torch.arange(2 * 3 * 4, dtype=torch.uint8).reshape(2, 1, 3, 4)
    random = torch.full((2, pipeline.draws + mix.draws), 0.9)  # no flip
    batch = {"image": pixels, "random": random, "label": torch.tensor([0, 2])}
    image, label = PictureBatch(pipeline)(batch, "cpu")
    assert torch.allclose(image, (pixels / 255 - 0.5) / 0.25)
    assert torch.equal(label, batch["label"])
    random[0, 1] = 0.0  # left and right of the first
    flipped, _ = PictureBatch(pipeline)(batch, "cpu")
    assert torch.equal(flipped[0].flip(2), image[0])
    assert torch.equal(flipped[1], image[1])
    _, soft = PictureBatch(pipeline, mix)(batch, "cpu")
    assert soft.shape == (2, 3)
    assert torch.allclose(soft.sum(1), torch.ones(2))
    assert PictureBatch(pipeline)({"image": pixels, "random": random}, "cpu")[1] is None


def test_weights_follow_the_crop_of_their_images() -> None:
    """Oracle: a map drawn into the images, read back from the crops that the network gets."""
    augmentation = Pipeline([RandomResizedCrop(32, (0.3, 1.0)), RandomFlip(0.5, 0.5), Normalise(0.0, 1.0)])
    maps = AttentionMaps([{"image": f"{i}.png"} for i in range(6)], (4, 4), active=True)
    maps.values.copy_(torch.rand(6, 4, 4, generator=torch.Generator().manual_seed(0)))
    index = torch.tensor([5, 0, 3])
    drawn = functional.interpolate(maps.values[index][:, None], (64, 64), mode="bilinear", align_corners=False)
    batch = {
        "image": (drawn * 255).round().byte(),
        "random": torch.rand(3, augmentation.draws, generator=torch.Generator().manual_seed(1)),
        "index": index,
        "label": torch.tensor([0, 1, 1]),
    }
    image, label, args, kwargs = MappedPictureBatch(augmentation, maps)(batch, "cpu")
    assert label is not None
    assert args == ()
    assert image.shape == (3, 1, 32, 32)
    seen = functional.avg_pool2d(image, 8).flatten(1)
    assert kwargs["weights"] is not None
    assert torch.allclose(kwargs["weights"], seen, atol=0.03)
    maps.active = False
    assert MappedPictureBatch(augmentation, maps)(batch, "cpu")[3] == {"weights": None}


def test_maps_refuse_an_augmentation_that_turns_images() -> None:
    maps = AttentionMaps([{"image": "a.png"}], (4, 4))
    with pytest.raises(InputError, match="RandAugment"):
        MappedPictureBatch(Pipeline([RandAugment()]), maps)


def test_pictures_are_normalised_and_masks_come_along() -> None:
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    label = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    batch = MaskedPictureBatch(Pipeline([NORMALISE]))
    image, target = batch({"image": images, "label": label}, "cpu")
    torch.testing.assert_close(image, (images / 255 - 0.5) / 0.25)
    assert target is label
    _, target = batch({"image": images, "label": label, "border": label + 1}, "cpu")
    assert sorted(target) == ["border", "label"]
    assert batch({"image": images}, "cpu")[1] is None


def test_random_numbers_of_the_data_set_are_used() -> None:
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    batch = MaskedPictureBatch(Pipeline([PhotometricDistortion(prob=1.0)]))
    random = torch.rand(2, 8)
    one, other = (batch({"image": images, "random": numbers}, "cpu")[0] for numbers in (random, random.flip(0)))
    assert not torch.equal(one, other)
    with pytest.raises(InputError, match="takes 8 random numbers"):
        batch({"image": images}, "cpu")
