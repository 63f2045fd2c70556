"""Outlines of segmented objects on pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from .arms import Maps
from .panels import WIDTH_INCHES, Montage, class_colour
from .pictures import CasePictures

_WIDE = 512  # pixels of a panel below which outlines are drawn on an enlarged image: they would hide small objects
_SHADE = 0.25
_LARGER = 1.7  # than other figures: lines of one pixel should still be seen where three panels stand side by side


class OutlinePictures(CasePictures):
    """Draws the outlines of reference and prediction beside the first pictures (see `CasePictures`).

    The image is uint8 (C, H, W) in the batch item, the label (absent in inference) and the prediction are class indices
    (1, H, W); "instances" of the batch item and "pred_instances" of the output item part objects that touch.
    """

    def _picture(self, item: Mapping[str, Any], result: Mapping[str, Any], path: Path | None, title: str) -> None:
        image, maps = np.asarray(item[self.image_key].cpu()), {}
        if self.keep and "label" in item:
            label, called = (_plane(values).T.astype(np.uint8) for values in (item["label"], result[self.pred_key]))
            shown = image.T if len(image) == 3 else image[0].T
            Maps(shown, label, called, np.ones(2)).write(self.folder / "maps", str(item["case"]))
        if path is None:
            return
        if "label" in item:
            maps["reference"] = (_plane(item["label"]), _plane(item.get("instances")))
        maps["prediction"] = (_plane(result[self.pred_key]), _plane(result.get(f"{self.pred_key}_instances")))
        outline_figure(image, maps, path, self.class_names, title)


def _plane(values: torch.Tensor | None) -> Any:
    """(1, H, W) as an array of whole numbers (H, W); None stays."""
    return None if values is None else torch.as_tensor(values)[0].cpu().numpy().astype(np.int64)


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
    size = (picture.shape[1], picture.shape[0])
    montage = Montage([[size] * len(panels)], title, [list(panels)], inches=_LARGER * WIDTH_INCHES)
    for place, panel in zip(montage.panels[0], panels.values(), strict=True):
        place.show(panel, interpolation="nearest")
    return montage.save(path, {class_names[index]: class_colour(index, coloured=True) for index in sorted(present)})


def _outlined(picture: np.ndarray, classes: np.ndarray, objects: np.ndarray, factor: int) -> np.ndarray:
    """The picture enlarged by `factor`, with a line along the inner border of each object and a light shade inside."""
    large, kinds, numbers = (
        values.repeat(factor, axis=0).repeat(factor, axis=1) for values in (picture, classes, objects)
    )
    large = large.astype(np.float32)
    lines = find_boundaries(numbers, mode="inner")
    for index in np.unique(classes[classes > 0]).tolist():
        colour = 255 * np.array(class_colour(index, coloured=True))
        inside = kinds == index
        large[inside] += _SHADE * (colour - large[inside])
        large[inside & lines] = colour
    return large.round().astype(np.uint8)
