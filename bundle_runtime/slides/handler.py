"""What every run over slides shares: tiles are collected slide by slide, and a slide is written with its last tile."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from custom_components.distributed import say
from custom_components.errors import InputError
from ignite.engine import Events
from monai.engines.workflow import Workflow

from ..figures.panels import COLOURS
from ..files import write_csv
from .stream import Plan, SlideInputs

Held = TypeVar("Held")


class SlideHandler(ABC, Generic[Held]):
    """Attach to an evaluator over `SlideTiles` with `decollate: false`. A slide that fails is listed, others go on.

    Args:
        inputs: the slides.
        output_dir: folder of the results, in it one a slide, and `slides.csv` with a line a slide.
        columns: of that table.

    Attributes:
        rows: lines of the table so far.
    """

    def __init__(self, inputs: SlideInputs, output_dir: str | Path, columns: Sequence[str]) -> None:
        self.inputs, self.folder, self.table = inputs, Path(output_dir), list(columns)
        self._start()

    @abstractmethod
    def begin_slide(self, plan: Plan) -> Held:
        """What collects the results of one slide."""

    @abstractmethod
    def take(self, engine: Workflow, plan: Plan, held: Held, tiles: np.ndarray) -> None:
        """Add the network's output for tiles (B,) of the slide's grid."""

    @abstractmethod
    def write_slide(self, plan: Plan, held: Held) -> dict[str, Any]:
        """Write everything about one slide and return its line of `slides.csv`."""

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.STARTED, lambda _: self._start())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)  # before the manifest is completed

    def _start(self) -> None:
        self._held: dict[int, Held] = {}
        self._left = {number: max(len(plan.grid), 1) for number, plan in enumerate(self.inputs.plans)}
        self._broken: set[int] = set()
        self.rows: list[dict[str, Any]] = []
        self._began, self._tiles = time.monotonic(), 0

    def _collect(self, engine: Workflow) -> None:
        batch: Any = engine.state.batch
        number, problem = int(batch["slide"]), batch["problem"]
        plan = self.inputs.plans[number]
        tiles = batch["index"].numpy()
        if problem:
            self._set_aside(number, problem)
        if number in self._broken:
            return
        if number not in self._held:
            self._held[number] = self.begin_slide(plan)
        try:
            if tiles[0] >= 0:
                self.take(engine, plan, self._held[number], tiles)
                self._tiles += len(tiles)
            self._left[number] -= len(tiles)
            if self._left[number] == 0:
                self.rows.append(self.write_slide(plan, self._held.pop(number)))
        except Exception as error:
            if isinstance(error, InputError | TypeError) and self._left[number]:
                raise  # the network or the engine is another one, which no slide can help
            self._set_aside(number, error)  # whatever it was, the others go on

    def _set_aside(self, number: int, reason: str | BaseException) -> None:
        """Leave a slide out, and say why, once."""
        self._held.pop(number, None)
        if number not in self._broken:
            self._broken.add(number)
            self.inputs.fail(self.inputs.plans[number].entry, reason)
            say(f"WARNING: {self.inputs.problems[-1]}.")

    def _finish(self, engine: Workflow) -> None:
        seconds = time.monotonic() - self._began
        write_csv(self.folder / "slides.csv", self.table, self.rows)
        engine.state.metrics["tiles_per_second"] = self._tiles / max(seconds, 1e-9)
        say(
            f"{len(self.rows)} slide(s), {self._tiles} tiles in {seconds:.1f} s "
            f"({engine.state.metrics['tiles_per_second']:.1f} tiles/s, reading and writing included): {self.folder}"
        )


def class_colour(number: int) -> list[int]:
    """Red, green and blue, 0 to 255, of a class in GeoJSON."""
    return [round(255 * part) for part in COLOURS[number % len(COLOURS)][:3]]


def rounded(value: float, digits: int = 6) -> float:
    """A number for a table."""
    return round(float(value), digits)
