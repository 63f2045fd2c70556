"""The history of a training: one row per epoch in `history.csv`, with the exact mean of the loss."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.distributed import is_main
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.workflow import Workflow

from ..files import csv_text, write_csv
from .common import epochs_done, in_last_iteration, keep, once, scalars
from .epoch_mean import EpochMean, wide

_COLUMNS = ["epoch", "iteration", "learning_rate", "train_loss"]


class History:
    """Averages the loss over each epoch and writes the history; attach to the trainer.

    The loss's `EpochMean`, part of the checkpoint, is in `engine.state.metrics["train_loss"]` before the first
    `EPOCH_COMPLETED` handler runs; the row is written after validation: epoch, iteration, learning rate of the last
    parameter group (the undecayed one), train_loss, the trainer's `metrics` and, in validated epochs, the evaluator's
    scalar metrics.

    Args:
        path: The CSV file.
        evaluator: Its metrics go into the row of each epoch in which it ran.
        metrics: Further entries of `engine.state.metrics` for the row, where they are there.
    """

    def __init__(self, path: str | os.PathLike[str], evaluator: Any = None, metrics: Sequence[str] = ()) -> None:
        self.table = HistoryTable(path)
        self.evaluator, self.metrics = evaluator, list(metrics)
        self.mean = EpochMean()
        self._ready = False

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        keep(engine, "loss", self.mean)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_table)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)

    def _start(self, engine: Workflow) -> None:
        self._ready = False
        once(engine, Events.EPOCH_COMPLETED, self._write_row)

    def _start_table(self, engine: Workflow) -> None:
        # In the first epoch, not at STARTED: a checkpoint may be restored there, after this handler.
        if not self._ready and is_main():
            self.table.start(epochs_done(engine))
        self._ready = True

    def _iteration_completed(self, engine: Workflow) -> None:
        self.mean.add(wide(engine.state.output[0]["loss"]).view(1))
        if in_last_iteration(engine):
            (engine.state.metrics["train_loss"],) = self.mean.result()

    def _write_row(self, engine: SupervisedTrainer) -> None:
        if not is_main():
            return
        row: dict[str, int | float] = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "learning_rate": float(engine.optimizer.param_groups[-1]["lr"]),
            "train_loss": engine.state.metrics["train_loss"],
            **scalars({name: engine.state.metrics[name] for name in self.metrics if name in engine.state.metrics}),
        }
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            row.update(scalars(self.evaluator.state.metrics))
        self.table.append(row)


class HistoryTable:
    """A table with one row per epoch, as a CSV file.

    The same training gives the same bytes, interrupted or not: no clock time is in it, and numbers are written in full.

    Args:
        path: The CSV file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns = list(_COLUMNS)
        self._rows: list[dict[str, str]] = []

    def start(self, epochs: int) -> None:
        """Keep the rows of the first `epochs` epochs of what an interrupted run left; drop the rest."""
        self._columns, self._rows = list(_COLUMNS), []
        if epochs and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                rows = [row for row in reader if None not in row.values()]  # a kill may have cut the last line
            self._rows = [row for row in rows if row["epoch"].isdigit() and int(row["epoch"]) <= epochs]
            for row in self._rows:  # a metric's column exists from the first epoch that has a value on
                self._columns += [name for name, text in row.items() if text and name not in self._columns]
        self._write_all()

    def append(self, row: Mapping[str, int | float]) -> None:
        """Add a row; a column that is new is added to the file."""
        texts = {name: repr(value) for name, value in row.items()}
        self._rows.append(texts)
        new = [name for name in texts if name not in self._columns]
        if new:
            self._columns += new
            self._write_all()
        else:
            with self.path.open("a", newline="", encoding="utf-8") as stream:
                stream.write(csv_text(self._columns, [texts], header=False))

    def _write_all(self) -> None:
        write_csv(self.path, self._columns, self._rows)
