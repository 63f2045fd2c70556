"""Heads whose background is not 0: what is no brain is set to exactly 0, by a value or by a mask of the brain."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.distributed import say

from .schema import CORNERS
from .verify import Found
from .volume import UnusableError, grid_difference, read_volume, turned_like

_NEAR = 1e-3  # of a background value, or of 1; a stated value is rounded
_CORNERS_ALIKE = 5  # of the eight
_BRAIN = 0.5  # of its highest value: where a mask is brain


def as_in_training(about: Mapping[str, Any]) -> Any:
    """The background that heads are taken to have which do not say it, by the record of a training; it is printed."""
    if (value := about.get("background")) is not None:
        say(f"As in the training, the background of heads ({value}) becomes 0, where they say no other.")
    elif ways := about.get("backgrounds"):
        listed = ", ".join(f"{way} {count}" for way, count in ways.items())
        say(
            f"The backgrounds of the training's heads became 0 in different ways ({listed}), so here none does that "
            "heads do not say; give --background or --brain_mask, or say it in the datalist."
        )
    return value


def read_brain(report: Found, item: Mapping[str, Any]) -> Any:
    """The mask of an item's brain: file, nibabel image and bool (X, Y, Z); None where there is none of use."""
    file = item.get("brain_mask")
    if file is None:
        return None
    try:
        image, values = read_volume(file, report.edges)
        if values.ndim == 4 and values.shape[3] != 1:
            raise UnusableError(f"is 4-D, shape {values.shape}, expected one 3-D mask of the brain")
        values = values.reshape(values.shape[:3])
        brain = values >= max(_BRAIN * float(values.max()), np.finfo(np.float32).tiny)
        if not brain.any():
            raise UnusableError("is a mask of the brain without any; draw it again, or take it out of the datalist")
    except UnusableError as problem:
        report.add("error", file, str(problem))
        return None
    return file, image, brain


def without_background(report: Found, file: str, image: Any, voxels: np.ndarray, value: Any, brain: Any) -> np.ndarray:
    """The volumes of a file with exactly 0 outside the brain.

    Args:
        report: is told what cannot be done.
        file: its path.
        image: its nibabel image.
        voxels: (X, Y, Z) or (X, Y, Z, C).
        value: the value of the background; "corners" takes what most corners of a volume share; None: no matter.
        brain: of `read_brain`; None: no matter.
    """
    if brain is not None:
        mask_file, mask_image, mask = brain
        mask_image, mask = turned_like(mask_image, mask, image)
        if difference := grid_difference(mask_image, image, Path(file).name):
            report.add("error", mask_file, difference)
            return voxels
        return np.where(mask if voxels.ndim == 3 else mask[..., None], voxels, 0).astype(voxels.dtype)
    if value is None:
        return voxels
    planes = voxels[..., None] if voxels.ndim == 3 else voxels
    cleared = [_cleared(report, file, planes[..., number], value) for number in range(planes.shape[3])]
    return cleared[0] if voxels.ndim == 3 else np.stack(cleared, axis=-1)


def _cleared(report: Found, file: str, volume: np.ndarray, value: Any) -> np.ndarray:
    ends = tuple(slice(None, None, max(length - 1, 1)) for length in volume.shape)
    corners, counts = np.unique(volume[ends], return_counts=True)
    if value == CORNERS:
        if counts.max(initial=0) < _CORNERS_ALIKE:
            report.add(
                "error", file,
                f"has no background of one value (its corners are {', '.join(f'{corner:g}' for corner in corners)}); "
                "strip the skull, and give a mask of the brain (brain_mask in the datalist)",
            )  # fmt: skip
            return volume
        outside = volume == corners[counts.argmax()]
    else:
        outside = np.abs(volume - float(value)) <= _NEAR * max(abs(float(value)), 1)
        if not outside.any() and not (volume == 0).any():
            text = f"has no voxel of the background value {float(value):g} (its first corner is {volume.flat[0]:g})"
            report.add("error", file, f"{text}; correct the value, or give the word {CORNERS}")
    return np.where(outside, 0, volume).astype(volume.dtype)
