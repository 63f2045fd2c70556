"""A masked autoencoder's reconstruction of an image of several channels, one row a channel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .panels import Cut, grey_window, hidden_centre, panel_grid, save_figure


def channel_figure(
    image: np.ndarray,
    mask: np.ndarray,
    reconstruction: np.ndarray,
    path: str | Path,
    channel_names: Sequence[str],
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Draw original, masked image and reconstruction of every channel in the axial plane.

    Each channel has a grey window of its own (sequences have different units), and all show one plane, through the
    middle of a hidden patch near the centre of the image.

    Args:
        image: (C, X, Y[, Z]).
        mask: (X, Y[, Z]), 1 where a patch was hidden.
        reconstruction: (C, X, Y[, Z]) in the image's units, visible patches pasted in.
        path: PNG file, written atomically.
        channel_names: Names of the rows, C of them.
        title: Stands above the panels.
        spacing: Voxel size per axis, for the proportions; None: equal.

    Returns:
        The figure, of C x 3 panels.
    """
    hidden = mask > 0
    cut = Cut(hidden.shape, spacing, hidden_centre(hidden))
    axis = cut.axes[0]
    width, height = cut.size(axis)
    where = f" ({cut.name(axis)})" if axis is not None else ""
    first, *more = title.split("\n")
    figure, grid = panel_grid([width] * 3, [height] * len(image), "\n".join([first + where, *more]))
    for row, (name, original, filled) in enumerate(zip(channel_names, image, reconstruction, strict=True)):
        window = grey_window(original)
        panels = {"original": original, "masked": np.where(hidden, np.nan, original), "reconstruction": filled}
        for column, (what, volume) in enumerate(panels.items()):
            cut.show(grid[row, column], volume, axis, window)
            if row == 0:
                grid[row, column].set_title(what, fontsize=10)
        grid[row, 0].set_ylabel(name, fontsize=10)
    save_figure(figure, path)
    return figure
