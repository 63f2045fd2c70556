"""Dictionary transforms for pictures that are segmented: read with their masks, cut at random scales."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform, Transform
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ..augment.step import as_interval, as_pair
from ..data.image_file import decode
from ..data.mask_file import class_map, instance_map, read_mask
from ..data.schema import as_list
from ..data.stain_normalisation import STAINS, normalise_stain
from ..errors import InputError

_TRIES = 10  # windows that are looked at for one with more than one class


class LoadTiled(Transform):
    """Read a picture and its mask, each once, into small integer tensors that a cache can hold.

    The item's "image" becomes uint8 (channels, H, W), read as everywhere (`data.image_file`: CMYK, alpha, 16 bits), its
    "label" uint8 (1, H, W) with a class index a pixel. What the mask's values mean is in the item's "mask_kind":
    "classes" (also where it is absent), "binary" or "instance".

    Args:
        class_names: background first.
        channels: 1 or 3.
        label: read the mask.
        instances: also give the objects, int32 (1, H, W), as "instances".
        border: also give, as "border" (1, H, W) uint8, where two objects lie within a window of so many pixels; these
            pixels become background in "label", so that the network learns to part what touches. 0 gives none.
        size: height and width to which picture and mask are squashed; None keeps theirs.
        stain: "macenko" brings the colours of an H&E-stained picture to those of one reference; "none" keeps them.

    Raises:
        InputError: a negative border, or a stain normalisation that is unknown or given for grey pictures.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        channels: int = 3,
        label: bool = True,
        instances: bool = False,
        border: int = 0,
        size: int | Sequence[int] | None = None,
        stain: str = "none",
    ) -> None:
        if stain not in STAINS:
            raise InputError(f"stain is {stain!r}; it must be one of {', '.join(STAINS)}.")
        if stain != "none" and channels != 3:
            raise InputError(f"stain is {stain!r}, which needs the three channels of a colour picture, not {channels}.")
        self.stain = stain
        self.classes, self.channels, self.label, self.instances = len(class_names), channels, label, instances
        self.border, self.size = int(border), None if size is None else as_pair(size)
        if self.border < 0:
            raise InputError(f"border is {border}; it must be a width in pixels, or 0.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with tensors.

        Raises:
            InputError: a file cannot be read, the sizes differ, or the mask holds what is no class.
        """
        files = as_list(data["image"])
        if len(files) != 1:
            raise InputError(f"{files[0]}: is one of {len(files)} files of an item, expected one picture an item.")
        result = dict(data)
        pixels = np.array(decode(files[0], self.channels))  # Pillow's own memory is read-only
        image = torch.from_numpy(pixels if self.stain == "none" else normalise_stain(pixels))
        result["image"] = image if self.size is None else rescale(image, self.size)
        if not self.label:
            return result
        file, kind = data["label"], data.get("mask_kind", "classes")
        if not isinstance(file, str):
            raise InputError(f"{files[0]}: its label is {file!r}; segmentation needs the path of a mask.")
        values = read_mask(file)
        if values.shape[:2] != image.shape[1:]:
            raise InputError(
                f"{file}: is {_by(values.shape)} pixels and its picture {files[0]} {_by(image.shape[1:])}; a mask must "
                "have the size of its picture: pair the right files, or export the mask again."
            )
        classes = class_map(values, kind, self.classes, file)
        if self.instances or self.border:
            objects = instance_map(values, kind, classes)
        if self.border:
            near = _touching(objects, self.border)
            classes = np.where(near, 0, classes).astype(np.uint8)
            result["border"] = self._resized(near.astype(np.uint8))
        if self.instances:
            result["instances"] = self._resized(objects)
        result["label"] = self._resized(classes)
        return result

    def _resized(self, values: np.ndarray) -> Tensor:
        """(H, W) as a tensor (1, h, w) of the same type."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))[None]
        return tensor if self.size is None else rescale(tensor, self.size, nearest=True)


def rescale(image: Tensor, size: Sequence[int], nearest: bool = False) -> Tensor:
    """(C, H, W) to (C, *size), type kept: bilinear with anti-aliasing, or the nearest pixel for class numbers."""
    if tuple(image.shape[1:]) == tuple(size):
        return image
    batch = image[None].float()
    if nearest:
        return F.interpolate(batch, tuple(size), mode="nearest-exact")[0].to(image.dtype)
    scaled = F.interpolate(batch, tuple(size), mode="bilinear", antialias=True, align_corners=False)[0]
    return scaled.round_().clamp_(0, 255).to(image.dtype)


def _touching(objects: np.ndarray, width: int) -> np.ndarray:
    """Where a square window of `width` pixels holds two objects: bool (H, W)."""
    size = max(int(width), 2)
    none = np.iinfo(objects.dtype).max
    highest = ndimage.maximum_filter(objects, size)
    lowest = ndimage.minimum_filter(np.where(objects > 0, objects, none), size)
    return (highest > 0) & (lowest < none) & (highest != lowest)


class RandScaledCropd(RandomizableTransform, MapTransform):
    """Cut a window at a random place and bring it to the crop's size: a random resize followed by a crop.

    Only the window is resized. Where it reaches beyond the picture, that is mirrored at its borders: then no pixel of
    the crop is without a class. A window in which one class holds more than `max_share` is drawn again, ten times at
    most (mmsegmentation's RandomCrop; SD-MAE's segmentation configs).

    Args:
        keys: picture first, then maps of class or object numbers; all (C, H, W).
        size: of the crop in pixels.
        scale: range of the resize ratio, drawn evenly; 2 shows half of the picture twice as large.
        max_share: see above; 1 takes the first window.
        label_key: whose classes are counted.
    """

    def __init__(
        self,
        keys: Sequence[str],
        size: int | Sequence[int],
        scale: Sequence[float] = (0.5, 2.0),
        max_share: float = 0.75,
        label_key: str = "label",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.size, self.scale = as_pair(size), as_interval(scale, "crop_scale")
        if not 0 < max_share <= 1:
            raise InputError(f"max_share is {max_share}; it must be above 0 and at most 1.")
        self.max_share, self.label_key = max_share, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with crops."""
        result = dict(data)
        label = data[self.label_key][0]
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


def _by(shape: Sequence[int]) -> str:
    """Height and width as people say sizes: width x height."""
    return f"{shape[1]} x {shape[0]}"
