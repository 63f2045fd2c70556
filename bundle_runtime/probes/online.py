"""What the frozen features are worth while the encoder is pre-trained: a probe every few epochs."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from custom_components.distributed import distributed, is_main, say
from custom_components.errors import InputError, one_of
from custom_components.networks.find import unwrap
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import nn

from ..engine.common import due, keep
from ..failures import find_input_error
from ..files import write_csv
from .features import METHODS, Array, probe_scores

METRIC = "probe_macro_auc"


class Probe(ABC):
    """Trains a small model on frozen features of the training list, scores it on validation, logs it.

    The training does not notice: random state and mode of the network are put back. The score of an epoch is in
    `engine.state.metrics["probe_macro_auc"]` for handlers behind this one (TensorBoard) and is gone in the next epoch;
    all scores are in `probe.csv`. The rows are part of the checkpoint, so a resumed run goes on with them. In a
    distributed run the main process probes and tells the others.

    `EarlyStop(evaluator=<this handler>, patience=...)` stops by it: `state` has what that reads of an evaluator.

    Args:
        network: whose encoder is probed; at `.encoder`, `.vit`, or itself.
        task: "multi_label" or "multi_class".
        class_names: the K findings or classes; None where it never probes.
        interval: epochs between probes; the last epoch is always probed; 0 turns all of it off.
        method: "logistic" or "knn".
        device: where the network lies.
        history_path: CSV file with a row a probe: epoch, macro AUC, accuracy for several classes, AUC of each class.

    Attributes:
        state: epoch of the last probe, best_metric and best_metric_epoch, key_metric_name, metrics of the last probe.

    Raises:
        InputError: an unknown method.
    """

    def __init__(
        self,
        network: nn.Module,
        task: str,
        class_names: Sequence[str] | None,
        interval: int = 10,
        method: str = "knn",
        device: torch.device | str = "cpu",
        history_path: str | os.PathLike[str] | None = None,
    ) -> None:
        one_of("method of the probe", method, METHODS)
        self.interval = int(interval)
        self.network, self.device = network, torch.device(device)
        self.task, self.class_names, self.method = task, list(class_names or ()), method
        self.history_path = None if history_path is None else Path(history_path)
        self.rows: list[dict[str, float | int | None]] = []
        self.state = SimpleNamespace()
        self._update_state()

    @abstractmethod
    def features(self, network: nn.Module) -> tuple[Array, Array, Array, Array]:
        """Features and labels of the training list, then of the validation list."""

    @property
    def best_epoch(self) -> int:
        """The epoch with the highest macro AUC so far; -1 before the first."""
        return self.state.best_metric_epoch

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer, before handlers that log its metrics."""
        if self.interval > 0:
            keep(engine, "probe", self)
            engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)

    def _forget(self, engine: Workflow) -> None:
        engine.state.metrics.pop(METRIC, None)  # the score of an epoch must not pass for that of the next

    def _epoch_completed(self, engine: Workflow) -> None:
        if not due(engine, self.interval):
            return
        scores = self._shared()
        self.rows = [row for row in self.rows if int(row["epoch"] or 0) < engine.state.epoch]
        self.rows.append({"epoch": engine.state.epoch, **scores})
        self._update_state()
        engine.state.metrics[METRIC] = scores["macro_auc"]
        self._write()
        say(self._line(engine))

    def _shared(self) -> dict[str, float | None]:
        """The scores, which the main process computes; a mistake that it finds ends the others too."""
        if not distributed():
            return self._scores()
        box: list[Any] = [None]
        error: BaseException | None = None
        if is_main():
            try:
                box = [self._scores()]
            except Exception as caught:  # the others wait for a word
                error = caught
                box = [str(find_input_error(caught) or f"the probe of the main process failed: {caught}")]
        dist.broadcast_object_list(box, src=0)
        if error is not None:
            raise error
        if isinstance(box[0], str):
            raise InputError(box[0])
        return box[0]

    def _scores(self) -> dict[str, float | None]:
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # a data loader draws from the random state when it is iterated
            parts = self.features(unwrap(self.network))
        return probe_scores(*parts, self.task, self.class_names, self.method)

    def _update_state(self) -> None:
        """Bring `state` in line with the rows."""
        defined = [row for row in self.rows if not _is_nan(row["macro_auc"])]
        best: Mapping[str, Any] = max(defined, key=lambda row: row["macro_auc"] or 0, default={})
        last = self.rows[-1] if self.rows else {}
        self.state.key_metric_name = METRIC
        self.state.epoch = last.get("epoch", 0)
        self.state.best_metric, self.state.best_metric_epoch = best.get("macro_auc", -1), best.get("epoch", -1)
        self.state.metrics = {METRIC: last["macro_auc"]} if last else {}

    def _write(self) -> None:
        if is_main() and self.history_path is not None:
            accuracy = ["accuracy"] if self.task == "multi_class" else []
            write_csv(self.history_path, ["epoch", "macro_auc", *accuracy, *self.class_names], self.rows)

    def _line(self, engine: Workflow) -> str:
        row = self.rows[-1]
        absent = [name for name in self.class_names if row[name] is None]
        accuracy = f", accuracy {row['accuracy']:.4f}" if row.get("accuracy") is not None else ""
        best = f"best {self.state.best_metric:.4f} in epoch {self.best_epoch}" if self.best_epoch > 0 else "none so far"
        missing = f"; without {', '.join(absent)}" if absent else ""
        score = f"macro AUC {row['macro_auc']:.4f}{accuracy}"
        return f"Probe ({self.method}) after epoch {engine.state.epoch}: {score} ({best}){missing}."

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from these rows; `probe.csv` is brought back to them."""
        self.rows = [dict(row) for row in state["rows"]]
        self._update_state()
        self._write()


def _is_nan(value: float | int | None) -> bool:
    return isinstance(value, float) and math.isnan(value)
