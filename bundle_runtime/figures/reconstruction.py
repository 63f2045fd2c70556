"""What a masked autoencoder makes of hidden patches: original, what the network saw, and its reconstruction."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from .panels import HIDDEN, Cut, grey_window, panel_grid, picture_pixels, same_shape, save_figure

PANELS = ("original", "masked", "reconstruction")


def reconstruction_figure(
    image: np.ndarray,
    mask: np.ndarray,
    reconstruction: np.ndarray,
    path: str | Path,
    title: str = "",
    spacing: Sequence[float] | None = None,
    channel_names: Sequence[str] = ("",),
    pixels: Mapping[str, Any] | None = None,
) -> Figure:
    """Draw three panels a row: original, masked image, reconstruction.

    A picture (`pixels` given) has one row, upright and in its colours. A volume of one channel has a row for each plane
    through the middle of a hidden patch near the centre of the image, all in one grey window; with several channels
    each has a row and a window of its own (sequences have different units) in the axial plane, then the first channel
    has one for each of the other planes.

    Args:
        image: (C, X, Y[, Z]), of a picture (C, H, W) with C = 1 or 3.
        mask: (X, Y[, Z]), 1 where a patch was hidden.
        reconstruction: like the image, in its units, visible patches pasted in.
        path: PNG file, written atomically.
        title: Stands above the panels.
        spacing: Voxel size per axis, for the proportions; None: equal.
        channel_names: Names of the channels that are drawn, from the first on.
        pixels: `mean` and `std` by which a picture was normalised.

    Returns:
        The figure.

    Raises:
        ValueError: The arrays differ in shape or are neither 2D nor 3D.
    """
    shape, hidden = same_shape(image=image[0], mask=mask, reconstruction=reconstruction[0]), mask > 0
    if pixels is not None:
        original, filled = (picture_pixels(array, **pixels) for array in (image, reconstruction))
        figure = _picture(original, filled, hidden, title)
    else:
        cut, several = Cut(shape, spacing, _hidden_centre(hidden)), len(channel_names) > 1
        rows = [(channel, cut.axes[0]) for channel in range(len(channel_names))] + [(0, axis) for axis in cut.axes[1:]]
        figure = _planes(image, reconstruction, hidden, cut, rows, title)
        for left, (channel, axis) in zip(figure.axes[:: len(PANELS)], rows, strict=True):
            words = (channel_names[channel] if several else "", "" if axis is None else cut.name(axis))
            left.set_ylabel("\n".join(filter(None, words)), fontsize=9)
    for axes, name in zip(figure.axes, PANELS, strict=False):
        axes.set_title(name, fontsize=10)
    save_figure(figure, path)
    return figure


def _picture(original: np.ndarray, filled: np.ndarray, hidden: np.ndarray, title: str) -> Figure:
    height, width = hidden.shape
    figure, grid = panel_grid([width] * len(PANELS), [height], title)
    masked = np.where(hidden[..., None], np.array(HIDDEN), original)
    for axes, picture in zip(grid[0], (original, masked, filled), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_axis_off()
    return figure


def _planes(
    image: np.ndarray,
    filled: np.ndarray,
    hidden: np.ndarray,
    cut: Cut,
    rows: Sequence[tuple[int, int | None]],
    title: str,
) -> Figure:
    """A row for each channel and axis across the plane."""
    sizes = [cut.size(axis) for _, axis in rows]
    figure, grid = panel_grid([max(w for w, _ in sizes)] * len(PANELS), [h for _, h in sizes], title)
    for places, (channel, axis) in zip(grid, rows, strict=True):
        volumes = (image[channel], np.where(hidden, np.nan, image[channel]), filled[channel])
        for axes, volume in zip(places, volumes, strict=True):
            cut.show(axes, volume, axis, grey_window(image[channel]))
    return figure


def _hidden_centre(hidden: np.ndarray) -> tuple[int, ...]:
    """The middle of a hidden patch, the one nearest to the centre of the image; that centre if nothing is hidden."""
    centre = np.array(hidden.shape) // 2
    if not hidden.any():
        return tuple(map(int, centre))
    # Outside the image counts as visible, otherwise depth would grow towards the border.
    depth = ndimage.distance_transform_edt(np.pad(hidden, 1))[(slice(1, -1),) * hidden.ndim]
    deepest = np.argwhere(depth >= 0.9 * np.quantile(depth[hidden], 0.99))
    return tuple(map(int, deepest[np.linalg.norm(deepest - centre, axis=1).argmin()]))
