"""What every step of an augmentation is, and what steps share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError


class Extent(NamedTuple):
    """The part of each image that a result shows.

    Attributes:
        box: (B, 4) float64 in host memory: top, left, height and width as shares of the image's height and width.
        mirrored: (B, 2) bool in host memory: whether it is then turned upside down, and left to right.
    """

    box: Tensor
    mirrored: Tensor

    @classmethod
    def whole(cls, count: int) -> "Extent":
        """All of each of `count` images."""
        box = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).repeat(count, 1)
        return cls(box, torch.zeros(count, 2, dtype=torch.bool))

    @classmethod
    def of_boxes(cls, boxes: Tensor, shape: tuple[int, int]) -> "Extent":
        """From (B, 4) top, left, height and width in pixels of images of `shape`."""
        shares = boxes.double() / torch.tensor([*shape, *shape], dtype=torch.float64)
        return cls(shares, torch.zeros(len(boxes), 2, dtype=torch.bool))

    def then(self, inner: "Extent") -> "Extent":
        """The part of the image that is shown where `inner` is taken of what this one shows."""
        start, length = inner.box.split(2, dim=1)
        start = torch.where(self.mirrored, 1 - start - length, start)  # counted from the other side
        own_start, own_length = self.box.split(2, dim=1)
        box = torch.cat([own_start + start * own_length, length * own_length], dim=1)
        return Extent(box, self.mirrored ^ inner.mirrored)


class Step(ABC):
    """Changes a batch of images, deterministically given its random numbers.

    Whatever a step decides it decides on the host, from `random`: it never reads the images back, so the host does not
    wait for the device. An item's result does not depend on the other items of its batch. Float images belong to the
    step, which may write into them; uint8 images stay as they are.

    Attributes:
        draws: how many random numbers an image takes.
        size: height and width of the result; None: those of the images.
    """

    draws: int = 0
    size: tuple[int, int] | None = None

    @abstractmethod
    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """Change a batch.

        Args:
            images: (B, C, H, W) on any device: uint8, or float32 with 1 as white.
            random: (B, draws) float32 numbers in [0, 1) in host memory.

        Returns:
            (B, C, H', W').
        """

    def extent(self, random: Tensor, shape: tuple[int, int]) -> Extent:
        """The part of each image that the result shows: here all of it, pixels stay where they are.

        Args:
            random: (B, draws), as in the call.
            shape: height and width of the images.
        """
        return Extent.whole(len(random))


def as_float(images: Tensor) -> Tensor:
    """A uint8 tensor as float32 with 255 as 1; a float tensor as it is."""
    return images if images.is_floating_point() else images.to(torch.float32).div_(255)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Copy a small tensor from the host to `device` without waiting for what the device is doing."""
    # From ordinary memory such a copy first waits for the stream; from pinned memory it is queued.
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def change_rows(images: Tensor, rows: Tensor, change: Callable[..., Tensor], *arguments: object) -> None:
    """Replace some images of a batch, in place, by what `change` makes of them.

    Args:
        images: (B, C, H, W).
        rows: (n,) int64 in host memory; nothing happens where there are none.
        change: (n, C, H, W) and the arguments -> (n, C, H, W).
        *arguments: what else `change` takes.
    """
    if len(rows):
        chosen = send(rows, images.device)
        images.index_copy_(0, chosen, change(images.index_select(0, chosen), *arguments))


def as_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width from one number for both, or from two.

    Raises:
        InputError: they are not whole numbers of at least 1.
    """
    values = (size, size) if isinstance(size, int) else tuple(size)
    if len(values) != 2 or any(not isinstance(value, int) or value < 1 for value in values):
        raise InputError(f"size is {size!r}; it must be a whole number of pixels, or height and width.")
    return values[0], values[1]


def as_interval(value: Sequence[float], name: str, high: float = float("inf")) -> tuple[float, float]:
    """Two ascending numbers in (0, high].

    Raises:
        InputError: they are not.
    """
    numbers = tuple(float(number) for number in value)
    if len(numbers) != 2 or not 0 < numbers[0] <= numbers[1] <= high:
        above = "" if high == float("inf") else f" and at most {high:g}"
        raise InputError(f"{name} is {list(value)}; it must be two ascending numbers above 0{above}.")
    return numbers[0], numbers[1]
