"""Ignite handler that scores what an evaluation engine predicts and writes the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from custom_components.distributed import gather_objects, is_main
from custom_components.errors import InputError
from custom_components.tumour_labels import region_table

from .segmentation import Row, score_case
from .segmentation_report import SegmentationReport

ITEM_KEYS = ("case", "patient_id", "unlabelled")


class ScoreSegmentation:
    """Scores `pred` against `label` case by case, then writes `scores.json` and `cases.csv` and prints the table.

    The engine hands over lists of dicts (MONAI's `decollate`). An output item holds `pred` and `label`: class indices
    (1, X, Y[, Z]) on one grid (with `regions` tissue codes; `pred` may then be one mask a region). The label is a
    `MetaTensor` whose affine gives the spacing. `case`, `patient_id` and `unlabelled` (names of classes not drawn in
    this case, or a mask over all classes) are looked up in the batch item, then in the output item.
    When the epoch ends `engine.state.metrics` holds `mean_dice` and `mean_hd95` (mean over cases of the mean over the
    organs scored) and, with `organs`, `mean_dice_<number of organs>` and `mean_hd95_<number of organs>`. Put it before
    handlers that log metrics.
    In a distributed run every process keeps its own cases; all see the common metrics, the first one writes.

    Args:
        class_names: Names by class index; index 0 is the background.
        output_dir: Folder of the two files.
        miss_penalty: HD95 of a missed or hallucinated organ: "diagonal", a distance in mm, or "drop".
        parity: Score as the papers did (voxels, undefined values dropped).
        organs: Some of the classes, for further aggregates over these alone.
        header: Config, seed, versions, data fingerprint; written at the top of `scores.json`.
        regions: The classes are overlapping regions of a brain tumour, scored one by one (`regions.REGIONS`).
    """

    def __init__(
        self,
        class_names: Sequence[str],
        output_dir: str | Path,
        miss_penalty: str | float = "diagonal",
        parity: bool = False,
        organs: Sequence[str] | None = None,
        header: Mapping[str, Any] | None = None,
        regions: bool = False,
    ) -> None:
        if regions:
            region_table(class_names)  # refuses a name that is no region
        self.output_dir = Path(output_dir)
        self.header = header
        self.settings: dict[str, Any] = {
            "class_names": list(class_names),
            "miss_penalty": miss_penalty,
            "parity": parity,
            "organs": organs,
            "regions": regions,
        }
        # A mistake in the settings shows before the first forward pass.
        self.report = SegmentationReport(**self.settings)

    def attach(self, engine: Engine) -> None:
        """Register with `engine`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        # Not COMPLETED: MLflow, TensorBoard and the log read `state.metrics` when the epoch ends, the manifest later.
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.report = SegmentationReport(**self.settings)

    def _score(self, engine: Engine) -> None:
        batch, output = engine.state.batch, engine.state.output
        if not (isinstance(batch, list) and isinstance(output, list)):
            raise TypeError(
                "ScoreSegmentation needs lists of dicts in state.batch and state.output: set decollate to true"
            )
        for source, item in zip(batch, output, strict=True):
            label = item["label"]
            target = label if isinstance(label, Mapping) else {"label": label}  # `SegmentationBatch` makes a dict of it
            found = {**target, **{name: item[name] for name in ITEM_KEYS if name in item}, **source}
            case = str(found.get("case") or f"case_{len(self.report.cases)}")
            try:
                rows = self._rows(item["pred"], target["label"], self._unlabelled(found.get("unlabelled")))
            except InputError as error:
                raise InputError(f"{case}: {error}") from error
            self.report.add(case, str(found.get("patient_id") or ""), rows)

    def _unlabelled(self, given: Sequence[str] | torch.Tensor | None) -> list[str]:
        """Class names from the datalist's list, or from the mask over classes that `UnlabelledMaskd` makes of it."""
        if isinstance(given, torch.Tensor):
            return [name for name, flag in zip(self.settings["class_names"], given.tolist(), strict=True) if flag]
        return list(given or ())

    def _rows(self, prediction: torch.Tensor, label: torch.Tensor, unlabelled: Sequence[str]) -> list[Row]:
        spacing: Sequence[float] = (1.0,) * (label.ndim - 1)
        if isinstance(label, MetaTensor):
            spacing = affine_to_spacing(label.affine, r=label.ndim - 1).tolist()
            if isinstance(prediction, MetaTensor) and not np.allclose(prediction.affine, label.affine, atol=1e-2):
                raise InputError(
                    "prediction and label have different affines; expected one grid."
                    " Invert the preprocessing of the prediction."
                )
        elif not self.settings["parity"]:
            raise InputError(
                "the label carries no affine; expected a MetaTensor, for distances in mm: keep track_meta on."
            )
        maps = [np.asarray(volume.detach().cpu()) for volume in (prediction, label)]
        masks = self.settings["regions"] and len(maps[0]) > 1
        settings = {name: self.settings[name] for name in ("class_names", "miss_penalty", "parity", "regions")}
        # X Y [Z], or R X Y [Z] for masks
        return score_case(maps[0] if masks else maps[0][0], maps[1][0], spacing, unlabelled=unlabelled, **settings)

    def _finish(self, engine: Engine) -> None:
        first = _gather(self.report)
        if first:
            summary = self.report.write(self.output_dir, self.header)
            print(f"{self.report.table(summary)}\nwritten: {self.output_dir / 'scores.json'}, cases.csv", flush=True)
        else:
            summary = self.report.summary()
        for part in ("all", "chosen"):
            if summary[part]:
                suffix = "" if part == "all" else f"_{len(summary[part]['organs'])}"
                for metric in ("dice", "hd95"):
                    engine.state.metrics[f"mean_{metric}{suffix}"] = summary[part]["mean_over_cases"][metric]["mean"]


def _gather(report: SegmentationReport) -> bool:
    """Bring the cases of all processes into `report`; true in the process that writes."""
    parts = gather_objects(report.cases)
    report.cases = {}
    for cases in parts:
        for (patient, case), rows in cases.items():
            report.add(case, patient, list(rows.values()))
    return is_main()
