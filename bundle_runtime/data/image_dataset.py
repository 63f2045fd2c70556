"""Batches of cached images with their labels and with the random numbers of their augmentation."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from custom_components.errors import InputError
from custom_components.seeding import mix_seed, uniform

from .schema import TASKS, Item, as_list

Index = int | tuple[int, int]
Batch = dict[str, Tensor]


class Rows(Protocol):
    """What an image cache offers: its rows are aligned with the items that it was made of."""

    def __len__(self) -> int:
        """How many rows there are."""

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Some rows: (B, C, H, W) uint8."""


class ImageDataset(Dataset):
    """Cached images, their labels and random numbers; a batch is one read of the cache.

    The random numbers are a function of (seed, epoch, item): an item is augmented alike in any batch, with any number
    of workers and processes, and after a restart.

    A batch is a dict: "image" uint8 (B, C, H, W); "label" int64 (B,) for "multi_class", float32 (B, K) with NaN for
    unknown for "multi_label", absent without a task; "random" float32 (B, draws) in [0, 1); "index" int64 (B,), the
    items' positions. A single item is the same without the first axis. Labels are held in one array, so that worker
    processes share it as they share the cache's file.

    Args:
        items: as a datalist has them, aligned with the cache's rows.
        cache: gives the images, such as an `ImageCache`.
        class_names: the K findings or classes, in the order of the labels; needed with a task.
        task: "multi_label", "multi_class", or None for images without labels.
        seed: the run's seed.
        draws: random numbers of an item: as many as the augmentation takes.

    Attributes:
        data: the items.
        labels: (N,) int64 or (N, K) float32, or None without a task.

    Raises:
        InputError: the cache has other rows, or a label does not suit the task; named by the item's file.
    """

    def __init__(
        self,
        items: Sequence[Item],
        cache: Rows,
        class_names: Sequence[str] | None = None,
        task: str | None = None,
        seed: int = 0,
        draws: int = 0,
    ) -> None:
        mix_seed(seed)  # refuses a seed that is not a whole number
        if len(cache) != len(items):
            raise InputError(
                f"The image cache has {len(cache)} images and the list has {len(items)}; give both the same list: the "
                "cache's `items`, where it left files out."
            )
        if draws < 0:
            raise InputError(f"draws is {draws}; it must be at least 0.")
        self.data, self.cache, self.seed, self.draws = items, cache, seed, draws
        self.labels = None if task is None else label_array(items, task, class_names or ())

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Index) -> Batch:
        """Item `index` as in epoch 0, or (epoch, index) as `EpochSampler` gives it."""
        return {key: values[0] for key, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[Index]) -> Batch:
        """A whole batch, which PyTorch's loader asks for at once; epochs may differ within it."""
        pairs = [index if isinstance(index, tuple) else (0, index) for index in indices]
        epochs, positions = np.array(pairs, np.int64).reshape(-1, 2).T
        outside = positions[(positions < -len(self)) | (positions >= len(self))]
        if outside.size:
            raise IndexError(f"item {outside[0]} of {len(self)}")
        positions = positions % len(self)
        batch = {
            "image": self.cache.rows(positions),
            "random": torch.from_numpy(uniform(self.seed, epochs, positions, self.draws)),
            "index": torch.from_numpy(positions),
        }
        if self.labels is not None:
            batch["label"] = torch.from_numpy(self.labels[positions])
        return batch


def label_array(items: Sequence[Item], task: str, class_names: Sequence[str]) -> NDArray[Any]:
    """The labels of all items in one array.

    Returns:
        (N,) int64 class indices, or (N, K) float32 of 0, 1 and NaN for unknown.

    Raises:
        InputError: an unknown task, no class names, or a label that does not suit them; named by the item's file.
    """
    if task not in TASKS:
        raise InputError(f"task is {task!r}; it must be one of {', '.join(TASKS)}, or null for images without labels.")
    if not class_names:
        raise InputError(f"class_names is empty; the task {task} needs a name for each class.")
    if task == "multi_class":
        return np.array([_class_index(item, len(class_names)) for item in items], np.int64)
    findings = np.empty((len(items), len(class_names)), np.float32)
    for row, item in enumerate(items):
        findings[row] = _findings(item, len(class_names))
    return findings


def _class_index(item: Item, classes: int) -> int:
    label = item.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
        raise _label_error(item, f"one class index from 0 to {classes - 1}")
    return label


def _findings(item: Item, classes: int) -> list[float]:
    label = item.get("label")
    if not isinstance(label, list) or len(label) != classes:
        raise _label_error(item, f"a list of {classes} values, each 0, 1 or null for unknown")
    values = [math.nan if value is None else value for value in label]
    if not all(isinstance(value, int | float) and (math.isnan(value) or value in (0, 1)) for value in values):
        raise _label_error(item, "0, 1 or null for unknown in each place")
    return values


def _label_error(item: Item, expected: str) -> InputError:
    file = item.get("file") or as_list(item["image"])[0]
    found = f"its label is {item['label']!r}" if "label" in item else "it has no label"
    return InputError(f"{file}: {found}, expected {expected}; correct the datalist, its class_names or the task.")


def picture_items(dataset: ImageDataset, pipeline: Callable[[Tensor], Tensor], count: int = 4) -> list[dict[str, Any]]:
    """The first images as a network sees them, for pictures.

    Args:
        dataset: images.
        pipeline: the evaluation's; it draws no random numbers.
        count: how many.

    Returns:
        For each: `image` (C, H, W) float32, `case` and `file`.
    """
    positions = range(min(count, len(dataset)))
    images = pipeline(dataset.cache.rows(list(positions)))
    names = [dataset.data[position] for position in positions]
    return [
        {"image": image, "case": item["case"], "file": item["file"]} for image, item in zip(images, names, strict=True)
    ]


def _as_is(batch: Any) -> Any:
    return batch


def image_loader(
    dataset: ImageDataset,
    batch_size: int,
    sampler: Sampler | None = None,
    num_workers: int = 0,
    drop_last: bool = False,
) -> DataLoader:
    """PyTorch's loader for batches that the data set makes whole.

    Workers stay alive between epochs, and memory is pinned where there is a CUDA device.

    Args:
        dataset: needs no seeding of workers.
        batch_size: images per batch and process.
        sampler: an `EpochSampler` for training; None keeps the order.
        num_workers: worker processes; 0 loads in the main one.
        drop_last: leave out an incomplete last batch.

    Raises:
        InputError: there would be no batch.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    result = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        drop_last=drop_last,
        collate_fn=_as_is,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )
    if len(result) == 0:
        raise InputError(f"A batch takes {batch_size} images and the list gives fewer; add images or lower batch_size.")
    return result
