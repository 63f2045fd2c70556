"""Batches of cached images with labels and random numbers."""

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from bundle_runtime.data.image_dataset import ImageDataset, picture_items
from bundle_runtime.data.loading import EpochSampler
from bundle_runtime.data.loading import loader as batch_loader
from bundle_runtime.failures import find_input_error
from custom_components.augment import Normalise, Pipeline, RandAugment, RandomFlip, RandomResizedCrop
from custom_components.errors import InputError
from custom_components.seeding import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

CLASSES = ["effusion", "mass", "nodule"]


class MemoryCache:
    """Images in memory, each filled with its number; counts reads."""

    def __init__(self, items: list[Any], channels: int = 1, size: int = 8) -> None:
        self.items, count = items, len(items)
        self.channels, self.size, self.reads = channels, size, 0
        self.images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, channels, size, size)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        self.reads += 1
        return self.images[torch.as_tensor(np.asarray(indices))].clone()


def make(count: int = 10, task: str | None = "multi_class", draws: int = 3, seed: int = 5) -> ImageDataset:
    labels: dict[str | None, list[Any]] = {
        None: [None] * count,
        "multi_class": [number % 3 for number in range(count)],
        "multi_label": [[number % 2, None, 1] for number in range(count)],
    }
    items = [{"image": f"/x/{number}.png", "file": f"/x/{number}.png"} for number in range(count)]
    if task is not None:
        items = [{**item, "label": label} for item, label in zip(items, labels[task], strict=True)]
    return ImageDataset(MemoryCache(items), CLASSES, task, seed, draws)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, values in first.items():
        torch.testing.assert_close(values, second[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("task", [None, "multi_class", "multi_label"])
def test_a_batch(task: str | None) -> None:
    dataset = make(task=task)
    batch = dataset.__getitems__([(2, 7), (2, 0), (3, 7)])
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].shape == (3, 1, 8, 8)
    assert batch["image"][:, 0, 0, 0].tolist() == batch["index"].tolist() == [7, 0, 7]
    assert batch["index"].dtype == torch.int64
    np.testing.assert_array_equal(batch["random"], uniform(5, [2, 2, 3], [7, 0, 7], 3))
    assert len(dataset) == len(dataset.data) == 10
    if task is None:
        assert "label" not in batch
    elif task == "multi_class":
        assert batch["label"].dtype == torch.int64
        assert batch["label"].tolist() == [1, 0, 1]
    else:
        assert batch["label"].dtype == torch.float32
        unknown = math.nan
        expected = torch.tensor([[1, unknown, 1], [0, unknown, 1], [1, unknown, 1]])
        torch.testing.assert_close(batch["label"], expected, equal_nan=True)


def test_a_batch_is_one_read() -> None:
    dataset = make()
    batches = list(batch_loader(dataset, 4, EpochSampler(dataset)))
    assert [len(batch["image"]) for batch in batches] == [4, 4, 2]
    assert dataset.cache.reads == 3  # type: ignore[attr-defined]
    assert [len(batch["image"]) for batch in batch_loader(dataset, 4, drop_last=True)] == [4, 4]


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(-10, 9)), min_size=1, max_size=6))
def test_an_item_is_the_same_alone_and_in_any_batch(pairs: list[tuple[int, int]]) -> None:
    dataset = make(task="multi_label")
    batch = dataset.__getitems__(pairs)
    for row, (epoch, position) in enumerate(pairs):
        alone = dataset[epoch, position % 10]
        assert alone["index"].item() == position % 10
        assert_same(alone, {key: values[row] for key, values in batch.items()})
        if epoch == 0:
            assert_same(alone, dataset[position])  # a plain number is of epoch 0


def test_workers_give_what_one_process_gives() -> None:
    dataset = make(23)
    single, several = (batch_loader(dataset, 4, EpochSampler(dataset, 1), workers) for workers in (0, 2))
    for epoch in (1, 2):
        for loader in (single, several):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for first, second in zip(single, several, strict=True):
            assert_same(first, second)


def test_a_resumed_epoch_goes_on_with_the_same_augmentations() -> None:
    augment = Pipeline([RandomResizedCrop(6), RandomFlip(), RandAugment(), Normalise(0.5, 0.225)])
    dataset = make(12, draws=augment.draws)

    def images(done: int) -> list[Tensor]:
        sampler = EpochSampler(dataset, 1)
        sampler.resume_at(4, done)
        sampler.set_epoch(4)
        return [augment(batch["image"], batch["random"]) for batch in batch_loader(dataset, 4, sampler)]

    whole, rest = images(0), images(4)
    assert len(whole) == 3
    assert len(rest) == 2
    for first, second in zip(whole[1:], rest, strict=True):
        assert torch.equal(first, second)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 5))
