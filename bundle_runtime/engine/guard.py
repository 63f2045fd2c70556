"""Watch the loss: stop on NaN or infinity, average it over each epoch, write `history.csv`."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.engines.workflow import Workflow

from custom_components.distributed import any_rank, distributed, is_main
from custom_components.errors import InputError

from ..files import csv_text, write_csv
from .common import epochs_done, in_last_iteration, keep, loss_of, names_of, once, scalars

_COLUMNS = ["epoch", "iteration", "learning_rate", "train_loss"]


class History:
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
            self._columns = list(_COLUMNS)
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


class LossGuard:
    """Stops on a loss that is not finite, and keeps the training's history; attach to the trainer.

    The loss is summed on the device; the host looks (and so waits) only every `interval` iterations, at the end of an
    epoch and when a checkpoint is about to be written. So no checkpoint replaces a good one after a NaN. The partial
    sum is part of the checkpoint: a run resumed inside an epoch still reports that epoch's exact mean.

    The mean over the epoch (and over the processes) is in `engine.state.metrics["train_loss"]` before the first
    `EPOCH_COMPLETED` handler runs; the row of `history.csv` is written after validation: epoch, iteration, learning
    rate of the last parameter group (the undecayed one), train_loss, the trainer's `metrics` and, in validated epochs,
    the evaluator's scalar metrics.

    Args:
        history_path: The CSV file; None writes none.
        optimizer: Gives the learning rate; None takes the engine's.
        interval: Iterations between two looks at the loss.
        evaluator: Its metrics go into the row of each epoch in which it ran.
        metrics: Further entries of `engine.state.metrics` for the row, where they are there.
    """

    def __init__(
        self,
        history_path: str | os.PathLike[str] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        interval: int = 10,
        evaluator: Any = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self.metrics = list(metrics)
        self.history = None if history_path is None else History(history_path)
        self.optimizer = optimizer
        self.interval = max(int(interval), 1)
        self.evaluator = evaluator
        self._sum: torch.Tensor | None = None
        self._count = 0
        self._history_ready = False
        self._device = torch.device("cpu")
        self._recent: list[tuple[int, int, torch.Tensor, list[str]]] = []

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        keep(engine, "loss", self)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_history)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)

    def _start(self, engine: Workflow) -> None:
        self._history_ready = False
        once(engine, Events.EPOCH_COMPLETED, self._write_row)

    def _start_history(self, engine: Workflow) -> None:
        # In the first epoch, not at STARTED: a checkpoint may be restored there, after this handler.
        if not self._history_ready and self.history is not None and is_main():
            self.history.start(epochs_done(engine))
        self._history_ready = True

    def _iteration_completed(self, engine: Workflow) -> None:
        loss = loss_of(engine.state.output).as_subclass(torch.Tensor)
        self._device = loss.device
        wide = loss.float() if loss.device.type == "mps" else loss.double()
        # A state that was restored is on the CPU.
        self._sum = wide if self._sum is None else self._sum.to(wide.device) + wide
        self._count += 1
        self._recent.append((engine.state.iteration, engine.state.epoch, loss, names_of(engine.state.batch)))
        last = in_last_iteration(engine)
        if last or engine.state.iteration % self.interval == 0:
            self.check()
        if last:
            total, count = self._over_processes()
            engine.state.metrics["train_loss"] = total / max(count, 1)
            self._sum, self._count = None, 0

    def check(self) -> None:
        """Look at the losses since the last look. Collective in a distributed run; waits for the device.

        Raises:
            InputError: One is NaN or infinite; the sentence names the iteration and the files of its batch.
        """
        if not self._recent:
            return
        losses = torch.stack([loss.float() for _, _, loss, _ in self._recent])
        recent, self._recent = self._recent, []
        finite = losses.isfinite()
        if not any_rank(~finite.all(), losses.device):
            return
        good = finite.tolist()
        if all(good):
            raise InputError("The loss of another process is not finite; its message names the files of the batch.")
        iteration, epoch, loss, names = recent[good.index(False)]
        raise InputError(
            f"The loss is {loss.item()} at iteration {iteration} (epoch {epoch}); the files of that batch: "
            f"{', '.join(names) if names else 'not named by the data set'}. Check them for NaN or extreme values, or "
            "lower learning_rate or set amp to off; the last checkpoint is from before."
        )

    def _over_processes(self) -> tuple[float, float]:
        total = 0.0 if self._sum is None else float(self._sum)
        if not distributed():
            return total, float(self._count)
        both = torch.tensor([total, self._count], dtype=torch.float64, device=self._device)
        dist.all_reduce(both)
        total, count = both.tolist()
        return total, count

    def _write_row(self, engine: Workflow) -> None:
        if self.history is None or not is_main():
            return
        optimizer = self.optimizer if self.optimizer is not None else engine.optimizer  # type: ignore[attr-defined]
        row: dict[str, int | float] = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "learning_rate": float(optimizer.param_groups[-1]["lr"]),
            "train_loss": engine.state.metrics["train_loss"],
            **scalars({name: engine.state.metrics[name] for name in self.metrics if name in engine.state.metrics}),
        }
        if self.evaluator is not None and self.evaluator.state.epoch == engine.state.epoch:
            row.update(scalars(self.evaluator.state.metrics))
        self.history.append(row)

    def state_dict(self) -> dict[str, float]:
        """Return the running sums of the epoch, over all processes.

        Raises:
            InputError: A loss since the last look is not finite.
        """
        self.check()
        total, count = self._over_processes()
        return {"sum": total, "count": count}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on summing from `state`; in a distributed run the main process takes it all."""
        mine = is_main() and state["count"] > 0
        self._sum = torch.tensor(state["sum"], dtype=torch.float64) if mine else None
        self._count = int(state["count"]) if mine else 0
        self._recent = []
