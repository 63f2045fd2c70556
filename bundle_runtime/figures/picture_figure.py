"""A masked autoencoder's reconstruction of a picture: rows from the top, grey or in colour."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .panels import HIDDEN, panel_grid, picture_pixels, save_figure


def picture_figure(
    image: np.ndarray,
    mask: np.ndarray,
    reconstruction: np.ndarray,
    path: str | Path,
    mean: Sequence[float],
    std: Sequence[float],
    title: str = "",
) -> Figure:
    """Draw original, masked image and reconstruction.

    Args:
        image: (C, H, W) with one channel, or red, green and blue; from 0 to 1, minus `mean`, divided by `std`.
        mask: (H, W), 1 where a patch was hidden.
        reconstruction: (C, H, W) like the image, visible patches pasted in.
        path: PNG file, written atomically.
        mean: a number a channel, or one for all.
        std: likewise.
        title: Stands above the panels.

    Returns:
        The figure, of three panels.
    """
    original, filled = (picture_pixels(array, mean, std) for array in (image, reconstruction))
    panels = {
        "original": original,
        "masked": np.where(mask[..., None] > 0, np.array(HIDDEN), original),
        "reconstruction": filled,
    }
    height, width = mask.shape
    figure, grid = panel_grid([width] * len(panels), [height], title)
    for axes, (name, picture) in zip(grid[0], panels.items(), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    save_figure(figure, path)
    return figure
