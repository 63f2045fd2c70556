"""Three planes of a volume, as they are shown on a light box."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from bundle_runtime.figures.panels import COLOURS, Cut
from nibabel.orientations import apply_orientation, io_orientation
from PIL import Image
from skimage.segmentation import find_boundaries

# Image rows, label rows (if any), height / width of a pixel.
Plane = tuple[np.ndarray, np.ndarray | None, float]
_HEIGHT = 176  # pixels of a thumbnail
_COLOURS = np.round(255 * np.array(COLOURS)[:, :3]).astype(np.uint8)  # a class has one colour in all pictures


def middle_planes(image: Any, volume: np.ndarray, label: np.ndarray | None) -> list[Plane]:
    """Sagittal, coronal and axial plane as (image rows, label rows, height / width of a pixel), seen as on a light box.

    The planes pass through the middle of the labelled region, or of the volume where nothing is labelled.
    """
    turn = io_orientation(image.affine)
    volume = apply_orientation(volume, turn)
    centre = [n // 2 for n in volume.shape]
    if label is not None:
        label = apply_orientation(label, turn)
        where = np.nonzero(label)
        if len(where[0]):
            centre = [int(np.median(axis)) for axis in where]
    cut = Cut(volume.shape, np.linalg.norm(image.affine[:3, :3], axis=0)[np.argsort(turn[:, 0])].tolist(), centre)
    steps = [cut.steps(axis) for axis in range(3)]
    return [
        (cut.plane(volume, axis), None if label is None else cut.plane(label, axis), down / across)
        for axis, (across, down) in enumerate(steps)
    ]


def colour_of(value: int) -> tuple[int, ...]:
    """Red, green and blue of a label value's outline."""
    return tuple(_COLOURS[(value - 1) % len(_COLOURS)].tolist())


def strip(planes: Sequence[Plane]) -> bytes:
    """The planes side by side with the outlines of their labels, as PNG."""
    gap = np.zeros((_HEIGHT, 4, 3), dtype=np.uint8)
    row = np.concatenate([part for plane in planes for part in (_tile(plane), gap)][:-1], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, format="PNG")
    return buffer.getvalue()


def _tile(plane: Plane) -> np.ndarray:
    """One plane as RGB (_HEIGHT, width, 3) with square pixels and the outline of each label."""
    rows, label, ratio = plane
    grey = np.nan_to_num(rows.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = np.percentile(grey, (1, 99))
    grey = np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1) * 255
    height, width = rows.shape[0] * ratio, rows.shape[1]
    scale = min(_HEIGHT / height, 1.5 * _HEIGHT / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
    picture = np.repeat(picture[..., None], 3, axis=2)
    if label is not None:
        drawn = np.asarray(Image.fromarray(label.astype(np.int32)).resize(size, Image.Resampling.NEAREST))
        edge = find_boundaries(drawn, mode="inner") & (drawn > 0)
        picture[edge] = _COLOURS[(drawn[edge] - 1) % len(_COLOURS)]
    above = (_HEIGHT - size[1]) // 2
    return np.pad(picture, ((above, _HEIGHT - size[1] - above), (0, 0), (0, 0)))