def test_random_numbers_do_not_depend_on_the_number_of_processes(world: int, batch_size: int) -> None:
    dataset = make(20)
    seen: dict[int, list[float]] = {}
    for rank in range(world):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.distributed, "is_initialized", lambda: True)
            patch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
            patch.setattr(torch.distributed, "get_world_size", lambda: world)
            sampler = EpochSampler(dataset)
        for batch in batch_loader(dataset, batch_size, sampler):
            seen.update(zip(batch["index"].tolist(), batch["random"].tolist(), strict=True))
    expected = uniform(5, [0] * 20, range(20), 3).tolist()
    assert len(seen) > 20 - world * batch_size  # the rest waits for another epoch
    assert all(expected[position] == numbers for position, numbers in seen.items())


def test_columns_stay_when_more_are_drawn() -> None:
    torch.testing.assert_close(make(draws=9)[1, 2]["random"][:3], make(draws=3)[1, 2]["random"])
    assert make(draws=0).__getitems__([1, 2])["random"].shape == (2, 0)


def test_labels_are_one_compact_array_and_the_set_can_be_sent_to_workers() -> None:
    dataset = make(1000, "multi_label")
    assert dataset.labels is not None
    assert dataset.labels.nbytes == 1000 * 3 * 4
    assert_same(pickle.loads(pickle.dumps(dataset))[3, 4], dataset[3, 4])


def test_memory_is_pinned_where_there_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batch_loader(make(), 4).pin_memory is torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loader = batch_loader(make(), 4, num_workers=2)
    assert loader.pin_memory
    assert loader.persistent_workers


WRONG_CLASS = [3, -1, 1.0, True, None, "1", [1]]
WRONG_FINDINGS = [1, None, [0, 1], [0, 1, 0, 1], [0, 1, 2], [0, 1, 0.5], [0, 1, "1"], "path.png"]


@pytest.mark.parametrize(
    ("task", "label", "expected"),
    [("multi_class", label, "expected one class index from 0 to 2") for label in WRONG_CLASS]
    + [("multi_label", label, r"expected .*0, 1 or null for unknown") for label in WRONG_FINDINGS],
)
def test_a_wrong_label_is_named_by_its_file(task: str, label: object, expected: str) -> None:
    good = {"image": "/x/a.png", "label": 0 if task == "multi_class" else [0, None, 1]}
    items = [good, {"image": "/x/b.png", "label": label}]
    with pytest.raises(InputError, match=rf"^/x/b\.png: its label is .*, {expected}.*; correct the datalist"):
        ImageDataset(MemoryCache(items), CLASSES, task)
    with pytest.raises(InputError, match=r"^/y/c\.png: it has no label"):
        ImageDataset(MemoryCache([good, {"image": ["/y/c.png"]}]), CLASSES, task)


def test_unknown_findings_may_be_null_or_nan() -> None:
    items = [{"image": "a.png", "label": [None, float("nan"), 1]}]
    labels = ImageDataset(MemoryCache(items), CLASSES, "multi_label").labels
    np.testing.assert_array_equal(labels, [[math.nan, math.nan, 1]])


def test_wrong_settings_get_a_sentence() -> None:
    items = [{"image": f"{number}.png", "label": 0} for number in range(3)]
    with pytest.raises(InputError, match="task is 'segmentation'; it must be one of multi_label, multi_class, or null"):
        ImageDataset(MemoryCache(items), CLASSES, "segmentation")
    with pytest.raises(InputError, match="class_names is empty; the task multi_class needs"):
        ImageDataset(MemoryCache(items), None, "multi_class")
    with pytest.raises(InputError, match="draws is -1"):
        ImageDataset(MemoryCache(items), draws=-1)
    with pytest.raises(InputError, match=r"seed is 1\.5"):
        ImageDataset(MemoryCache(items), seed=1.5)  # type: ignore[arg-type]
    for index in (3, -4, (0, 3)):
        with pytest.raises(IndexError, match="of 3"):
            ImageDataset(MemoryCache(items))[index]
    with pytest.raises(InputError, match="A batch takes 4 items and the list gives fewer"):
        batch_loader(make(3), 4, drop_last=True)
    with pytest.raises(InputError, match="batch_size is 0"):
        batch_loader(make(3), 0)


def test_an_error_of_the_cache_arrives_from_a_worker() -> None:
    class Broken(MemoryCache):
        def rows(self, indices: Sequence[int] | np.ndarray) -> Tensor:
            raise InputError("block 3 of the cache is damaged; build it anew")

    dataset = ImageDataset(Broken([{"image": "a.png"}]))
    with pytest.raises(Exception, match="block 3 of the cache is damaged") as caught:
        list(batch_loader(dataset, 1, num_workers=1))
    assert find_input_error(caught.value) is not None


def test_picture_items_are_what_a_network_sees() -> None:
    items = [{"image": f"{name}.png", "file": f"{name}.png", "case": name, "label": [0, 1]} for name in "abc"]
    cache = MemoryCache(items)
    found = picture_items(ImageDataset(cache), lambda images: images.float() / 255, count=2)
    assert [entry["case"] for entry in found] == ["a", "b"]
    assert torch.equal(found[1]["image"], cache.rows([1])[0].float() / 255)
