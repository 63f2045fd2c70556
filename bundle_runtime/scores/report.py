"""What every report of scores has: patients, who are resampled, and two files that hold it."""

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from custom_components.errors import InputError

from ..data.find import some
from ..files import write_csv, write_json
from .intervals import bootstrap_interval
from .text import few_patients

Key = tuple[str, str]  # patient, case; no patient stands for "a patient of its own"
Row = TypeVar("Row")
T = TypeVar("T")


class Report(ABC):
    """Scores of many cases and all that is said about them.

    Attributes:
        ABOUT: attributes that the summary begins with; those of `SETTINGS` are arguments of the constructor.
        RANKED_BY: what orders the cases in `ranking.json`, in words.
        CASE: what a case is called.
        unlearnt: why a class was not learnt, by name; it is not scored.
        warnings: what is wrong with a case, by name.

    Args:
        class_names: names of the classes.
        seed: of the bootstrap.
    """

    ABOUT: ClassVar[tuple[str, ...]]
    SETTINGS: ClassVar[tuple[str, ...]]
    CASE: ClassVar[str] = "case"
    RANKED_BY: ClassVar[str] = "mean Dice"
    confidence: ClassVar[float] = 0.95  # of the bootstrap intervals; cases of one patient are resampled together

    def __init__(self, class_names: Sequence[str], seed: int) -> None:
        self.class_names, self.seed = list(class_names), seed
        self.unlearnt: dict[str, str] = {}
        self.warnings: dict[str, str] = {}

    @property
    @abstractmethod
    def keys(self) -> list[Key]:
        """Patient and name of each case, in the order of all arrays and of `cases.csv`."""

    @property
    @abstractmethod
    def policy(self) -> str:
        """How cases were scored, in words; stands in every file and table."""

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The few numbers for logs, without intervals."""

    @abstractmethod
    def scores(self) -> dict[str, Any]:
        """What the summary holds behind the settings and counts: all scores, and "notes"."""

    @abstractmethod
    def case_scores(self) -> list[float]:
        """How well each case went, from 0 to 1, in the order of `keys`; NaN where nothing of it is scored."""

    @abstractmethod
    def table(self, summary: Mapping[str, Any]) -> str:
        """Plain-text table of a summary."""

    @abstractmethod
    def only(self, keys: Iterable[Key]) -> Self:
        """A report of these cases."""

    @abstractmethod
    def _lines(self) -> tuple[list[str], Iterable[Sequence[Any]]]:
        """Head and lines of `cases.csv`; the case comes first."""

    @classmethod
    @abstractmethod
    def _parse(cls, saved: Mapping[str, Any], lines: Iterable[Mapping[str, str]]) -> Self:
        """A report from the content of the two files."""

    @property
    def groups(self) -> list[str]:
        """Resampling group of each case: its patient, else itself."""
        return [f"patient {patient}" if patient else f"case {case}" for patient, case in self.keys]

    @property
    def patients(self) -> int:
        """How many groups there are."""
        return len(set(self.groups))

    def caution(self) -> list[str]:
        """A warning where the intervals rest on few patients, empty otherwise."""
        return few_patients(self.patients)

    def check(self) -> None:
        """Raise `InputError` where there is nothing to report."""
        if not self.keys:
            raise InputError(f"no {self.CASE} was scored; expected at least one. Check that the list is not empty.")

    def summary(self) -> dict[str, Any]:
        """All scores with intervals and counts, the policy, notes, and what else is needed to read the numbers.

        Raises:
            InputError: there is no case.
        """
        self.check()
        about = {name: getattr(self, name) for name in self.ABOUT}
        return {**about, "cases": len(self.keys), "patients": self.patients, **self.scores()}

    def write(
        self, folder: str | Path, header: Mapping[str, Any] | None = None, notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Write `cases.csv` (a line a case, or a case and class), `ranking.json` and `scores.json`, each atomically.

        Where there are warnings, `cases.csv` has a column of them.

        Args:
            folder: made if missing.
            header: config, seed, versions, data fingerprint: whatever tells where the numbers come from.
            notes: further remarks for the reader.

        Returns:
            The summary.
        """
        summary = self.summary()
        summary["notes"] += list(notes)
        summary["notes"] += [f"{name}: not learnt ({why}), so not scored." for name, why in self.unlearnt.items()]
        alike: dict[str, list[str]] = {}
        for case, text in self.warnings.items():
            alike.setdefault(text, []).append(case)
        summary["notes"] += [
            f"Warning: {some(cases, 3)}: {text}{'' if text.endswith('?') else '.'}" for text, cases in alike.items()
        ]
        summary |= {key: value for key in ("unlearnt", "warnings") if (value := getattr(self, key))}
        head, lines = self._lines()
        if self.warnings:
            head, lines = [*head, "warning"], ([*line, self.warnings.get(line[0], "")] for line in lines)
        write_csv(Path(folder) / "cases.csv", head, lines)
        write_ranking(folder, self.RANKED_BY, zip(self.keys, self.case_scores(), strict=True))
        write_json(Path(folder) / "scores.json", {"header": dict(header or {}), **summary})
        return summary

    @classmethod
    def read(cls, folder: str | Path, *more: str | Path) -> Self:
        """Read back what `write` wrote.

        Args:
            folder: the one that it wrote to.
            more: those of further cases that were scored likewise, such as the other folds of a cross-validation.

        Raises:
            InputError: a file is missing or is not what `write` writes, or the folders differ in their settings.
        """
        saved, lines, unlearnt = read_scores(folder), list[dict[str, str]](), dict[str, str]()
        for place in (folder, *more):
            other = read_scores(place)
            unlearnt |= other.get("unlearnt", {})
            wrong = [key for key in cls.SETTINGS if other.get(key) != saved.get(key)]
            if wrong:
                raise InputError(f"{folder} and {place} differ in {wrong[0]}; expected scores of equal settings.")
            try:
                with (Path(place) / "cases.csv").open(newline="", encoding="utf-8") as stream:
                    lines += csv.DictReader(stream)
            except (OSError, ValueError) as error:
                raise _unreadable(Path(place), error) from error
        try:
            report = cls._parse(saved, lines)
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(Path(folder), error) from error
        report.unlearnt = unlearnt
        return report

    @classmethod
    def _settings(cls, saved: Mapping[str, Any]) -> dict[str, Any]:
        return {name: saved[name] for name in cls.SETTINGS if name in saved}


