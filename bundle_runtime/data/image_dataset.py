"""Batches of cached images with their labels and with the random numbers of their augmentation."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from custom_components.errors import InputError
from custom_components.seeding import mix_seed, uniform
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .labels import checked_labels
from .schema import Item

Index = int | tuple[int, int]
Batch = dict[str, Tensor]


class Rows(Protocol):
    """What an image cache offers: its rows are aligned with its items."""

    @property
    def items(self) -> Sequence[Item]:
        """What the rows show."""

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
        cache: gives the images and their items, such as an `ImageCache`.
        class_names: the K findings or classes, in the order of the labels; needed with a task.
        task: "multi_label", "multi_class", or None for images without labels.
        seed: the run's seed.
        draws: random numbers of an item: as many as the augmentation takes.

    Attributes:
        data: the items.
        labels: (N,) int64 or (N, K) float32, or None without a task.

    Raises:
        InputError: a label does not suit the task (named by the item's file), or the labels
            let nothing be learnt.
    """

    def __init__(
        self,
        cache: Rows,
        class_names: Sequence[str] | None = None,
        task: str | None = None,
        seed: int = 0,
        draws: int = 0,
    ) -> None:
        mix_seed(seed)  # refuses a seed that is not a whole number
        if draws < 0:
            raise InputError(f"draws is {draws}; it must be at least 0.")
        self.data, self.cache, self.seed, self.draws = cache.items, cache, seed, draws
        self.labels = None if task is None else checked_labels(cache.items, task, class_names or ())

    def __len__(self) -> int:
        return len(self.data)

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Plain values about each item, where the cache has them."""
        return getattr(self.cache, "facts", [])

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
