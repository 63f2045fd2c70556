"""One bar for a whole run: 10,000 epochs of 3 iterations are 30,000 steps of one bar."""

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from custom_components.distributed import is_main
from ignite.engine import Events
from monai.engines.workflow import Workflow
from tqdm import tqdm

from .common import on_failure, scalars

_LINE = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class _Lines:
    """Gives a log file a line per update where a terminal would redraw the bar."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        line = text.replace("\r", "").strip()
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


class Progress:
    """Shows how far a trainer or an evaluator is, on stderr; attach to either.

    For a trainer the bar runs over all iterations of the run, beginning at the resumed one, and shows epoch, learning
    rate and `metrics` of the last epoch. For an evaluator it runs over its batches. It never waits for
    the device: the loss is the epoch mean that `History` has already fetched. Where stderr is no terminal, a plain
    line every 30 s.

    Args:
        name: What stands before the bar, e.g. "pretrain".
        metrics: Entries of `engine.state.metrics` to show.
        evaluator: Its best key metric is shown too.
        stream: Where to write; None is stderr.
    """

    def __init__(
        self, name: str, metrics: Sequence[str] = ("train_loss",), evaluator: Any = None, stream: TextIO | None = None
    ) -> None:
        self.name = name
        self.metrics = [metrics] if isinstance(metrics, str) else list(metrics)
        self.evaluator = evaluator
        self.stream = stream
        self._bar: tqdm | None = None

    def attach(self, engine: Workflow) -> None:
        """Attach to a trainer or an evaluator."""
        # The first epoch, not STARTED: by then a checkpoint is restored.
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        engine.add_event_handler(Events.TERMINATE, self._close)
        engine.add_event_handler(Events.COMPLETED, self._close)
        on_failure(engine, self._close)

    def _epoch_started(self, engine: Workflow) -> None:
        if self._bar is None and is_main():
            self._bar = self._open(engine)
        self._describe(engine)

    def _open(self, engine: Workflow) -> tqdm:
        stream = self.stream or sys.stderr
        terminal = stream.isatty()
        state, trains = engine.state, hasattr(engine, "optimizer")
        length = state.epoch_length
        return tqdm(
            desc=self.name,
            total=None if length is None else length * (state.max_epochs if trains else 1),
            initial=state.iteration if trains else 0,
            unit="it" if trains else "batch",
            leave=trains or not terminal,
            delay=0.0 if trains or terminal else 30.0,  # thousands of short validations fill no log
            file=stream if terminal else _Lines(stream),
            mininterval=0.5 if terminal else 30.0,
            maxinterval=10.0 if terminal else 60.0,
            bar_format=None if terminal else _LINE,
            dynamic_ncols=terminal,
        )

    def _iteration_completed(self, engine: Workflow) -> None:
        if self._bar is not None:
            self._bar.update()

    def _epoch_completed(self, engine: Workflow) -> None:
        self._describe(engine)

    def _describe(self, engine: Workflow) -> None:
        if self._bar is None:
            return
        parts = []
        if hasattr(engine, "optimizer"):
            parts.append(f"epoch {engine.state.epoch}/{engine.state.max_epochs}")
            parts.append(f"lr {float(engine.optimizer.param_groups[-1]['lr']):.2e}")
        values = scalars({name: engine.state.metrics[name] for name in self.metrics if name in engine.state.metrics})
        parts += [f"{name} {value:.4f}" for name, value in values.items()]
        if self.evaluator is not None and self.evaluator.state.best_metric_epoch > 0:
            state = self.evaluator.state
            parts.append(
                f"best {state.key_metric_name} {float(state.best_metric):.4f} (epoch {state.best_metric_epoch})"
            )
        self._bar.set_postfix_str(", ".join(parts), refresh=False)

    def _close(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
