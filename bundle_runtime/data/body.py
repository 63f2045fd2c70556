"""A small picture of the body that a volume shows, which can be kept and compared with those of other cases."""

from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage
from skimage.filters import threshold_otsu

from .flips import SIDE

_SAMPLES = 64  # at least so many voxels along an axis are looked at, where there are so many


def coarse_picture(image: Any, volume: np.ndarray) -> np.ndarray | None:
    """A volume's largest bright body, in RAS order and cropped to its bounding box, on a small common grid.

    Outside the body it is 0, inside 0.5 (2nd percentile of the body) to 1 (98th), so shape and content weigh alike.

    Args:
        image: the nibabel image, for its affine.
        volume: (X, Y, Z) as stored.

    Returns:
        (SIDE, SIDE, SIDE) float32 of mean 0 and norm 1; None for a volume without contrast or with values not finite.
    """
    small = apply_orientation(volume, io_orientation(image.affine))
    small = small[tuple(slice(None, None, max(1, n // _SAMPLES)) for n in small.shape)].astype(np.float32)
    if not np.isfinite(small).all() or small.min() == small.max():
        return None
    parts, count = ndimage.label(small > threshold_otsu(small.ravel()))
    # The largest part alone: the table under a patient would stretch the box.
    body = parts == np.bincount(parts.ravel(), minlength=count + 1)[1:].argmax() + 1
    low, high = np.percentile(small[body], (2, 98))
    inside = 0.5 + 0.5 * np.clip((small - low) / max(float(high - low), 1e-6), 0, 1)
    picture = np.where(body, inside, 0)[ndimage.find_objects(body.astype(np.int8))[0]]
    for axis in range(3):
        picture = _block_means(picture, axis)
    picture = picture - picture.mean()
    norm = float(np.linalg.norm(picture))
    return (picture / norm).astype(np.float32) if norm > 1e-6 else None


def _block_means(volume: np.ndarray, axis: int) -> np.ndarray:
    """`SIDE` means over (overlapping, where there are fewer voxels than that) blocks along an axis."""
    n = volume.shape[axis]
    edges = np.arange(SIDE + 1) * n / SIDE
    first, end = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    sums = np.concatenate([np.zeros_like(np.take(volume, [0], axis)), np.cumsum(volume, axis)], axis)
    width = (end - first).reshape([-1 if other == axis else 1 for other in range(3)])
    return (np.take(sums, end, axis) - np.take(sums, first, axis)) / width
