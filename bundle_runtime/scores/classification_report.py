"""Scores of classified images with their intervals, and the two files that hold them."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from custom_components.errors import InputError

from ..files import write_csv, write_json
from . import classification as scores
from .classification_text import policy, table
from .resampling import Resamples
from .segmentation_report import FEW
from .thresholds import fixed_thresholds

RESAMPLES = 1000
UNKNOWN = ""


class Case(NamedTuple):
    """Whose image it is; `patient_id` "" stands for "a patient of its own"."""

    case: str
    patient_id: str
    file: str


class ClassificationReport:
    """Probabilities and labels of many images, and everything that is said about them.

    Args:
        class_names: the K findings or classes.
        task: "multi_label" or "multi_class".
        cases: the N images.
        probabilities: (N, K) float64.
        labels: (N, K) 1, 0 or NaN for unknown; or (N,) class indices.
        parity: a finding without positives or without negatives counts as AUC 0 in the macro mean, as in the papers'
            code; otherwise it is named and left out.
        ordered: the classes are grades; kappa is then quadratic.
        confidence: of the bootstrap intervals; images of one patient are drawn together.
        seed: of the bootstrap.
        thresholds: by finding, as `read_thresholds` gives them; None: 0.5 each.

    Raises:
        InputError: no image, arrays that do not fit the names, a probability that is not finite, or an image twice.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        task: str,
        cases: Sequence[Case],
        probabilities: np.ndarray,
        labels: np.ndarray,
        parity: bool = False,
        ordered: bool = False,
        confidence: float = 0.95,
        seed: int = 0,
        thresholds: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.class_names, self.task = list(class_names), scores.check_task(task)
        self.cases = list(cases)
        self.probabilities = np.asarray(probabilities, np.float64)
        self.labels = np.asarray(labels, np.float64 if task == "multi_label" else np.int64)
        self.parity, self.ordered, self.confidence, self.seed = parity, ordered, confidence, seed
        self.thresholds = thresholds or fixed_thresholds(self.class_names)
        self._check()

    def _check(self) -> None:
        if not self.cases:
            raise InputError("no image was scored; expected at least one. Check that the list is not empty.")
        shape = (len(self.cases), len(self.class_names))
        expected = shape if self.task == "multi_label" else shape[:1]
        if self.probabilities.shape != shape or self.labels.shape != expected:
            raise InputError(
                f"probabilities {self.probabilities.shape} and labels {self.labels.shape} do not fit {shape[0]} images"
                f" and {shape[1]} classes; check class_names and task ({self.task})."
            )
        wrong = np.flatnonzero(~np.isfinite(self.probabilities).all(axis=1))
        if len(wrong):
            raise InputError(
                f"{self.cases[wrong[0]].file}: the network's output is not finite, as for {len(wrong) - 1} other"
                " image(s); expected numbers. Check the weights, and that amp is bf16 or off."
            )
        seen: set[tuple[str, str]] = set()
        for case in self.cases:
            if (key := (case.patient_id, case.case)) in seen:
                raise InputError(
                    f"case '{case.case}' of patient '{case.patient_id}' is there twice; expected each image once."
                )
            seen.add(key)

    @property
    def groups(self) -> list[str]:
        """Resampling group of each image: its patient, else itself."""
        return [f"patient {c.patient_id}" if c.patient_id else f"case {c.case}" for c in self.cases]

    @property
    def policy(self) -> str:
        """How images were scored, in words."""
        drawn = "images" if len(set(self.groups)) == len(self.cases) else "patients"
        return policy(self.task, self.parity, self.ordered, RESAMPLES, drawn)

    @property
    def findings(self) -> np.ndarray:
        """Labels as (N, K) 1, 0, NaN."""
        return scores.findings(self.labels, len(self.class_names))

    @property
    def undefined(self) -> dict[str, str]:
        """Why a class has no AUC, by class; empty where all have one."""
        reasons = {}
        for name, column in zip(self.class_names, self.findings.T, strict=True):
            known, positive = int(np.isfinite(column).sum()), int(np.nansum(column))
            if positive == 0 or positive == known:
                side = "positive" if positive == 0 else "negative"
                reasons[name] = f"no {side} among {known} images with a known label"
        return reasons

    @property
    def scarce(self) -> list[str]:
        """A remark on the classes that too few patients show, or lack, for an interval; empty where there are none.

        Resamples of one or two positive patients hardly differ: such an interval looks narrow because nothing varies.
        """
        patients, names = np.array(self.groups), []
        for name, column in zip(self.class_names, self.findings.T, strict=True):
            sides = [len(np.unique(patients[column == side])) for side in (0, 1)]
            if name not in self.undefined and min(sides) < FEW:
                names.append(f"{name} ({min(sides)})")
        if not names or len(np.unique(patients)) < FEW:  # the latter is said of all classes at once
            return []
        text = f"with the finding or without it, whichever is rarer, there are fewer than {FEW} patients"
        return [f"Bootstrap intervals of {', '.join(names)} are too narrow: {text} (their number)."]

    @property
    def zero(self) -> np.ndarray | None:
        """(K,) bool, classes that count as 0; None outside parity."""
        return np.array([name in self.undefined for name in self.class_names]) if self.parity else None

    def macros(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Means over classes of each ranked score; parity concerns the AUC alone."""
        return {key: scores.macro(values[key], self.zero if key == "auc" else None) for key in scores.RANKED}

    def metrics(self) -> dict[str, float]:
        """The few numbers for logs, without intervals."""
        point = scores.point_scores(self.probabilities, self.labels, self.ordered)
        means = self.macros(point)
        result = {"macro_auc": float(means["auc"]), "mean_ap": float(means["average_precision"])}
        return result | {name: float(point[name]) for name in scores.OVERALL if name in point}

    def summary(self) -> dict[str, Any]:
        """All scores with intervals and counts.

        Returns:
            "classes": per class the estimates (mean, low, high) of `RANKED`, ece, prevalence, positives, known; for
            findings also "threshold" (value, where it comes from, sensitivity, specificity, f1), for classes precision,
            recall and f1. "macro": the means over the classes that have a score. For classes "overall" (estimates of
            `OVERALL`), "ece" of the most probable class and "confusion_matrix" (true classes down). "undefined":
            classes without AUC and why. "policy", "notes" and what else is needed to read the numbers.
        """
        resamples = Resamples.draw(self.groups, RESAMPLES, self.seed)
        point = scores.point_scores(self.probabilities, self.labels, self.ordered)
        spread = scores.resampled_scores(self.probabilities, self.labels, resamples, self.ordered)

        def estimate(value: Any, values: np.ndarray) -> dict[str, float]:
            return scores.estimate(value, values, resamples, self.confidence)

        classes = {
            name: {
                **self._counts(column),
                **{key: estimate(point[key][column], spread[key][column]) for key in scores.RANKED},
            }
            for column, name in enumerate(self.class_names)
        }
        means, drawn_means = self.macros(point), self.macros(spread)
        result: dict[str, Any] = {
            "task": self.task,
            "policy": self.policy,
            "class_names": self.class_names,
            "parity": self.parity,
            "ordered": self.ordered,
            "confidence": self.confidence,
            "seed": self.seed,
            "resamples": RESAMPLES,
            "ece_bins": scores.BINS,
            "cases": len(self.cases),
            "patients": resamples.patients,
            "undefined": self.undefined,
            "notes": self._notes(resamples.patients),
            "classes": classes,
            "macro": {key: estimate(means[key], drawn_means[key]) for key in scores.RANKED},
        }
        if self.task == "multi_class":
            result |= self._overall({key: estimate(point[key], spread[key]) for key in scores.OVERALL}, classes)
        return result

    def _counts(self, column: int) -> dict[str, Any]:
        """Numbers of one class that have no interval."""
        name, labels, probabilities = self.class_names[column], self.findings[:, column], self.probabilities[:, column]
        known, positives = int(np.isfinite(labels).sum()), int(np.nansum(labels))
        entry: dict[str, Any] = {
            "positives": positives,
            "known": known,
            "prevalence": positives / known if known else math.nan,
            "ece": scores.calibration_error(probabilities, labels),
        }
        if self.task == "multi_label":
            threshold = self.thresholds[name]
            reached = scores.at_threshold(probabilities, labels, float(threshold["value"]))
            entry["threshold"] = {**threshold, **reached}
        return entry

    def _overall(self, overall: dict[str, Any], classes: dict[str, Any]) -> dict[str, Any]:
        """What only class indices have; adds to the entries of `classes`."""
        by_class = scores.rows_by_class(scores.class_precision(self.probabilities, self.labels), self.class_names)
        for name, entry in by_class.items():
            classes[name].update(entry)
        right = self.probabilities.argmax(axis=1) == self.labels
        return {
            "overall": overall,
            "ece": scores.calibration_error(self.probabilities.max(axis=1), right),
            "confusion_matrix": scores.confusion(self.probabilities, self.labels).tolist(),
        }

    def _notes(self, patients: int) -> list[str]:
        fate = "counted as AUC 0 (parity)" if self.parity else "left out of the macro means"
        notes = [f"{name}: {reason}; {fate}." for name, reason in self.undefined.items()]
        if self.task == "multi_label":
            notes += [f"Threshold of {name}: {t['reason']}." for name, t in self.thresholds.items() if t.get("reason")]
        if patients == 1:
            notes.append("Only one patient: no interval can be given.")
        elif patients < FEW:
            notes.append(f"Only {patients} patients: bootstrap intervals are too narrow with fewer than {FEW}.")
        return notes + self.scarce

    def write(self, folder: str | Path, header: Mapping[str, Any] | None = None, notes: Sequence[str] = ()) -> str:
        """Write `cases.csv` (a line per image) and `scores.json` (the summary), each atomically.

        Args:
            folder: made if missing.
            header: config, seed, versions, data fingerprint: whatever tells where the numbers come from.
            notes: further remarks for the reader.

        Returns:
            The table as text.
        """
        summary = self.summary()
        summary["notes"] += list(notes)
        self._write_cases(Path(folder) / "cases.csv")
        write_json(Path(folder) / "scores.json", {"header": dict(header or {}), **summary})
        return table(summary)

    def _write_cases(self, path: Path) -> None:
        names = self.class_names
        several = self.task == "multi_label"
        labels = [f"label {name}" for name in names] if several else ["label", "predicted"]
        rows = []
        for case, probabilities, label in zip(self.cases, self.probabilities, self.labels, strict=True):
            if several:
                shown = [UNKNOWN if math.isnan(value) else f"{value:g}" for value in label]
            else:
                shown = [names[int(label)], names[int(probabilities.argmax())]]
            rows.append([*case, *probabilities.tolist(), *shown])  # a float is written so that it is read without loss
        write_csv(path, [*Case._fields, *(f"probability {name}" for name in names), *labels], rows)

    @classmethod
    def read(cls, folder: str | Path) -> "ClassificationReport":
        """Read back what `write` wrote.

        Raises:
            InputError: a file is missing or is not what `write` writes.
        """
        path = Path(folder) / "scores.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            keys = ("class_names", "task", "parity", "ordered", "confidence", "seed")
            settings = {name: content[name] for name in keys}
            names = settings["class_names"]
            path = Path(folder) / "cases.csv"
            cases, probabilities, labels = [], [], []
            with path.open(newline="", encoding="utf-8") as stream:
                for line in csv.DictReader(stream):
                    cases.append(Case(*(line[field] for field in Case._fields)))
                    probabilities.append([float(line[f"probability {name}"]) for name in names])
                    if settings["task"] == "multi_label":
                        labels.append([float(line[f"label {name}"] or "nan") for name in names])
                    else:
                        labels.append(names.index(line["label"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read as scores ({error}); expected a folder that `evaluate` wrote."
            ) from error
        return cls(cases=cases, probabilities=np.array(probabilities), labels=np.array(labels), **settings)
