"""From a map of classes to single objects: connected components, or a watershed that parts what touches."""

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import label as connected_components
from skimage.segmentation import watershed

from ..errors import InputError, one_of

METHODS = ("watershed", "components")
_SMOOTHING = 1.0  # pixels; ragged borders would otherwise give one nucleus several centres


def check_split(method: str, min_size: int, min_distance: int) -> None:
    """Refuse settings of `split_instances` that mean nothing.

    Raises:
        InputError: an unknown method, or a number out of range.
    """
    one_of("split", method, METHODS)
    if min_size < 0 or min_distance < 1:
        raise InputError(
            f"min_size is {min_size} and min_distance is {min_distance}; they must be at least 0 and 1 pixels."
        )


def split_instances(
    classes: np.ndarray, method: str = "watershed", min_size: int = 0, min_distance: int = 5
) -> np.ndarray:
    """Number the objects of a class map; each belongs to one class.

    Args:
        classes: (H, W) class indices, 0 is background.
        method: "components": pixels that touch, corners included, are one object. "watershed": each of these is flooded
            from the peaks of its smoothed distance to the background, so that convex objects that touch come apart.
        min_size: objects of fewer pixels are left out.
        min_distance: pixels between two peaks, about half the diameter of a small object; "watershed" only.

    Returns:
        int32 (H, W): 0, and 1 to the number of objects.

    Raises:
        InputError: see `check_split`.
    """
    check_split(method, min_size, min_distance)
    objects = connected_components(classes, connectivity=2)  # neighbours of two classes are two objects
    if method == "watershed" and objects.any():
        objects = _flood(objects, min_distance)
    sizes = np.bincount(objects.ravel())
    kept = sizes >= max(min_size, 1)
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return numbers[objects]


def _flood(parts: np.ndarray, min_distance: int) -> np.ndarray:
    """Part connected parts (H, W) at the necks between the peaks of their distance to anything else."""
    inside = parts > 0
    # Neighbouring parts of two classes are each other's background.
    edge = (ndimage.maximum_filter(parts, 3) != parts) | (ndimage.minimum_filter(parts, 3) != parts)
    depth = ndimage.distance_transform_edt(inside & ~edge) + inside
    depth = ndimage.gaussian_filter(depth, _SMOOTHING)
    peaks = peak_local_max(depth, min_distance=min_distance, exclude_border=False, labels=inside.astype(np.int32))
    seeds = np.zeros_like(parts)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    missing = np.setdiff1d(np.unique(parts), np.append(parts[tuple(peaks.T)], 0))  # a larger neighbour hid its peak
    extra = np.isin(parts, missing)
    seeds = np.where(extra, parts + len(peaks), seeds)
    flooded = watershed(-depth, seeds, mask=inside)
    return _one_part_each(flooded, parts)


def _one_part_each(flooded: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Number pairs of basin and part: a basin that ran over the border between two classes becomes two objects."""
    pairs = flooded.astype(np.int64) * (int(parts.max()) + 1) + parts
    found, index = np.unique(np.where(parts > 0, pairs, 0), return_inverse=True)
    return index.reshape(parts.shape) + int(found[0] != 0)  # without any background no number stands for it
