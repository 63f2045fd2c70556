"""What all pictures share: panels, planes of a volume, grey windows, colours. Matplotlib figures without global state.

3D arrays are (X, Y, Z) in RAS: x grows to the patient's right, y to the front, z to the head. They are shown as
radiologists look at them: the patient's right on the left of the picture (axial, coronal), the front on its left
(sagittal). 2D arrays are (X, Y) as MONAI's `PILReader` gives them: x grows to the right, y downwards.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image
from skimage.measure import find_contours

from ..files import write_atomically

# The dark colours of tab20 before their light twins, so that neighbours differ; its greys would drown in the image.
COLOURS = [mpl.colormaps["tab20"](i) for i in (*range(0, 20, 2), *range(1, 20, 2)) if i not in (14, 15)]
GREY = mpl.colormaps["gray"].with_extremes(bad="#8a93a3")  # what is not shown: a bluish grey that no tissue has
HIDDEN = (0.54, 0.58, 0.64)  # the same in colour pictures
WIDTH_INCHES = 10.0
_GAP = 0.08  # inches between panels, and between words and what they stand at
_WORDS, _TITLE = 9, 11  # points
_SHORT = 1.0  # inches in which words are wrapped at least
Tint = tuple[float, float, float, float]  # red, green, blue, and how much of it


@dataclass
class Panel:
    """The place of a picture in the Axes of a `Montage`, in inches from the upper left corner."""

    axes: Axes
    left: float
    top: float
    width: float
    height: float

    def at(self, across: Any, down: Any) -> tuple[Any, Any]:
        """Where shares of the width and of the height lie."""
        return self.left + across * self.width, self.top + down * self.height

    def show(self, picture: np.ndarray, **options: Any) -> None:
        """Fill the place with a picture, by the options of `Axes.imshow`."""
        (left, top), (right, bottom) = self.at(0, 0), self.at(1, 1)
        self.axes.imshow(picture, extent=(left, right, bottom, top), aspect="auto", **options)

    def tint(self, masks: Sequence[tuple[np.ndarray, Tint]]) -> None:
        """Lay a tint over each of some masks (h, w)."""
        tints = np.zeros((*masks[0][0].shape, 4)) if masks else np.zeros((1, 1, 4))
        for mask, tint in masks:
            tints[mask] = tint
        self.show(tints, interpolation="nearest")

    def say(self, text: str, across: float, down: float, **options: Any) -> None:
        """Write beside the middle of a border, outside."""
        if text:
            away = (36 * _GAP * (2 * across - 1), 36 * _GAP * (1 - 2 * down))  # half a gap, in points
            place = self.at(across, down)
            self.axes.annotate(text, place, away, textcoords="offset points", fontsize=_WORDS, **options)


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
        return np.moveaxis(volume, axis, 0)[self.centre[axis], ::-1, ::-1].T

    def show(
        self, panel: Panel, volume: np.ndarray, axis: int | None, window: tuple[float, float], hidden: Any = None
    ) -> None:
        """Draw a plane in grey, but for what is hidden, with the letters of the directions at its borders."""
        plane = self.plane(volume, axis)
        if hidden is not None:
            plane = np.where(self.plane(hidden, axis), np.nan, plane)
        panel.show(plane, cmap=GREY, vmin=window[0], vmax=window[1])
        if axis is None:
            return
        sides, ends = "AP" if axis == 0 else "RL", "AP" if axis == 2 else "SI"
        for text, x, y, across, down in (
            (sides[0], 0.02, 0.5, "left", "center"),
            (sides[1], 0.98, 0.5, "right", "center"),
            (ends[0], 0.5, 0.02, "center", "top"),
            (ends[1], 0.5, 0.98, "center", "bottom"),
        ):
            placed = panel.axes.text(*panel.at(x, y), text, ha=across, va=down, color="white", fontsize=_WORDS)
            placed.set_path_effects([withStroke(linewidth=2, foreground="black")])

    def outline(
        self, panel: Panel, classes: np.ndarray, axis: int | None, number: int, coloured: bool = False
    ) -> set[int]:
        """Draw each class as a line and a light tint; returns the classes that the plane holds."""
        plane = self.plane(classes, axis)
        colours = {int(i): class_colour(int(i), coloured) for i in np.unique(plane) if 0 < i < number}
        for index, colour in colours.items() if min(plane.shape) > 1 else ():
            lines = [(line[:, ::-1] + 0.5) / plane.shape[::-1] for line in find_contours(plane == index, 0.5)]
            places = [np.stack(panel.at(*line.T), axis=-1) for line in lines]
            panel.axes.add_collection(LineCollection(places, colors=[colour], linewidths=1), autolim=False)
        panel.tint([(plane == index, (*colour, 0.35)) for index, colour in colours.items()])
        return set(colours)


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
    finite = image if foreground is None else image[foreground]
    if not (known := np.isfinite(finite)).all():
        finite = finite[known]
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


class Montage:
    """Panels in rows and columns, on one scale, with words around them, in one Axes that counts inches.

    An Axes for each panel, and Matplotlib's layout of them, take several times as long.

    Args:
        sizes: of each row's pictures, width and height in one unit.
        title: of the figure.
        titles: of each row's panels, above them; those at the end may be left out.
        names: of the rows, on their left.
        notes: of each row's panels, below them.
        inches: width of the figure.

    Attributes:
        panels: by row.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[tuple[float, float]]],
        title: str = "",
        titles: Sequence[Sequence[str]] = (),
        names: Sequence[str] = (),
        notes: Sequence[Sequence[str]] = (),
        inches: float = WIDTH_INCHES,
    ) -> None:
        self.title, self.width = _wrapped(title, inches - 0.5, _TITLE), inches
        self.figure = Figure(dpi=110)
        FigureCanvasAgg(self.figure)  # which can measure words
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, inches), autoscale_on=False)
        self.axes.set_axis_off()
        widths = [max(width for width, _ in column) for column in zip(*sizes, strict=True)]
        heights = [max(height for _, height in row) for row in sizes]
        room = inches - _GAP * (len(widths) + 1)
        scale = min(room / sum(widths), 2 * inches / sum(heights))
        turned = [_wrapped(name, height * scale) for name, height in zip(names, heights, strict=False)]
        scale = min((room - _tall(turned)) / sum(widths), scale)
        # A column is as wide as short words at least.
        scale = min((room - _tall(turned) - sum(max(_SHORT - w * scale, 0) for w in widths)) / sum(widths), scale)
        across = [max(width * scale, _SHORT) for width in widths]
        left = (inches + _tall(turned) - sum(across) - _GAP * (len(widths) - 1)) / 2
        self.height = _GAP + _tall([self.title], _TITLE)
        self.panels: list[list[Panel]] = []
        for row, height, name, over, under in zip_longest(sizes, heights, turned, titles, notes, fillvalue=""):
            above, below = (
                [_wrapped(text, width) for text, width in zip(texts, across, strict=False)] for texts in (over, under)
            )
            tall = max(height * scale, _long(name))
            middle = self.height + _tall(above) + tall / 2
            self.panels.append([])
            x = left
            for size, width in zip(row, across, strict=True):
                wide, high = size[0] * scale, size[1] * scale
                self.panels[-1].append(Panel(self.axes, x + (width - wide) / 2, middle - high / 2, wide, high))
                x += width + _GAP
            for words, down, side in ((above, 0, "bottom"), (below, 1, "top")):
                for panel, text in zip(self.panels[-1], words, strict=False):
                    panel.say(text, 0.5, down, ha="center", va=side)
            self.panels[-1][0].say(name, 0, 0.5, ha="right", va="center", rotation=90, multialignment="center")
            self.height = middle + tall / 2 + _tall(below) + _GAP

    def save(self, path: str | Path, colours: Mapping[str, Any] | None = None) -> Figure:
        """Write a PNG file, with a legend below the panels that names the colours."""
        handles = [
            Patch(facecolor=colour, edgecolor="black", linewidth=0.5, label=_wrapped(name, self.width - 1))
            for name, colour in (colours or {}).items()
        ]
        for columns in range(min(len(handles), 5), 0, -1):  # as many as there is room for
            named = self.figure.legend(
                handles=handles, loc="lower center", ncols=columns, fontsize=_WORDS, frameon=False
            )
            box = named.get_window_extent()
            if columns == 1 or box.width <= self.figure.dpi * self.width:
                self.height += box.height / self.figure.dpi + _GAP
                break
            named.remove()
        self.figure.set_size_inches(self.width, self.height)
        self.figure.suptitle(self.title, y=1 - _GAP / self.height, fontsize=_TITLE)
        self.axes.set_ylim(self.height, 0)
        save_figure(self.figure, path)
        return self.figure


def _wrapped(text: str, inches: float, points: int = _WORDS) -> str:
    return "\n".join(textwrap.fill(line, int(max(inches, _SHORT) / _long("m", points))) for line in text.split("\n"))


def _long(text: str, points: int = _WORDS) -> float:
    """Inches that the longest line takes, of letters as wide as figures and capitals are."""
    return 0.65 * points / 72 * max(map(len, text.split("\n")))


def _tall(texts: Iterable[str], points: int = _WORDS) -> float:
    """Inches that the text of most lines takes with a gap; 0 without one."""
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    return 1.2 * points / 72 * lines + _GAP * (lines > 0)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a PNG file atomically; drawn once, where `Figure.savefig` goes through everything twice."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # Without the opacity, a lower level of compression gives files as small, in a third of the time.
    write_atomically(path, lambda stream: picture.save(stream, "png", compress_level=3, dpi=(figure.dpi,) * 2))
