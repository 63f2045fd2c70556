"""Pictures for people: reconstructions, segmentation overlays, box plots. Matplotlib figures without global state.

3D arrays are (X, Y, Z) in RAS: x grows to the patient's right, y to the front, z to the head. They are shown as
radiologists look at them: the patient's right on the left of the picture (axial, coronal), the front on its left
(sagittal). 2D arrays are (X, Y) as MONAI's `PILReader` gives them: x grows to the right, y downwards.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy import ndimage

from ..files import write_atomically

# The dark colours of tab20 before their light twins, so that neighbours differ; its greys would drown in the image.
COLOURS = [mpl.colormaps["tab20"](i) for i in (*range(0, 20, 2), *range(1, 20, 2)) if i not in (14, 15)]
GREY = mpl.colormaps["gray"].with_extremes(bad="#8a93a3")  # what is not shown: a bluish grey that no tissue has
HIDDEN = (0.54, 0.58, 0.64)  # the same in colour pictures
WIDTH_INCHES = 10.0


def reconstruction_figure(
    image: np.ndarray,
    mask: np.ndarray,
    reconstruction: np.ndarray,
    path: str | Path,
    title: str = "",
    spacing: Sequence[float] | None = None,
) -> Figure:
    """Draw the original, what the network saw of it, and its reconstruction, all in the same grey window.

    Args:
        image: (X, Y[, Z]) one channel.
        mask: (X, Y[, Z]), 1 where a patch was hidden.
        reconstruction: (X, Y[, Z]) in the image's units, visible patches pasted in.
        path: PNG file, written atomically.
        title: Stands above the panels.
        spacing: Voxel size per axis, for the proportions; None: equal.

    Returns:
        The figure; in 3D a row for each plane through the middle of a hidden patch near the centre of the image.

    Raises:
        ValueError: The arrays differ in shape or are neither 2D nor 3D.
    """
    image, hidden, reconstruction = np.asarray(image), np.asarray(mask) > 0, np.asarray(reconstruction)
    cut = Cut(_same_shape(image=image, mask=hidden, reconstruction=reconstruction), spacing, hidden_centre(hidden))
    window = grey_window(image)
    panels = {"original": image, "masked": np.where(hidden, np.nan, image), "reconstruction": reconstruction}
    sizes = [cut.size(axis) for axis in cut.axes]
    figure, grid = panel_grid([max(w for w, _ in sizes)] * len(panels), [h for _, h in sizes], title)
    for row, axis in enumerate(cut.axes):
        for column, (name, volume) in enumerate(panels.items()):
            cut.show(grid[row, column], volume, axis, window)
            if row == 0:
                grid[row, column].set_title(name, fontsize=10)
        grid[row, 0].set_ylabel(cut.name(axis), fontsize=9)
    save_figure(figure, path)
    return figure


def overlay_figure(
    image: np.ndarray,
    label: np.ndarray | None,
    path: str | Path,
    class_names: Sequence[str],
    prediction: np.ndarray | None = None,
    spacing: Sequence[float] = (1, 1, 1),
    title: str = "",
) -> Figure:
    """Draw the label over the image in three planes, and the prediction in a second row.

    Each plane goes through the slice that holds most of the label (of the prediction where the label is empty). A class
    has the same colour in every picture. The grey window follows the intensities around the structures.

    Args:
        image: (X, Y[, Z]) one channel.
        label: (X, Y[, Z]) class indices, or None; values outside `class_names` are not drawn.
        path: PNG file, written atomically.
        class_names: Names by class index; index 0 is the background.
        prediction: (X, Y[, Z]) class indices, or None.
        spacing: Voxel size per axis (more entries than axes are ignored).
        title: Stands above the panels.

    Returns:
        The figure.

    Raises:
        ValueError: The arrays differ in shape or are neither 2D nor 3D.
    """
    image = np.asarray(image)
    rows = {"label": label, "prediction": prediction}
    maps = {name: np.asarray(classes) for name, classes in rows.items() if classes is not None}
    shape = _same_shape(image=image, **maps)
    drawn = [(classes > 0) & (classes < len(class_names)) for classes in maps.values()]
    foreground = next((mask for mask in drawn if mask.any()), np.ones(shape, dtype=bool))
    cut = Cut(shape, spacing, [_fullest_slice(foreground, axis) for axis in range(len(shape))])
    window = grey_window(image, foreground if foreground.any() and not foreground.all() else None)
    sizes = [cut.size(axis) for axis in cut.axes]
    figure, grid = panel_grid([w for w, _ in sizes], [max(h for _, h in sizes)] * len(maps), title, legend=True)
    shown: set[int] = set()
    for row, (name, classes) in enumerate(maps.items()):
        for column, axis in enumerate(cut.axes):
            cut.show(grid[row, column], image, axis, window)
            shown |= cut.outline(grid[row, column], classes, axis, len(class_names))
            if row == 0:
                grid[row, column].set_title(cut.name(axis), fontsize=10)
        grid[row, 0].set_ylabel(name, fontsize=10)
    handles = [Patch(color=_colour(index), label=class_names[index]) for index in sorted(shown)]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(len(handles), 5), fontsize=9, frameon=False
        )
    save_figure(figure, path)
    return figure


def box_figure(groups: Mapping[str, Sequence[float]], path: str | Path, ylabel: str, title: str = "") -> Figure:
    """Draw a box and the single values of each group.

    Args:
        groups: Values by name, for example per-case Dice by arm; NaN is left out.
        path: PNG file, written atomically.
        ylabel: Name and unit of the values.
        title: Stands above the panel.

    Returns:
        The figure.
    """
    values = [np.asarray(group, dtype=float) for group in groups.values()]
    values = [group[np.isfinite(group)] for group in values]
    figure = Figure(figsize=(max(3.0, 1.1 * len(groups) + 1), 3.5), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(
        values, tick_labels=[f"{n}\nn={len(v)}" for n, v in zip(groups, values, strict=True)], showfliers=False
    )
    for position, group in enumerate(values, start=1):
        spread = np.linspace(-0.12, 0.12, len(group)) if len(group) > 1 else np.zeros(len(group))
        axes.scatter(position + spread, group, s=12, alpha=0.6, color=COLOURS[(position - 1) % len(COLOURS)], zorder=3)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    save_figure(figure, path)
    return figure


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
        """The picture, rows from the top: (down, across)."""
        if axis is None:
            return volume.T
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

    def outline(self, axes: Axes, classes: np.ndarray, axis: int | None, number: int) -> set[int]:
        """Draw each class as a line and a light tint; returns the classes that the plane holds."""
        plane = self.plane(classes, axis)
        steps = self.steps(axis)
        across, down = ((np.arange(n) + 0.5) * step for n, step in zip(plane.shape[::-1], steps, strict=True))
        present = {int(value) for value in np.unique(plane) if 0 < value < number}
        tint = np.zeros((*plane.shape, 4))
        for index in sorted(present):
            mask = plane == index
            tint[mask] = (*_colour(index)[:3], 0.35)
            if min(mask.shape) > 1:
                axes.contour(across, down, mask, levels=[0.5], colors=[_colour(index)], linewidths=1)
        width, height = self.size(axis)
        axes.imshow(tint, extent=(0, width, height, 0), interpolation="nearest")
        return present


def _colour(index: int) -> tuple[float, float, float, float]:
    return COLOURS[(index - 1) % len(COLOURS)]


def _same_shape(**arrays: np.ndarray) -> tuple[int, ...]:
    """The shape that all arrays share."""
    shapes = {name: array.shape for name, array in arrays.items()}
    first = next(iter(shapes.values()))
    if len(first) not in (2, 3) or any(shape != first for shape in shapes.values()):
        raise ValueError(f"arrays have shapes {shapes}; expected one shape, 2D or 3D, without a channel axis")
    return first


def _fullest_slice(foreground: np.ndarray, axis: int) -> int:
    """Index along `axis` of the slice with most foreground; the middle one where all are equal."""
    counts = foreground.sum(axis=tuple(i for i in range(foreground.ndim) if i != axis))
    return len(counts) // 2 if (counts == counts[0]).all() else int(counts.argmax())


def hidden_centre(hidden: np.ndarray) -> tuple[int, ...]:
    """The middle of a hidden patch, the one nearest to the centre of the image; that centre if nothing is hidden."""
    centre = np.array(hidden.shape) // 2
    if not hidden.any():
        return tuple(map(int, centre))
    # Outside the image counts as visible, otherwise depth would grow towards the border.
    depth = ndimage.distance_transform_edt(np.pad(hidden, 1))[(slice(1, -1),) * hidden.ndim]
    deepest = np.argwhere(depth >= 0.9 * np.quantile(depth[hidden], 0.99))
    return tuple(map(int, deepest[np.linalg.norm(deepest - centre, axis=1).argmin()]))


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


def save_figure(figure: Figure, path: str | Path) -> None:
    """Render in memory, then write the PNG in one step."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    write_atomically(path, stream.getvalue())
