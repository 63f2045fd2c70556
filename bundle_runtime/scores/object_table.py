"""The objects of segmented pictures as tables for people: where each lies, how large it is, how many there are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.engines.workflow import Workflow

from custom_components.distributed import gather_objects, is_main
from custom_components.errors import InputError

from ..files import write_csv


class ObjectTable:
    """Writes `objects.csv`, a line an object, and `counts.csv`, a line a picture; attach to the evaluator.

    The engine hands over lists of dicts (MONAI's `decollate`); an output item holds the class map `pred` (1, H, W) and
    `pred_instances`. A picture that failed on the way has no line. Tables of an earlier run are removed at the start.

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
        self.names, self.folder, self.objects = list(class_names), Path(output_dir), objects
        self.area_of_pixel = None if microns_per_pixel is None else microns_per_pixel**2
        self.rows: list[list[Any]] = []
        self.counts: list[list[Any]] = []

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Workflow) -> None:
        self.rows, self.counts = [], []
        if is_main():
            for name in ("objects.csv", "counts.csv"):
                (self.folder / name).unlink(missing_ok=True)

    def _measure(self, engine: Workflow) -> None:
        batch, output = engine.state.batch, engine.state.output
        if not (isinstance(batch, list) and isinstance(output, list)):
            raise TypeError("ObjectTable needs an evaluator with decollate: true (lists of dicts)")
        for source, item in zip(batch, output, strict=True):
            case = str(source["case"])
            classes = torch.as_tensor(item["pred"])[0].cpu().numpy().astype(np.int64)
            pixels = np.bincount(classes.ravel(), minlength=len(self.names))[1:]
            numbers: list[Any] = []
            if self.objects:
                found = self._objects(classes, torch.as_tensor(item["pred_instances"])[0].cpu().numpy())
                self.rows += [[case, *row] for row in found]
                numbers = [sum(row[1] == name for row in found) for name in self.names[1:]]
            areas = [value for area in pixels.tolist() for value in self._areas(area)]
            self.counts.append([case, str(source.get("patient_id") or ""), *numbers, *areas])

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

    def _write(self, engine: Workflow) -> None:
        parts = gather_objects((self.rows, self.counts))
        rows, counts = ([row for part in parts for row in part[side]] for side in (0, 1))
        if not is_main():
            return
        units = ["px", *(["um2"] if self.area_of_pixel is not None else [])]
        areas = [f"area_{unit}" for unit in units]
        numbers = [f"{name}_count" for name in self.names[1:]] if self.objects else []
        sizes = [f"{name}_area_{unit}" for name in self.names[1:] for unit in units]
        if self.objects:
            write_csv(self.folder / "objects.csv", ["case", "object", "class", "row", "column", *areas], rows)
        write_csv(self.folder / "counts.csv", ["case", "patient_id", *numbers, *sizes], sorted(counts))
