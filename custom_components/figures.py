"""Pictures for people: reconstructions, segmentation overlays, box plots. Matplotlib's Agg, no global state.

3D arrays are (X, Y, Z) in RAS: x grows to the patient's right, y to the front, z to the head. They are shown as radiologists
look at them: the patient's right on the left of the picture (axial, coronal), the front on its left (sagittal).
2D arrays are (X, Y) as MONAI's `PILReader` gives them: x to the right, y down.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from .files import write_atomically

HIDDEN_GREY = 0.55
# The ten dark colours of tab20 before their light twins, so that neighbours differ; without grey, the colour of the image.
COLOURS = [mpl.colormaps["tab20"](i) for i in (*range(0, 20, 2), *range(1, 20, 2)) if i not in (14, 15)]


class Plane(NamedTuple):
    """How one plane of a volume is laid out as a picture (rows from the top, columns from the left)."""

    name: str
    axis: int | None  # the axis that is cut; None: the array is the plane
    flip: tuple[int, ...]  # in-plane axes to reverse before the transpose
    marks: str  # left, right, top, bottom; empty where the orientation is not known


PLANES_3D = (
    Plane("axial", 2, (0, 1), "RLAP"),
    Plane("coronal", 1, (0, 1), "RLSI"),
    Plane("sagittal", 0, (0, 1), "APSI"),
)
PLANES_2D = (Plane("", None, (), ""),)


def reconstruction_figure(
    image: np.ndarray,
    mask: np.ndarray,
    reconstruction: np.ndarray,
    path: str | Path,
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Draw original, masked original and reconstruction beside each other, all with the same grey window.

    Args:
        image: (X, Y[, Z]) one channel.
        mask: (X, Y[, Z]), 1 where a patch was hidden.
        reconstruction: (X, Y[, Z]) in the image's units, visible patches pasted in.
        path: PNG file, written atomically.
        title: Shown on top.
        spacing: Voxel size per axis, for the proportions; equal if None.

    Returns:
        The figure. In 3D it has a row for each plane through the middle of a hidden patch near the centre.
    """
    image, hidden, reconstruction = np.asarray(image), np.asarray(mask) > 0, np.asarray(reconstruction)
    _same_shape(image=image, mask=hidden, reconstruction=reconstruction)
    window = _window(image)
    masked = np.where(hidden, window[0] + HIDDEN_GREY * (window[1] - window[0]), image)
    planes, step = _planes(image), spacing or (1.0,) * image.ndim
    figure, axes = _panels([("original", image), ("hidden", image), ("reconstruction", image)], planes, step, title, True)
    centre = _hidden_centre(hidden)
    for row, plane in enumerate(planes):
        panels = {"original": image, "masked": masked, "reconstruction": reconstruction}
        for column, (name, volume) in enumerate(panels.items()):
            _show(axes[row, column], volume, plane, centre, step, window)
            if row == 0:
                axes[row, column].set_title(name, fontsize=10)
    _save(figure, path)
    return figure
