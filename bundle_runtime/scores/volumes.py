"""Volumes of what was predicted, as a table for people: the result of an inference that a clinician reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES, region_table
from monai.data import MetaTensor
from monai.engines.workflow import Workflow
from torch import Tensor

from ..data.record import Record
from ..files import write_csv
from .collect import each_case
from .tables import Table


class VolumeTable(Table):
    """Writes `volumes.csv`: a line a case with its file, the ml of each class or region, and what makes it doubtful.

    The engine hands over lists of dicts (MONAI's `decollate`). `pred` in the output item is a `MetaTensor` (1, X, Y, Z)
    on the image's own grid: class indices, or tissue codes with `regions`.

    Args:
        class_names: Names by class index, background first; or background and regions.
        output_dir: Folder of the file.
        regions: The classes are overlapping regions of a brain tumour (`tumour_labels.REGIONS`).
        record: Of the network's training; cells of classes that it did not learn are empty.
    """

    def __init__(
        self, class_names: Sequence[str], output_dir: str | Path, regions: bool = False, record: Record | None = None
    ) -> None:
        super().__init__(Path(output_dir) / "volumes.csv")
        self.unlearnt = {} if record is None else record.unlearnt
        self.names = list(class_names[1:])
        # Which values of the map make up which column; classes do not overlap.
        self.table = region_table(class_names) if regions else torch.eye(len(class_names), dtype=torch.bool)[:, 1:]
        self.what = f"tissue codes 0 to {len(TISSUES) - 1}" if regions else f"class indices 0 to {len(self.names)}"

    def _take(self, engine: Workflow) -> None:
        each_case(engine, self, self._measure, "measured")

    def _measure(self, source: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        found = {**item, **source}
        case = str(found.get("case") or f"case_{len(self.rows)}")
        patient, file, warning = (str(found.get(key) or "") for key in ("patient_id", "file", "warning"))
        self.rows[case, patient] = file, self._volumes(item["pred"]), warning

    def _volumes(self, label: Tensor) -> list[float]:
        """Volumes in ml, a number for each name."""
        if not isinstance(label, MetaTensor) or label.ndim != 4:
            raise InputError("pred is no volume with an affine; keep track_meta on, for ml.")
        counts = torch.bincount(label.as_tensor().flatten(), minlength=len(self.table)).double().cpu()
        if len(counts) > len(self.table):
            raise InputError(f"pred holds the value {len(counts) - 1}; expected {self.what}.")
        # The determinant, not the product of the spacings: it is right for sheared grids (gantry tilt) as well.
        millilitres = float(torch.linalg.det(label.affine[:3, :3].double()).abs()) / 1000
        return [value * millilitres for value in (counts @ self.table.double()).tolist()]

    def _write(self) -> None:
        lines = []
        for key, (file, volumes, warning) in sorted(self.rows.items()):
            named = zip(self.names, volumes, strict=True)
            cells = ("" if name in self.unlearnt else f"{ml:.3f}" for name, ml in named)
            lines.append([*key, file, *cells, warning])
        columns = ["case", "patient_id", "file", *(f"{name}_ml" for name in self.names), "warning"]
        write_csv(self.paths[0], columns, lines)
