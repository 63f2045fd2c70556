"""Segmentations over their images: planes of a volume, and pictures with the outlines of objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from .panels import COLOURS, Cut, class_colour, grey_window, name_classes, panel_grid, same_shape, save_figure

_WIDE = 512  # pixels of a panel below which outlines are drawn on an enlarged image: they would hide small objects
_SHADE = 0.25
_LARGER = 1.7  # than other figures: lines of one pixel should still be seen where three panels stand side by side


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
    shape = same_shape(image=image, **maps)
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
    name_classes(figure, {class_names[index]: class_colour(index) for index in sorted(shown)})
    save_figure(figure, path)
    return figure


def _fullest_slice(foreground: np.ndarray, axis: int) -> int:
    """Index along `axis` of the slice with most foreground; the middle one where all are equal."""
    counts = foreground.sum(axis=tuple(i for i in range(foreground.ndim) if i != axis))
    return len(counts) // 2 if (counts == counts[0]).all() else int(counts.argmax())


def outline_figure(
    image: np.ndarray,
    maps: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    path: str | Path,
    class_names: Sequence[str],
    title: str = "",
) -> Figure:
    """Draw the image, and beside it the same image with the outlines of each map.

    Args:
        image: uint8 (C, H, W), C = 1 or 3.
        maps: by name, for example "reference" and "prediction": class indices (H, W), and numbers of objects (H, W) or
            None; with numbers, objects that touch have a line between them.
        path: PNG file, written atomically.
        class_names: names by class index; index 0 is the background.
        title: stands above the panels.

    Returns:
        The figure.

    Raises:
        ValueError: a map has another size than the image.
    """
    picture = np.moveaxis(np.broadcast_to(image, (3, *image.shape[1:])), 0, -1)  # H W 3
    factor = max(1, -(-_WIDE // max(picture.shape[:2])))
    panels, present = {"image": picture}, set()
    for name, (classes, objects) in maps.items():
        if classes.shape != picture.shape[:2]:
            raise ValueError(f"{name} has shape {classes.shape}, the image {picture.shape[:2]}")
        panels[name] = _outlined(picture, classes, classes if objects is None else objects, factor)
        present |= {int(value) for value in np.unique(classes) if 0 < value < len(class_names)}
    height, width = picture.shape[:2]
    figure, grid = panel_grid([width] * len(panels), [height], title, legend=bool(present))
    figure.set_size_inches(*(_LARGER * figure.get_size_inches()))
    for axes, (name, panel) in zip(grid[0], panels.items(), strict=True):
        axes.imshow(panel, extent=(0, width, height, 0), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(name, fontsize=10)
    name_classes(figure, {class_names[index]: _on_stains(index) for index in sorted(present)})
    save_figure(figure, path)
    return figure


def _outlined(picture: np.ndarray, classes: np.ndarray, objects: np.ndarray, factor: int) -> np.ndarray:
    """The picture enlarged by `factor`, with a line along the inner border of each object and a light shade inside."""
    large, kinds, numbers = (
        values.repeat(factor, axis=0).repeat(factor, axis=1) for values in (picture, classes, objects)
    )
    large = large.astype(np.float32)
    lines = find_boundaries(numbers, mode="inner")
    for index in np.unique(classes[classes > 0]).tolist():
        colour = 255 * np.array(_on_stains(index))
        inside = kinds == index
        large[inside] += _SHADE * (colour - large[inside])
        large[inside & lines] = colour
    return large.round().astype(np.uint8)


def _on_stains(index: int) -> tuple[float, float, float]:
    """Colour of a class; the first is a green that neither H&E nor skin holds."""
    red, green, blue = [(0.0, 0.9, 0.2), *(colour[:3] for colour in COLOURS)][(index - 1) % (len(COLOURS) + 1)]
    return red, green, blue
