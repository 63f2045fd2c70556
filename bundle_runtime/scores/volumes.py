"""Volumes of what was predicted, as a table for people: the result of an inference that a clinician reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from torch import Tensor

from custom_components.distributed import gather_objects, is_main
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES, region_table

from ..files import write_csv


class VolumeTable:
    """Writes `volumes.csv`: a line a case with the volume of each class or region in ml; attach to the evaluator.

    The engine hands over lists of dicts (MONAI's `decollate`). `pred` in the output item is a `MetaTensor` (1, X, Y, Z)
    on the image's own grid: class indices, or tissue codes with `regions`. A case that failed on the way has no line.
    A table of an earlier run is removed at the start, so that none is ever older than the label maps beside it.

    Args:
        class_names: Names by class index, background first; or background and regions.
        output_dir: Folder of the file.
        regions: The classes are overlapping regions of a brain tumour (`regions.REGIONS`).
        pred_key: Of the label map in the output item.
    """

    def __init__(
        self, class_names: Sequence[str], output_dir: str | Path, regions: bool = False, pred_key: str = "pred"
    ) -> None:
        self.names, self.path, self.pred_key = list(class_names[1:]), Path(output_dir) / "volumes.csv", pred_key
        # Which values of the map make up which column; classes do not overlap.
        self.table = region_table(class_names) if regions else torch.eye(len(class_names), dtype=torch.bool)[:, 1:]
        self.what = f"tissue codes 0 to {len(TISSUES) - 1}" if regions else f"class indices 0 to {len(self.names)}"
        self.rows: dict[tuple[str, str], list[float]] = {}

    def attach(self, engine: Engine) -> None:
        """Register with `engine`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _start(self, engine: Engine) -> None:
        self.rows = {}
        if is_main():
            self.path.unlink(missing_ok=True)

    def _measure(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        if not (isinstance(batch, list) and isinstance(output, list)):
            raise TypeError("VolumeTable needs an evaluator with decollate: true (lists of dicts)")
        for source, item in zip(batch, output, strict=True):
            found: Mapping[str, Any] = {**item, **source}
            case = str(found.get("case") or f"case_{len(self.rows)}")
            self.rows[case, str(found.get("patient_id") or "")] = self._volumes(case, item[self.pred_key])

    def _volumes(self, case: str, label: Tensor) -> list[float]:
        """Volumes in ml, a number for each name."""
        if not isinstance(label, MetaTensor) or label.ndim != 4:
            raise InputError(f"{case}: {self.pred_key} is no volume with an affine; keep track_meta on, for ml.")
        counts = torch.bincount(label.as_tensor().flatten(), minlength=len(self.table)).double().cpu()
        if len(counts) > len(self.table):
            raise InputError(f"{case}: {self.pred_key} holds the value {len(counts) - 1}; expected {self.what}.")
        # The determinant, not the product of the spacings: it is right for sheared grids (gantry tilt) as well.
        millilitres = float(torch.linalg.det(label.affine[:3, :3].double()).abs()) / 1000
        return [value * millilitres for value in (counts @ self.table.double()).tolist()]

    def _write(self, engine: Engine) -> None:
        rows = {key: values for part in gather_objects(self.rows) for key, values in part.items()}
        if is_main():
            lines = [[*key, *(f"{value:.3f}" for value in rows[key])] for key in sorted(rows)]
            write_csv(self.path, ["case", "patient_id", *(f"{name}_ml" for name in self.names)], lines)
