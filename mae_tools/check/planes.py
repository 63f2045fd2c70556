"""Three planes of a volume, as they are shown on a light box."""

from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

# Image rows, label rows (if any), height / width of a pixel.
Plane = tuple[np.ndarray, np.ndarray | None, float]


def middle_planes(image: Any, volume: np.ndarray, label: np.ndarray | None) -> list[Plane]:
    """Sagittal, coronal and axial plane as (image rows, label rows, height / width of a pixel), seen as on a light box.

    The planes pass through the middle of the labelled region, or of the volume where nothing is labelled.
    """
    to_lps = ornt_transform(io_orientation(image.affine), axcodes2ornt("LPS"))
    axes = np.argsort(io_orientation(image.affine)[:, 0])
    size = np.linalg.norm(image.affine[:3, :3], axis=0)[axes]
    volume = apply_orientation(volume, to_lps)
    centre = [n // 2 for n in volume.shape]
    if label is not None:
        label = apply_orientation(label, to_lps)
        where = np.nonzero(label)
        if len(where[0]):
            centre = [int(np.median(axis)) for axis in where]
    planes = []
    for axis in range(3):
        across, down = [other for other in range(3) if other != axis]
        outline = None if label is None else _cut(label, axis, centre[axis])
        planes.append((_cut(volume, axis, centre[axis]), outline, float(size[down] / size[across])))
    return planes


def _cut(volume: np.ndarray, axis: int, position: int) -> np.ndarray:
    """One plane of an LPS volume with rows downwards; superior is up in the sagittal and coronal plane."""
    plane = np.take(volume, position, axis).T
    return (plane[::-1] if axis < 2 else plane).copy()
