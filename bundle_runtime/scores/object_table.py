"""The objects of segmented pictures as tables for people: where each lies, how large it is, how many there are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from monai.engines.workflow import Workflow

from ..files import write_csv
from .collect import each_case
from .tables import Table


class ObjectTable(Table):
    """Writes `objects.csv`, a line an object, and `counts.csv`, a line a picture; attach to the evaluator.

    The engine hands over lists of dicts (MONAI's `decollate`); an output item holds the class map `pred` (1, H, W) and
    `pred_instances`.

    Args:
        class_names: names by class index, background first.
        output_dir: folder of the files.
        microns_per_pixel: edge of a pixel; None leaves out areas in square micrometres.
        objects: count single objects; without, `counts.csv` holds the area of each class alone.

    Raises:
        InputError: the size of a pixel is not above 0.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        output_dir: str | Path,
        microns_per_pixel: float | None = None,
        objects: bool = True,
    ) -> None:
        if microns_per_pixel is not None and not microns_per_pixel > 0:
            raise InputError(f"microns_per_pixel is {microns_per_pixel}; it must be above 0, or null.")
        super().__init__(Path(output_dir) / "objects.csv", Path(output_dir) / "counts.csv")
        self.names, self.objects = list(class_names), objects
        self.area_of_pixel = None if microns_per_pixel is None else microns_per_pixel**2

    def _take(self, engine: Workflow) -> None:
        each_case(engine, self, self._count, "counted")

    def _count(self, entry: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        source = {**item, **entry}
        classes = torch.as_tensor(item["pred"])[0].cpu().numpy().astype(np.int64)
        pixels = np.bincount(classes.ravel(), minlength=len(self.names))[1:]
        found, numbers = [], []
        if self.objects:
            found = self._objects(classes, torch.as_tensor(item["pred_instances"])[0].cpu().numpy())
            numbers = [sum(row[1] == name for row in found) for name in self.names[1:]]
        areas = [value for area in pixels.tolist() for value in self._areas(area)]
        patient, file, warning = (str(source.get(key) or "") for key in ("patient_id", "file", "warning"))
        self.rows[str(source["case"]), patient] = ([file, *numbers, *areas, warning], found)

    def _objects(self, classes: np.ndarray, objects: np.ndarray) -> list[list[Any]]:
        """Number, class, row and column of the centre, and area of each object."""
        inside = np.nonzero(objects)
        number = objects[inside]
        sizes = np.bincount(number)
        present = np.flatnonzero(sizes)
        rows, columns = (np.bincount(number, axis)[present] / sizes[present] for axis in inside)
        kinds = np.zeros(len(sizes), np.int64)
        kinds[number] = classes[inside]  # an object has one class
        return [
            [int(n), self.names[kinds[n]], f"{row:.1f}", f"{column:.1f}", *self._areas(int(sizes[n]))]
            for n, row, column in zip(present, rows, columns, strict=True)
        ]

    def _areas(self, pixels: int) -> list[str]:
        areas = [str(pixels)]
        return areas if self.area_of_pixel is None else [*areas, f"{pixels * self.area_of_pixel:.2f}"]

    def _write(self) -> None:
        units = ["px", *(["um2"] if self.area_of_pixel is not None else [])]
        numbers = [f"{name}_count" for name in self.names[1:]] if self.objects else []
        sizes = [f"{name}_area_{unit}" for name in self.names[1:] for unit in units]
        if self.objects:
            lines = ([case, *row] for (case, _), (_, found) in self.rows.items() for row in found)
            head = ["case", "object", "class", "row", "column", *(f"area_{unit}" for unit in units)]
            write_csv(self.paths[0], head, lines)
        counted = ([*key, *self.rows[key][0]] for key in sorted(self.rows))
        write_csv(self.paths[1], ["case", "patient_id", "file", *numbers, *sizes, "warning"], counted)