def write_ranking(folder: str | Path, by: str, cases: Iterable[tuple[Key, float]]) -> None:
    """Write `ranking.json`: the cases that have a score, the worst first."""
    ranked = sorted((case for case in cases if math.isfinite(case[1])), key=lambda case: case[1])
    rows = [{"case": case, "patient_id": patient, "score": score} for (patient, case), score in ranked]
    write_json(Path(folder) / "ranking.json", {"by": by, "cases": rows})


def extremes(ranked: Sequence[T], most: int = 4) -> tuple[list[T], list[T]]:
    """The first and the last of what is ranked, each at most `most` and none twice; the last one first."""
    half = min(most, (len(ranked) + 1) // 2)
    return list(ranked[:half]), list(ranked[half:][-half:])[::-1]


def read_scores(folder: str | Path) -> dict[str, Any]:
    """The content of `scores.json`.

    Raises:
        InputError: it cannot be read.
    """
    path = Path(folder) / "scores.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be read as scores ({error!r}); expected a folder that `evaluate` wrote.")


class CaseReport(Report, Generic[Row]):
    """A report that is filled case by case, with a row for each class but the first, the background."""

    def __init__(self, class_names: Sequence[str], seed: int) -> None:
        super().__init__(class_names, seed)
        self.cases: dict[Key, list[Row]] = {}

    @property
    def keys(self) -> list[Key]:
        """Patient and name of each case, in the order in which they came."""
        return list(self.cases)

    def add(self, case: str, patient_id: str, rows: Sequence[Row]) -> None:
        """Take in the rows of one case, one a class.

        Raises:
            InputError: the case was added before.
        """
        key = (str(patient_id), str(case))
        if key in self.cases:
            raise InputError(
                f"case '{case}' of patient '{patient_id}' was scored twice; expected each case once."
                " Give every item of the datalist its own file name or patient_id."
            )
        self.cases[key] = list(rows)

    def case_scores(self) -> list[float]:
        """The mean Dice over the classes that are scored in each case."""
        return [self.case_score(self.cases[key]) for key in self.keys]

    @staticmethod
    @abstractmethod
    def case_score(rows: Sequence[Row]) -> float:
        """The mean Dice over the classes of a case; NaN where none is scored."""

    def rows(self, column: int) -> list[Row]:
        """The rows of one class (0 is the first behind the background), one a case."""
        return [self.cases[key][column] for key in self.keys]

    def only(self, keys: Iterable[Key]) -> Self:
        """A report of these cases."""
        kept = type(self)(**{name: getattr(self, name) for name in self.SETTINGS})
        kept.cases, kept.unlearnt = {key: self.cases[key] for key in keys}, self.unlearnt
        return kept

    def estimate(self, values: np.ndarray) -> dict[str, float | int]:
        """Mean with its interval of (cases,) values, or of the column means of (cases, classes) values.

        Returns:
            mean, low, high and n, the number of cases that hold a value.
        """
        low, high = bootstrap_interval(values, self.confidence, self.seed, self.groups)
        defined = np.isfinite(values.reshape(len(values), -1)).any(axis=1)
        return {"mean": mean(values), "low": low, "high": high, "n": int(defined.sum())}

    @classmethod
    def _parse(cls, saved: Mapping[str, Any], lines: Iterable[Mapping[str, str]]) -> Self:
        report = cls(**cls._settings(saved))
        for line in lines:
            report.cases.setdefault((line["patient_id"], line["case"]), []).append(cls._row(line))
        return report

    @staticmethod
    @abstractmethod
    def _row(line: Mapping[str, str]) -> Row:
        """A line of `cases.csv` as a row."""


def outcome(in_prediction: float, in_label: float) -> str:
    """What happened to a class of which prediction and label hold so much."""
    if in_label:
        return "found" if in_prediction else "missed"
    return "hallucinated" if in_prediction else "absent"


def mean(values: np.ndarray) -> float:
    """Mean of the means of the columns of (N,) or (N, K) values that hold one; NaN = not scored."""
    columns = values.reshape(len(values), -1)
    kept = columns[:, np.isfinite(columns).any(axis=0)]
    return float(np.mean(np.nanmean(kept, axis=0))) if kept.size else math.nan
