"""Read a picture and its mask into tensors."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor

from custom_components.augment.step import as_pair
from custom_components.errors import InputError
from custom_components.transforms.scaled_crop import rescale

from .image_file import decode
from .mask_file import class_map, instance_map, read_mask
from .schema import as_list
from .stain_normalisation import STAINS, normalise_stain


class LoadPictured(Transform):
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


def _touching(objects: np.ndarray, width: int) -> np.ndarray:
    """Where a square window of `width` pixels holds two objects: bool (H, W)."""
    size = max(int(width), 2)
    none = np.iinfo(objects.dtype).max
    highest = ndimage.maximum_filter(objects, size)
    lowest = ndimage.minimum_filter(np.where(objects > 0, objects, none), size)
    return (highest > 0) & (lowest < none) & (highest != lowest)


def _by(shape: Sequence[int]) -> str:
    """Height and width as people say sizes: width x height."""
    return f"{shape[1]} x {shape[0]}"
