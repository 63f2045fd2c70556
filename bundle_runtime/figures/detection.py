"""Pictures of a detection: the slide with what was found on it, and the free-response ROC."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..slides.annotations import Annotation
from ..slides.froc import RATES
from ..slides.heatmap import HeatMap, Point, Region
from .panels import COLOURS, WIDTH_INCHES, save_figure

_MAP = mpl.colormaps["inferno"].with_extremes(bad=(0, 0, 0, 0))
_LEAST = 0.05  # probabilities below are not drawn over the tissue
_FOUND, _MARKED = "#00a5c8", "#2ca02c"  # colours of what was found and of the annotation


def detection_figure(
    overview: np.ndarray,
    heat: HeatMap,
    total: np.ndarray,
    points: Sequence[Point],
    regions: Sequence[Region],
    size: tuple[int, int],
    path: str | Path,
    title: str = "",
    annotation: Annotation | None = None,
) -> Figure:
    """Draw the slide, and beside it the same with heat map, outlines, points and, in green, the annotation.

    A legend names the colours. Where no tile had enough tissue the picture says so.

    Args:
        overview: uint8 (h, w, 3), the whole slide, small.
        heat: where the cells lie.
        total: (H, W) probabilities, NaN where nothing was looked at.
        points: what was found.
        regions: likewise.
        size: height and width of level 0, which the axes count.
        path: PNG file, written atomically.
        title: stands above.
        annotation: outlines of its polygons and its points are drawn; a mask is not.
    """
    height, width = size
    figure, grid = _two_slides(overview, size)
    axes = grid[1]
    left, top = heat.to_level_0(np.zeros((1, 2)))[0]
    right, bottom = heat.to_level_0(np.array([total.shape]))[0]
    shown = np.ma.masked_invalid(total)
    image = axes.imshow(
        shown, extent=(left, right, bottom, top), cmap=_MAP, vmin=0, vmax=1, interpolation="nearest",
        alpha=np.where(np.nan_to_num(total) > _LEAST, 0.45, 0.12) * ~np.ma.getmaskarray(shown),
    )  # fmt: skip
    _draw_found(axes, points, regions)
    _draw_annotation(axes, annotation)
    if not len(heat.grid):
        axes.text(width / 2, height / 2, "no tissue found", ha="center", va="center")
    axes.set(xlim=(0, width), ylim=(height, 0))
    figure.legend(handles=_legend(annotation is not None), loc="outside lower center", ncols=3, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)
    return figure


def froc_figure(found: dict[str, Any], path: str | Path, title: str = "") -> Figure:
    """Draw the curve of what `slides.froc.report` found, over the range in which it is averaged."""
    figure = Figure(figsize=(6.5, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    rates = np.array(found["curve"]["false_positives_per_slide"])
    values = np.array([np.nan if value is None else value for value in found["curve"]["sensitivity"]])
    axes.plot(np.append(rates, max(RATES[-1], rates.max(initial=0))), np.append(values, values[-1]), color=COLOURS[0])
    known = {float(rate): value for rate, value in found["sensitivity_at"].items() if value is not None}
    axes.scatter(list(known), list(known.values()), color=COLOURS[0], zorder=3, s=18)
    axes.set_xscale("symlog", linthresh=RATES[0], base=2)
    axes.set_xticks([0, *RATES], labels=["0", *(f"{rate:g}" for rate in RATES)])
    axes.set(xlim=(0, RATES[-1]), ylim=(-0.02, 1.02), xlabel="false positives a slide", ylabel="sensitivity (lesions)")
    axes.grid(alpha=0.3)
    axes.set_title(title, fontsize=11)
    save_figure(figure, path)
    return figure


def _draw_found(axes: Axes, points: Sequence[Point], regions: Sequence[Region]) -> None:
    for region in regions:
        for ring in region.rings:
            axes.plot(*np.vstack([ring, ring[:1]]).T, color=_FOUND, linewidth=1)
    if points:
        axes.scatter(
            [point.column for point in points], [point.row for point in points], s=14, color=_FOUND,
            edgecolors="white", linewidths=0.5, zorder=3,
        )  # fmt: skip


def _draw_annotation(axes: Axes, annotation: Annotation | None) -> None:
    for shape in (annotation.shapes if annotation is not None else None) or []:
        for ring in shape.rings:
            if shape.is_point:
                axes.plot(*ring[0], marker="x", color=_MARKED, markersize=5)
            else:
                axes.plot(*np.vstack([ring, ring[:1]]).T, color=_MARKED, linewidth=1)


def _legend(annotated: bool) -> list[Line2D]:
    point = {"marker": "o", "markeredgecolor": "white", "linestyle": "none"}
    marked = [Line2D([], [], color=_MARKED, label="annotated")] if annotated else []
    found = Line2D([], [], color=_FOUND, label="detected region")
    return [*marked, found, Line2D([], [], color=_FOUND, label="detected point", **point)]  # type: ignore[arg-type]


def objects_figure(
    overview: np.ndarray,
    centres: np.ndarray,
    kinds: np.ndarray,
    class_names: Sequence[str],
    size: tuple[int, int],
    path: str | Path,
    title: str = "",
) -> Figure:
    """Draw the slide, and beside it the same in grey with a dot for every object in the colour of its class.

    Args:
        overview: uint8 (h, w, 3), the whole slide, small.
        centres: (N, 2) x and y at level 0.
        kinds: (N,) class of each.
        class_names: background first.
        size: height and width of level 0, which the axes count.
        path: PNG file, written atomically.
        title: stands above.

    Returns:
        The figure.
    """
    figure, grid = _two_slides(overview, size)
    grid[1].imshow(overview.mean(axis=-1), cmap="gray", vmin=0, vmax=255, extent=(0, size[1], size[0], 0))
    handles, dot = [], np.clip(2e5 / max(len(kinds), 1), 1, 16)
    for kind, name in enumerate(class_names[1:], start=1):
        of_kind, colour = centres[kinds == kind], COLOURS[kind % len(COLOURS)]
        grid[1].scatter(of_kind[:, 0], of_kind[:, 1], s=dot, marker=".", color=colour, linewidths=0)
        text = f"{name} ({len(of_kind)})"
        handles.append(Line2D([], [], color=colour, marker="o", linestyle="none", label=text))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)
    return figure


def _two_slides(overview: np.ndarray, size: tuple[int, int]) -> tuple[Figure, Sequence[Axes]]:
    """A figure that shows a slide twice, side by side, its axes in pixels of level 0."""
    height, width = size
    figure = Figure(figsize=(WIDTH_INCHES, 0.48 * WIDTH_INCHES * height / width + 0.8), dpi=150, layout="constrained")
    grid = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes in grid:
        axes.imshow(overview, extent=(0, width, height, 0))
        axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    return figure, grid
