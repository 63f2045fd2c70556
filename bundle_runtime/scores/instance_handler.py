"""Ignite handler that scores segmented pictures, pixels and objects, and writes the report."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .handler import CaseHandler
from .instance_report import InstanceReport
from .instances import Counts, score_picture


class ScoreInstances(CaseHandler[InstanceReport]):
    """Scores `pred` against `label` picture by picture, then writes `scores.json` and `cases.csv` and prints the table.

    The engine hands over lists of dicts (MONAI's `decollate`). An output item holds `pred` (1, H, W), class indices on
    the picture's own grid, and with `score_objects` `pred_instances` (1, H, W); the batch item `label`, `case`,
    `patient_id` and with `score_objects` `instances`. When the epoch ends `engine.state.metrics` holds what
    `InstanceReport.metrics` gives. Settings are those of `CaseHandler` and `InstanceReport`.
    """

    kind = InstanceReport

    def _rows(self, found: Mapping[str, Any], item: Mapping[str, Any]) -> list[Counts]:
        held, keys = {**item, **found}, ("instances", "pred_instances") if self.report.score_objects else ()
        label, prediction, *objects = (_plane(held[key]) for key in ("label", "pred", *keys))
        rows = score_picture(label, prediction, len(self.report.class_names), *objects)
        named = zip(self.report.class_names[1:], rows, strict=True)
        return [Counts() if name in self.unlearnt else row for name, row in named]


def _plane(values: Tensor) -> np.ndarray:
    """(1, H, W) on any device as an array (H, W)."""
    return torch.as_tensor(values).detach().cpu().numpy()[0]
