"""Dictionary transforms for pictures that are segmented: windows of random scale and place."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor
from torch.nn import functional as F

from ..augment.step import as_interval, as_pair
from ..errors import within

_TRIES = 10  # windows that are looked at for one with more than one class


def rescale(image: Tensor, size: Sequence[int], nearest: bool = False) -> Tensor:
    """(C, H, W) to (C, *size), type kept: bilinear with anti-aliasing, or the nearest pixel for class numbers."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    batch = image[None].float()
    if nearest:
        return F.interpolate(batch, tuple(size), mode="nearest-exact")[0].to(image.dtype)
    scaled = F.interpolate(batch, tuple(size), mode="bilinear", antialias=True, align_corners=False)[0]
    return scaled.round_().clamp_(0, 255).to(image.dtype)


class RandScaledCropd(RandomizableTransform, MapTransform):
    """Cut a window at a random place and bring it to the crop's size: a random resize followed by a crop.

    Only the window is resized. Where it reaches beyond the picture, that is mirrored at its borders: then no pixel of
    the crop is without a class. A window in which one class holds more than `max_share` is drawn again, ten times at
    most (mmsegmentation's RandomCrop; SD-MAE's segmentation configs).

    Args:
        keys: picture first, then maps of class or object numbers; all (C, H, W).
        size: of the crop in pixels.
        scale: range of the resize ratio, drawn evenly; 2 shows half of the picture twice as large.
        max_share: of "label"; 1 takes the first window.
    """

    def __init__(
        self,
        keys: Sequence[str],
        size: int | Sequence[int],
        scale: Sequence[float] = (0.5, 2.0),
        max_share: float = 0.75,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.size, self.scale = as_pair(size), as_interval(scale, "crop_scale")
        self.max_share = within("max_share", max_share, "(0, 1]")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with crops."""
        result = dict(data)
        label = data["label"][0]
        ratio = self.R.uniform(*self.scale)
        window = [max(1, round(side / ratio)) for side in self.size]
        for _ in range(_TRIES):
            rows, columns = (self._positions(n, side) for n, side in zip(label.shape, window, strict=True))
            # Every fourth pixel tells the shares well enough.
            counts = label[rows[::4]][:, columns[::4]].flatten().bincount()
            if self.max_share == 1 or counts.max() <= self.max_share * counts.sum():
                break
        for number, key in enumerate(self.key_iterator(result)):
            crop = result[key][:, rows][:, :, columns]
            result[key] = rescale(crop, self.size, nearest=number > 0)
        return result

    def _positions(self, length: int, window: int) -> Tensor:
        """Indices along one axis of a window at a random place, mirrored beyond the ends."""
        low, high = sorted((0, length - window))
        start = int(self.R.randint(low, high + 1))
        index = torch.arange(start, start + window) % (2 * length)
        return torch.where(index < length, index, 2 * length - 1 - index)


class RandomNumbersd(RandomizableTransform):
    """Add random numbers in [0, 1) as "random" (draws,) float32, for changes made later, on the training device.

    Args:
        draws: how many.
    """

    def __init__(self, draws: int) -> None:
        super().__init__(1.0)
        self.draws = draws

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the numbers."""
        return {**data, "random": torch.from_numpy(self.R.random_sample(self.draws).astype(np.float32))}
