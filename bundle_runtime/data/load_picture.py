"""Read a picture and its mask into tensors."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from custom_components.augment.stain_normalisation import STAINS, normalise_stain
from custom_components.augment.step import as_pair
from custom_components.errors import InputError
from custom_components.transforms.scaled_crop import rescale
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor

from .image_file import read_bytes, read_picture
from .image_prepare import as_channels
from .mask_file import class_map, decode_mask, instance_map
from .schema import MASK_KINDS, as_list
from .verify import Found, Problem, edges, sentence, unusable
from .verify_masks import SeenMask, list_problems, look_at_mask, size_problem
from .verify_pictures import Seen, file_problems

if TYPE_CHECKING:  # handed in by stages that have one
    from .record import Record


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
        record: of the network's training, which pictures are compared with.

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
        record: "Record | None" = None,
    ) -> None:
        if stain not in STAINS:
            raise InputError(f"stain is {stain!r}; it must be one of {', '.join(STAINS)}.")
        if stain != "none" and channels != 3:
            raise InputError(f"stain is {stain!r}, which needs the three channels of a colour picture, not {channels}.")
        if channels not in (1, 3):
            raise InputError(f"channels is {channels!r}; choose 1 (grey) or 3 (RGB).")
        self.stain, self.record = stain, record
        self.class_names, self.classes = list(class_names), len(class_names)
        self.channels, self.label, self.instances = channels, label, instances
        self.border, self.size = int(border), None if size is None else as_pair(size)
        if self.border < 0:
            raise InputError(f"border is {border}; it must be a width in pixels, or 0.")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with tensors, and as "warning" why its result may mean nothing, or "".

        Raises:
            InputError: a file cannot be read, the sizes differ, or the mask holds what is no class.
        """
        result, found = self.look(data)
        if found.failed:
            raise unusable(found)
        doubts = Seen(**found.facts["seen"]).doubts() + [problem.message for problem in found.problems]
        if "mask" in found.facts:
            mask = SeenMask(*found.facts["mask"][1])
            doubts += [f"its mask {text}" for text in mask.remarks(found.facts["mask_kind"] == "instance")]
        doubts += self.record.differences(found.facts) if self.record is not None else []
        return {**result, "warning": "; ".join(doubts)}

    def look(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], Found]:
        """The same, and what was found; the item has no tensors where that is an error."""
        files = as_list(data["image"])
        found = Found(data.get("section", ""), data.get("case", files[0]), files[0])
        result = dict(data)
        try:
            if len(files) != 1:
                raise InputError(f"{files[0]}: is one of {len(files)} files of an item, expected one picture an item.")
            content = read_bytes(files[0])
            found.edges[files[0]] = edges(content)
            picture = read_picture(files[0], content)
            seen = Seen.of(picture)
            found.facts["seen"] = {name: getattr(seen, name) for name in ("kind", "height", "width", "constant")}
            found.facts["picture"] = seen.facts()
            pixels = np.array(as_channels(picture.pixels, self.channels))  # Pillow's own memory is read-only
            image = torch.from_numpy(pixels if self.stain == "none" else normalise_stain(pixels))
            result["image"] = image if self.size is None else rescale(image, self.size)
        except InputError as error:
            found.add("error", files[0], sentence(error, files[0]))
            return result, found
        if self.label:
            file = data.get("label")
            try:
                self._add_mask(result, found, file, data.get("mask_kind", MASK_KINDS[0]), image.shape[1:])
            except InputError as error:
                named = file if isinstance(file, str) else files[0]
                found.add("error", named, sentence(error, named))
        return result, found

    def _add_mask(self, result: dict[Hashable, Any], found: Found, file: Any, kind: str, size: Sequence[int]) -> None:
        """Read the mask and put what is wanted of it into the item."""
        if not isinstance(file, str):
            text = "it has no label" if file is None else f"its label is {file!r}"
            raise InputError(f"{text}; segmentation needs the path of a mask.")
        content = read_bytes(file)
        found.edges[file] = edges(content)
        mask = decode_mask(file, content)
        classes = class_map(mask, kind, self.classes, file)
        seen = look_at_mask(mask, classes, kind, self.classes)
        problem = seen.problem or size_problem(classes.shape, size)
        if problem:
            raise InputError(problem)
        if seen.doubt:
            found.add("warning", file, seen.doubt)
        found.facts["mask"], found.facts["mask_kind"] = [file, list(seen)], kind
        found.voxels = dict(enumerate(seen.pixels))
        if self.instances or self.border:
            objects = instance_map(mask.values, kind, classes)
        if self.border:
            near = _touching(objects, self.border)
            classes = np.where(near, 0, classes).astype(np.uint8)
            result["border"] = self._resized(near.astype(np.uint8))
        if self.instances:
            result["instances"] = self._resized(objects)
        result["label"] = self._resized(classes)

    def sum_up(self, found: Sequence[Found]) -> list[Problem]:
        """What the pictures and masks of a list show together."""
        good = [entry for entry in found if not entry.failed]
        if not good:
            return []
        part = good[0].section
        seen = {entry.image: Seen(**entry.facts["seen"]) for entry in good}
        items = [{"image": entry.image, "file": entry.image, "case": entry.case} for entry in good]
        problems = list(file_problems(part, items, seen)) if self.label else []
        masks = [(entry.facts["mask"][0], SeenMask(*entry.facts["mask"][1])) for entry in good if "mask" in entry.facts]
        instances = any(entry.facts.get("mask_kind") == "instance" for entry in good)
        return problems + list(list_problems(part, masks, self.class_names, instances))

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
