"""Which part of an image a crop shows."""

from typing import NamedTuple

import torch
from torch import Tensor


class Region(NamedTuple):
    """The part of each image that a result shows.

    Attributes:
        box: (B, 4) float64 in host memory: top, left, height and width as shares of the image's height and width.
        mirrored: (B, 2) bool in host memory: whether it is then turned upside down, and left to right.
    """

    box: Tensor
    mirrored: Tensor

    @classmethod
    def whole(cls, count: int) -> "Region":
        """All of each of `count` images."""
        box = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).repeat(count, 1)
        return cls(box, torch.zeros(count, 2, dtype=torch.bool))

    @classmethod
    def of_boxes(cls, boxes: Tensor, shape: tuple[int, int], mirrored: Tensor | None = None) -> "Region":
        """From (B, 4) top, left, height and width in pixels of images of `shape`."""
        shares = boxes.double() / torch.tensor([*shape, *shape], dtype=torch.float64)
        return cls(shares, torch.zeros(len(boxes), 2, dtype=torch.bool) if mirrored is None else mirrored)

    def then(self, inner: "Region") -> "Region":
        """The part of the image that is shown where `inner` is taken of what this one shows."""
        start, length = inner.box.split(2, dim=1)
        start = torch.where(self.mirrored, 1 - start - length, start)  # counted from the other side
        own_start, own_length = self.box.split(2, dim=1)
        box = torch.cat([own_start + start * own_length, length * own_length], dim=1)
        return Region(box, self.mirrored ^ inner.mirrored)
