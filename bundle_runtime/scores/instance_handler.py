"""Ignite handler that scores segmented pictures, pixels and objects, and writes the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from custom_components.distributed import gather_objects, is_main
from custom_components.errors import InputError

from .instance_report import InstanceReport
from .instances import score_picture


class ScoreInstances:
    """Scores `pred` against `label` picture by picture, then writes `scores.json` and `cases.csv` and prints the table.

    The engine hands over lists of dicts (MONAI's `decollate`). An output item holds `pred` (1, H, W), class indices on
    the picture's own grid, and with `objects` `pred_instances` (1, H, W); the batch item `label`, `case`, `patient_id`
    and with `objects` `instances`. When the epoch ends `engine.state.metrics` holds the pooled and the per-image means
    of the first class, such as `iou` and `pooled_iou`.
    In a distributed run every process keeps its own pictures; all see the common metrics, the first one writes.

    Args:
        class_names: names by class index; index 0 is the background.
        output_dir: folder of the two files.
        objects: score objects as well.
        split: how predicted objects were parted, in words.
        parity_batch: see `InstanceReport`.
        header: config, seed, versions, data fingerprint; written at the top of `scores.json`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        output_dir: str | Path,
        objects: bool = True,
        split: str = "",
        parity_batch: int = 0,
        header: Mapping[str, Any] | None = None,
    ) -> None:
        self.output_dir, self.header = Path(output_dir), header
        self.settings: dict[str, Any] = {
            "class_names": list(class_names),
            "objects": objects,
            "split": split,
            "parity_batch": parity_batch,
        }
        self.report = InstanceReport(**self.settings)

    def attach(self, engine: Engine) -> None:
        """Register with `engine`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.report = InstanceReport(**self.settings)

    def _score(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        if not (isinstance(batch, list) and isinstance(output, list)):
            raise TypeError(
                "ScoreInstances needs lists of dicts in state.batch and state.output: set decollate to true"
            )
        for source, item in zip(batch, output, strict=True):
            case = str(source.get("case") or f"case_{len(self.report.cases)}")
            maps = [source["label"], item["pred"]]
            if self.settings["objects"]:
                maps += [source["instances"], item["pred_instances"]]
            label, prediction, *objects = (_plane(values) for values in maps)
            try:
                rows = score_picture(label, prediction, len(self.settings["class_names"]), *objects)
            except InputError as error:
                raise InputError(f"{case}: {error}") from error
            self.report.add(case, str(source.get("patient_id") or ""), rows)

    def _finish(self, engine: Engine) -> None:
        if _gather(self.report):
            summary = self.report.write(self.output_dir, self.header)
            print(f"{self.report.table(summary)}\nwritten: {self.output_dir / 'scores.json'}, cases.csv", flush=True)
        else:
            summary = self.report.summary()
        first = next(iter(summary["classes"].values()))
        for metric in self.report.metrics:
            engine.state.metrics[metric] = first["per_image"][metric]["mean"]
            engine.state.metrics[f"pooled_{metric}"] = first["pooled"][metric]["mean"]


def _plane(values: Tensor) -> np.ndarray:
    """(1, H, W) on any device as an array (H, W)."""
    return torch.as_tensor(values).detach().cpu().numpy()[0]


def _gather(report: InstanceReport) -> bool:
    """Bring the pictures of all processes into `report`, process by process; true in the process that writes."""
    parts = gather_objects(report.cases)
    report.cases = {}
    for cases in parts:
        for (patient, case), rows in cases.items():
            report.add(case, patient, rows)
    return is_main()
