"""A masked autoencoder's reconstruction of a colour picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..figures import _grid, _save

_HIDDEN = (0.54, 0.58, 0.64)  # a bluish grey, as `figures.GREY` has it


def colour_figure(
    image: np.ndarray,
    mask: np.ndarray,
    reconstruction: np.ndarray,
    path: str | Path,
    mean: Sequence[float],
    std: Sequence[float],
    title: str = "",
) -> Figure:
    """Draw original, masked image and reconstruction in colour.

    Args:
        image: (3, H, W), red, green and blue from 0 to 1, minus `mean`, divided by `std`.
        mask: (H, W), 1 where a patch was hidden.
        reconstruction: (3, H, W) like the image, visible patches pasted in.
        path: PNG file, written atomically.
        mean: three numbers, or one for all.
        std: likewise.
        title: Stands above the panels.

    Returns:
        The figure, of three panels.
    """
    # 3 H W -> H W 3
    original, filled = (
        np.clip(np.moveaxis(array, 0, -1) * np.asarray(std) + np.asarray(mean), 0, 1)
        for array in (image, reconstruction)
    )
    panels = {
        "original": original,
        "masked": np.where(mask[..., None] > 0, np.array(_HIDDEN), original),
        "reconstruction": filled,
    }
    height, width = mask.shape
    figure, grid = _grid([width] * len(panels), [height], title)
    for axes, (name, picture) in zip(grid[0], panels.items(), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    _save(figure, path)
    return figure
