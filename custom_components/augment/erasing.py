"""Random erasing."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError, within
from .crops import first_accepted, place, try_rectangles
from .step import Step, as_float, as_interval, change_rows, send

_TRIES = 10
_LOW = 0xFFFFFFFF


class RandomErasing(Step):
    """Replaces a random rectangle: Zhong et al., arXiv 1708.04896, with timm's choices.

    A rectangle must be smaller than the image in both directions; ten are tried, then the image stays. Stands behind
    `Normalise`, so that a fill of 0 is the mean and noise has the deviation of the data.

    Args:
        probability: that an image has a rectangle erased.
        area: smallest and largest share of the image's area.
        ratio: smallest and largest height / width.
        fill: the new value, or "noise" for standard normal noise in each pixel and channel.

    Raises:
        InputError: a value is out of range.
    """

    draws = 2 * _TRIES + 4  # tries, whether applied, top, left, noise

    def __init__(
        self,
        probability: float = 0.25,
        area: Sequence[float] = (0.02, 1 / 3),
        ratio: Sequence[float] = (0.3, 1 / 0.3),
        fill: float | str = 0.0,
    ) -> None:
        self.probability = within("probability", probability, "[0, 1]")
        self.area, self.ratio = as_interval(area, "area", high=1.0), as_interval(ratio, "ratio")
        if isinstance(fill, str) and fill != "noise":
            raise InputError(f"fill is {fill!r}; it must be a number or noise.")
        self.fill = fill

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape, float32."""
        images = as_float(images)
        found, boxes = self.boxes(random, (images.shape[2], images.shape[3]))
        rows = found.nonzero()[:, 0]
        keys = (random[rows, self.draws - 1].double() * 2**24).long()
        change_rows(images, rows, self._erase, boxes[rows], keys)
        return images

    def boxes(self, random: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Which images have a rectangle erased (B,), and its top, left, height and width (B, 4)."""
        # timm's ratio is height / width, so the two are exchanged.
        widths, heights = try_rectangles(
            random[:, :_TRIES], random[:, _TRIES : 2 * _TRIES], self.area, self.ratio, shape
        )
        fits = (heights < shape[0]) & (widths < shape[1])
        found, height, width = first_accepted(fits, heights, widths)
        applied, top, left, _ = random[:, 2 * _TRIES : self.draws].unbind(1)
        starts = [place(top, shape[0], height), place(left, shape[1], width)]
        return found & (applied < self.probability), torch.stack([*starts, height, width], 1)

    def _erase(self, images: Tensor, boxes: Tensor, keys: Tensor) -> Tensor:
        inside = []
        for axis in (0, 1):
            start, length = (
                send(boxes[:, axis : axis + 1], images.device),
                send(boxes[:, axis + 2 : axis + 3], images.device),
            )
            place = torch.arange(images.shape[axis + 2], device=images.device)
            inside.append((place >= start) & (place < start + length))  # n side
        erased = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]  # n 1 H W
        if isinstance(self.fill, str):
            return torch.where(erased, noise(send(keys, images.device), images.shape), images)
        return images.masked_fill(erased, self.fill)


def noise(keys: Tensor, shape: torch.Size) -> Tensor:
    """Standard normal noise that is a function of an image's key: (n,) int64 below 2**24 -> `shape`, (n, C, H, W)."""
    pixels = torch.arange(math.prod(shape[1:]), device=keys.device)
    words = _scramble(_scramble(keys * 0x9E3779B9)[:, None] ^ _scramble(pixels + 1))
    return torch.special.ndtri(((words >> 9).float() + 0.5) / 2**23).view(shape)


def _scramble(words: Tensor) -> Tensor:
    """The finaliser of MurmurHash3: a one-to-one map of 32-bit words, held in int64, that hides their order."""
    words = words & _LOW
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        words = ((words ^ (words >> shift)) * factor) & _LOW
    return words ^ (words >> 16)
