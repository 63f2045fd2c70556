"""Ignite handler that scores segmented pictures, pixels and objects, and writes the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.record import Record
from .handler import CaseHandler
from .instance_report import InstanceReport
from .instances import Counts, score_picture


class ScoreInstances(CaseHandler[InstanceReport]):
    """Scores `pred` against `label` picture by picture, then writes `scores.json` and `cases.csv` and prints the table.

    The engine hands over lists of dicts (MONAI's `decollate`). An output item holds `pred` (1, H, W), class indices on
    the picture's own grid, and with `objects` `pred_instances` (1, H, W); the batch item `label`, `case`, `patient_id`
    and with `objects` `instances`. When the epoch ends `engine.state.metrics` holds the pooled and the per-image means
    of the first class, such as `iou` and `pooled_iou`.

    Args:
        class_names: names by class index; index 0 is the background.
        output_dir: folder of the two files.
        objects: score objects as well.
        split: how predicted objects were parted, in words.
        parity_batch: see `InstanceReport`.
        header: config, seed, versions, data fingerprint; written at the top of `scores.json`.
        record: of the network's training; see `ScoreHandler`.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        output_dir: str | Path,
        objects: bool = True,
        split: str = "",
        parity_batch: int = 0,
        header: Mapping[str, Any] | None = None,
        record: Record | None = None,
    ) -> None:
        self.keys = ("instances", "pred_instances") if objects else ()
        super().__init__(
            lambda: InstanceReport(class_names, objects, split, parity_batch=parity_batch), output_dir, header, record
        )

    def _rows(self, found: Mapping[str, Any], item: Mapping[str, Any]) -> list[Counts]:
        held = {**item, **found}
        label, prediction, *objects = (_plane(held[key]) for key in ("label", "pred", *self.keys))
        rows = score_picture(label, prediction, len(self.report.class_names), *objects)
        named = zip(self.report.class_names[1:], rows, strict=True)
        return [Counts() if name in self.unlearnt else row for name, row in named]


def _plane(values: Tensor) -> np.ndarray:
    """(1, H, W) on any device as an array (H, W)."""
    return torch.as_tensor(values).detach().cpu().numpy()[0]
