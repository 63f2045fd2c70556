"""Ignite handler that scores segmented volumes, and writes the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from .handler import CaseHandler
from .segmentation import Row, score_case
from .segmentation_report import SegmentationReport

ITEM_KEYS = ("case", "patient_id", "unlabelled")


class ScoreSegmentation(CaseHandler[SegmentationReport]):
    """Scores `pred` against `label` case by case, then writes `scores.json` and `cases.csv` and prints the table.

    The engine hands over lists of dicts (MONAI's `decollate`). An output item holds `pred` and `label`: class indices
    (1, X, Y[, Z]) on one grid (with `regions` tissue codes; `pred` may then be one mask a region). The label is a
    `MetaTensor` whose affine gives the spacing. `case`, `patient_id` and `unlabelled` (names of classes not drawn in
    this case, or a mask over all classes) are looked up in the batch item, then in the output item.
    When the epoch ends `engine.state.metrics` holds what `SegmentationReport.metrics` gives.

    Settings are those of `CaseHandler` and `SegmentationReport`.
    """

    kind = SegmentationReport

    def _found(self, source: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, Any]:
        label = item["label"]
        target = label if isinstance(label, Mapping) else {"label": label}  # `SegmentationBatch` makes a dict of it
        known = {name: item[name] for name in ITEM_KEYS if name in item}
        return {**target, **known, **source, "label": target["label"]}

    def _rows(self, found: Mapping[str, Any], item: Mapping[str, Any]) -> list[Row]:
        report, prediction, label = self.report, item["pred"], found["label"]
        spacing: Sequence[float] = (1.0,) * (label.ndim - 1)
        if isinstance(label, MetaTensor):
            spacing = affine_to_spacing(label.affine, r=label.ndim - 1).tolist()
            if isinstance(prediction, MetaTensor) and not np.allclose(prediction.affine, label.affine, atol=1e-2):
                raise InputError(
                    "prediction and label have different affines; expected one grid."
                    " Invert the preprocessing of the prediction."
                )
        elif not report.parity:
            raise InputError(
                "the label carries no affine; expected a MetaTensor, for distances in mm: keep track_meta on."
            )
        maps = [np.asarray(volume.detach().cpu()) for volume in (prediction, label)]
        masks = report.regions and len(maps[0]) > 1
        settings = {name: getattr(report, name) for name in ("class_names", "miss_penalty", "parity", "regions")}
        unlabelled = self._unlabelled(found.get("unlabelled"))
        # X Y [Z], or R X Y [Z] for masks
        rows = score_case(maps[0] if masks else maps[0][0], maps[1][0], spacing, unlabelled=unlabelled, **settings)
        return [row.not_learnt() if row.structure in self.unlearnt else row for row in rows]

    def _unlabelled(self, given: Sequence[str] | torch.Tensor | None) -> list[str]:
        """Class names from the datalist's list, or from the mask over classes that `UnlabelledMaskd` makes of it."""
        if isinstance(given, torch.Tensor):
            return [name for name, flag in zip(self.report.class_names, given.tolist(), strict=True) if flag]
        return list(given or ())
