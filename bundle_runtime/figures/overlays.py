"""Segmentations over planes of a volume."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, io_orientation

from .arms import Maps, unit_window
from .panels import Cut, Montage, class_colour, grey_window, same_shape
from .pictures import CasePictures, array


class OverlayPictures(CasePictures):
    """Draws label and prediction over the first cases (see `CasePictures`).

    Image, label and prediction lie on one grid; label and prediction may be class indices (1, *S) or one channel per
    class (C, *S). The label is that of the output item, else of the batch item.

    Args:
        *args: those of `CasePictures`.
        channel: Channel of the image that is shown, such as one of several MRI sequences.
        **options: those of `CasePictures`.
    """

    def __init__(self, *args: Any, channel: int = 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.channel = channel

    def _picture(self, item: Mapping[str, Any], result: Mapping[str, Any], path: Path | None, title: str) -> None:
        image, label = item[self.image_key], {**item, **result}.get("label")
        spacing: Sequence[float] = (1.0, 1.0, 1.0)
        turn = None
        if isinstance(image, MetaTensor) and image.affine.ndim == 2:
            # A scanner's axes may run any way; pictures are for people, who expect the standard views.
            turn = io_orientation(image.affine.numpy())
            spacing = [float(image.pixdim[axis]) for axis in np.argsort(turn[:, 0])]
        shown, prediction = _turned(array(image[self.channel]), turn), _turned(_classes(result[self.pred_key]), turn)
        classes = None if label is None else _turned(_classes(label), turn)
        if self.keep and classes is not None:
            small, called = classes.astype(np.uint8), prediction.astype(np.uint8)
            maps = Maps(unit_window(shown, classes), small, called, np.asarray(spacing))
            maps.write(self.folder / "maps", str(item["case"]))
        if path is not None:
            overlay_figure(shown, classes, path, self.class_names, prediction=prediction, spacing=spacing, title=title)


def _classes(tensor: torch.Tensor) -> np.ndarray:
    """(1, *S) class indices or (C, *S) one channel per class -> (*S) class indices."""
    tensor = tensor.detach().as_subclass(torch.Tensor)
    tensor = tensor[0] if tensor.shape[0] == 1 else tensor.argmax(dim=0)
    return tensor.cpu().numpy().astype(np.int64)


def _turned(values: np.ndarray, turn: np.ndarray | None) -> np.ndarray:
    return values if turn is None else apply_orientation(values, turn)


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
    sizes, titles = [cut.size(axis) for axis in cut.axes], [cut.name(axis) for axis in cut.axes]
    montage, shown = Montage([sizes] * len(maps), title, [titles], list(maps)), set[int]()
    for row, classes in zip(montage.panels, maps.values(), strict=True):
        for panel, axis in zip(row, cut.axes, strict=True):
            cut.show(panel, image, axis, window)
            shown |= cut.outline(panel, classes, axis, len(class_names))
    return montage.save(path, {class_names[index]: class_colour(index) for index in sorted(shown)})


def _fullest_slice(foreground: np.ndarray, axis: int) -> int:
    """Index along `axis` of the slice with most foreground; the middle one where all are equal."""
    counts = foreground.sum(axis=tuple(i for i in range(foreground.ndim) if i != axis))
    return len(counts) // 2 if (counts == counts[0]).all() else int(counts.argmax())
