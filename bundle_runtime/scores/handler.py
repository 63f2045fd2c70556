"""Ignite handlers that score what an evaluation engine predicts, and write the report."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from custom_components.distributed import gather_objects, is_main
from ignite.engine import Engine, Events

from ..data.record import Record
from .collect import each_case
from .report import CaseReport, Report

R = TypeVar("R", bound=Report)
C = TypeVar("C", bound=CaseReport)


class ScoreHandler(ABC, Generic[R]):
    """Fills a report during an evaluation; at its end writes `scores.json` and `cases.csv` and prints the table.

    When the epoch ends `engine.state.metrics` holds what `report.metrics()` gives, of all processes and in each of
    them; the first one writes. Put it before handlers that log metrics.

    Args:
        output_dir: folder of the files.
        header: config, seed, versions, data fingerprint, and which cases failed; written at the top of `scores.json`.
        record: of the network's training; it stands there too, and classes that it did not learn are not scored.
    """

    report: R

    def __init__(
        self, output_dir: str | Path, header: Mapping[str, Any] | None = None, record: Record | None = None
    ) -> None:
        self.output_dir, self.record = Path(output_dir), record
        self.header = dict(header or {}) | ({} if record is None else {"training": record.in_short()})
        self.unlearnt = {} if record is None else record.unlearnt

    def attach(self, engine: Engine) -> None:
        """Register with `engine`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._take)
        # Not COMPLETED: MLflow, TensorBoard and the log read `state.metrics` when the epoch ends, the manifest later.
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    @abstractmethod
    def _start(self, engine: Engine) -> None:
        """Forget the last evaluation."""

    @abstractmethod
    def _take(self, engine: Engine) -> None:
        """Take in what the engine just predicted."""

    @abstractmethod
    def _gather(self) -> R | None:
        """The report of all processes; None where every case failed, which the run says at its end. Collective."""

    def _finish(self, engine: Engine) -> None:
        report = self._gather()
        if report is None:
            return
        self.report = report
        self.report.unlearnt = self.unlearnt
        self.report.check()
        engine.state.metrics.update(self.report.metrics())
        if is_main():
            self._write()

    def _write(self) -> None:
        summary = self.report.write(self.output_dir, self.header)
        print(f"{self.report.table(summary)}\nwritten: {self.output_dir / 'scores.json'}, cases.csv", flush=True)


class CaseHandler(ScoreHandler[C]):
    """Scores case by case: the engine hands over lists of dicts (MONAI's `decollate`).

    Args:
        class_names: of the report.
        output_dir: see `ScoreHandler`.
        header: see `ScoreHandler`.
        record: see `ScoreHandler`.
        **settings: of the report.
    """

    kind: ClassVar[type[CaseReport]]

    def __init__(
        self,
        class_names: Sequence[str],
        output_dir: str | Path,
        header: Mapping[str, Any] | None = None,
        record: Record | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(output_dir, header, record)
        self.settings = {"class_names": class_names, **settings}
        self.report = self._empty()  # a mistake in the settings shows before the first forward pass

    def _empty(self) -> Any:
        return self.kind(**self.settings)

    @abstractmethod
    def _rows(self, found: Mapping[str, Any], item: Mapping[str, Any]) -> list[Any]:
        """The rows of a case, from what is known of it and from the engine's output."""

    def _found(self, source: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is known of a case, from its entry of the batch and of the output."""
        return source

    def _start(self, engine: Engine) -> None:
        self.report = self._empty()

    def _take(self, engine: Engine) -> None:
        each_case(engine, self, self._score, "scored")

    def _score(self, source: Mapping[str, Any], item: dict[str, Any]) -> None:
        found = self._found(source, item)
        case = str(found.get("case") or f"case_{len(self.report.cases)}")
        rows = self._rows(found, item)
        score = self.report.case_score(rows)
        self.report.add(case, str(found.get("patient_id") or ""), rows)
        item["score"] = None if math.isnan(score) else score  # by it the handler of the pictures chooses
        if found.get("warning"):
            self.report.warnings[case] = str(found["warning"])

    def _gather(self) -> C | None:
        report = self._empty()
        for cases, warnings in gather_objects((self.report.cases, self.report.warnings)):
            report.warnings |= warnings
            for (patient, case), rows in cases.items():
                report.add(case, patient, rows)
        return report if report.keys or not self.header.get("failed") else None
