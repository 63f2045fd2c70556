"""What all pictures share: panels, planes of a volume, grey windows, colours. Matplotlib figures without global state.

3D arrays are (X, Y, Z) in RAS: x grows to the patient's right, y to the front, z to the head. They are shown as
radiologists look at them: the patient's right on the left of the picture (axial, coronal), the front on its left
(sagittal). 2D arrays are (X, Y) as MONAI's `PILReader` gives them: x grows to the right, y downwards.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from ..files import write_atomically

# The dark colours of tab20 before their light twins, so that neighbours differ; its greys would drown in the image.
COLOURS = [mpl.colormaps["tab20"](i) for i in (*range(0, 20, 2), *range(1, 20, 2)) if i not in (14, 15)]
GREY = mpl.colormaps["gray"].with_extremes(bad="#8a93a3")  # what is not shown: a bluish grey that no tissue has
HIDDEN = (0.54, 0.58, 0.64)  # the same in colour pictures
WIDTH_INCHES = 10.0
Tint = tuple[float, float, float, float]  # red, green, blue, and how much of it


@dataclass
class Cut:
    """Where an image is cut and how its planes are laid out; `axis` is the axis across the plane, None in 2D."""

    shape: tuple[int, ...]
    spacing: Sequence[float] | None
    centre: Sequence[int]

    @property
    def axes(self) -> tuple[int | None, ...]:
        """The axes across the planes that are drawn."""
        return (2, 1, 0) if len(self.shape) == 3 else (None,)

    def name(self, axis: int | None) -> str:
        """What stands above a plane."""
        if axis is None:
            return ""
        return f"{('sagittal', 'coronal', 'axial')[axis]}, {'xyz'[axis]} = {self.centre[axis]}"

    def steps(self, axis: int | None) -> tuple[float, float]:
        """Voxel size across and down the picture."""
        spacing = self.spacing or (1.0,) * len(self.shape)
        across, down = (float(spacing[i]) for i in range(len(self.shape)) if i != axis)
        return across, down

    def size(self, axis: int | None) -> tuple[float, float]:
        """Width and height of the plane in the unit of the spacing."""
        across, down = (n for i, n in enumerate(self.shape) if i != axis)
        return across * self.steps(axis)[0], down * self.steps(axis)[1]

    def plane(self, volume: np.ndarray, axis: int | None) -> np.ndarray:
        """The picture, rows from the top: (down, across), of a colour picture (down, across, 3)."""
        if axis is None:
            return volume.swapaxes(0, 1)
        # High x (right) or y (front) goes to the left of the picture, high y or z to its top.
        return np.take(volume, self.centre[axis], axis=axis)[::-1, ::-1].T

    def show(self, axes: Axes, volume: np.ndarray, axis: int | None, window: tuple[float, float]) -> None:
        """Draw a plane in grey with the letters of the directions at its borders."""
        width, height = self.size(axis)
        axes.imshow(self.plane(volume, axis), cmap=GREY, vmin=window[0], vmax=window[1], extent=(0, width, height, 0))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        if axis is None:
            return
        sides = ("A", "P") if axis == 0 else ("R", "L")
        ends = ("A", "P") if axis == 2 else ("S", "I")
        for text, x, y, across, down in (
            (sides[0], 0.02, 0.5, "left", "center"),
            (sides[1], 0.98, 0.5, "right", "center"),
            (ends[0], 0.5, 0.98, "center", "top"),
            (ends[1], 0.5, 0.02, "center", "bottom"),
        ):
            placed = axes.text(x, y, text, ha=across, va=down, transform=axes.transAxes, color="white", fontsize=9)
            placed.set_path_effects([withStroke(linewidth=2, foreground="black")])

    def outline(
        self, axes: Axes, classes: np.ndarray, axis: int | None, number: int, coloured: bool = False
    ) -> set[int]:
        """Draw each class as a line and a light tint; returns the classes that the plane holds."""
        plane = self.plane(classes, axis)
        steps = self.steps(axis)
        across, down = ((np.arange(n) + 0.5) * step for n, step in zip(plane.shape[::-1], steps, strict=True))
        present = {int(value) for value in np.unique(plane) if 0 < value < number}
        for index in sorted(present) if min(plane.shape) > 1 else ():
            axes.contour(
                across, down, plane == index, levels=[0.5], colors=[class_colour(index, coloured)], linewidths=1
            )
        self.tint(axes, [(classes == index, (*class_colour(index, coloured), 0.35)) for index in present], axis)
        return present

    def tint(self, axes: Axes, masks: Iterable[tuple[np.ndarray, Tint]], axis: int | None) -> None:
        """Lay a tint over each of some masks of the image."""
        width, height = self.size(axis)
        planes = [(self.plane(mask, axis), tint) for mask, tint in masks]
        axes.imshow(tints(planes), extent=(0, width, height, 0), interpolation="nearest")


def tints(masks: Sequence[tuple[np.ndarray, Tint]]) -> np.ndarray:
    """A picture (h, w, 4) that is clear but for the pixels of each mask (h, w), which get its tint."""
    picture = np.zeros((*masks[0][0].shape, 4)) if masks else np.zeros((1, 1, 4))
    for mask, tint in masks:
        picture[mask] = tint
    return picture


def class_colour(index: int, coloured: bool = False) -> tuple[float, float, float]:
    """The colour of a class, the same in every picture; in coloured ones the first is a green that neither H&E nor
    skin holds."""
    colours = [*([(0.0, 0.9, 0.2)] if coloured else []), *COLOURS]
    red, green, blue = colours[(index - 1) % len(colours)][:3]
    return red, green, blue


def same_shape(**arrays: np.ndarray) -> tuple[int, ...]:
    """The shape that all arrays share."""
    shapes = {name: array.shape for name, array in arrays.items()}
    first = next(iter(shapes.values()))
    if len(first) not in (2, 3) or any(shape != first for shape in shapes.values()):
        raise ValueError(f"arrays have shapes {shapes}; expected one shape, 2D or 3D, without a channel axis")
    return first


def grey_window(image: np.ndarray, foreground: np.ndarray | None = None) -> tuple[float, float]:
    """Intensities shown as black and white: those of the whole image, or of the foreground and as much again beyond.

    The foreground's outer twentieths are left out: gas and bone would flatten the contrast between organs.
    """
    finite = image[np.isfinite(image)] if foreground is None else image[foreground & np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    tail = 0.5 if foreground is None else 5
    low, high = (float(v) for v in np.percentile(finite, (tail, 100 - tail)))
    if foreground is not None:
        margin = high - low
        low, high = max(low - margin, float(np.nanmin(image))), min(high + margin, float(np.nanmax(image)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def picture_pixels(
    image: np.ndarray, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0
) -> np.ndarray:
    """A picture as people look at it: the normalisation undone, grey as three equal channels.

    Args:
        image: (C, H, W), grey or red, green and blue: from 0 to 1, minus `mean`, divided by `std`.
        mean: A number a channel, or one for all.
        std: Likewise.

    Returns:
        (H, W, 3) from 0 to 1.
    """
    colours = np.moveaxis(np.asarray(image), 0, -1) * np.asarray(std) + np.asarray(mean)
    return np.clip(colours, 0, 1).repeat(3 // len(image), axis=-1)


def panel_grid(
    widths: Sequence[float], heights: Sequence[float], title: str, legend: bool = False
) -> tuple[Figure, np.ndarray]:
    """A figure with panels of the given relative sizes, on one scale, and room for title and legend."""
    scale = WIDTH_INCHES / sum(widths)
    height = min(sum(heights) * scale, 2 * WIDTH_INCHES)
    figure = Figure(figsize=(WIDTH_INCHES, height + 0.6 + 0.6 * legend), dpi=110, layout="constrained")
    ratios = {"width_ratios": list(widths), "height_ratios": list(heights)}
    grid = figure.subplots(len(heights), len(widths), squeeze=False, gridspec_kw=ratios)
    figure.suptitle(title, fontsize=11)
    return figure, grid


def name_classes(figure: Figure, colours: Mapping[str, Any]) -> None:
    """A legend below the panels; none where there is nothing to name."""
    if colours:
        handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
        columns = min(len(handles), 5)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG file atomically."""
    write_atomically(path, lambda stream: figure.savefig(stream, format="png"))
