"""Scores of classified images with their intervals."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from custom_components.errors import InputError, one_of

from ..data.schema import TASKS
from ..files import aligned
from . import classification as scores
from .report import Key, Report
from .resampling import RESAMPLES, Pair, Resamples
from .text import FEW, counted_images, show
from .thresholds import fixed_thresholds

OVERALL_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "kappa": "kappa",
}


class Case(NamedTuple):
    """Whose image it is; `patient_id` "" stands for "a patient of its own"."""

    case: str
    patient_id: str
    file: str


class ClassificationReport(Report):
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
        seed: of the bootstrap.
        thresholds: by finding, as `read_thresholds` gives them; None: 0.5 each.

    Raises:
        InputError: no image, arrays that do not fit the names, a probability that is not finite, or an image twice.
    """

    SETTINGS = ("task", "class_names", "parity", "ordered", "seed")
    ABOUT = ("task", "policy", *SETTINGS[1:-1], "confidence", "seed", "resamples", "ece_bins")
    CASE = "image"
    RANKED_BY = "probability of its labels (geometric mean)"
    resamples, ece_bins = RESAMPLES, scores.BINS

    def __init__(
        self,
        class_names: Sequence[str],
        task: str,
        cases: Sequence[Case],
        probabilities: np.ndarray,
        labels: np.ndarray,
        parity: bool = False,
        ordered: bool = False,
        seed: int = 0,
        thresholds: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(class_names, seed)
        self.task, self.cases = one_of("task", task, TASKS), list(cases)
        self.probabilities = np.asarray(probabilities, np.float64)
        self.labels = np.asarray(labels, np.float64 if task == "multi_label" else np.int64)
        self.parity, self.ordered = parity, ordered
        self.thresholds = thresholds or fixed_thresholds(self.class_names)
        self.check()

    def check(self) -> None:
        """Raise `InputError` where arrays do not fit, a probability is not finite, or an image is missing or twice."""
        super().check()
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
        twice = [key for key, number in Counter(self.keys).items() if number > 1]
        if twice:
            raise InputError(
                f"case '{twice[0][1]}' of patient '{twice[0][0]}' is there twice; expected each image once."
            )

    @property
    def keys(self) -> list[Key]:
        """Patient and name of each image, in the order of the arrays."""
        return [(case.patient_id, case.case) for case in self.cases]

    @property
    def policy(self) -> str:
        """How images were scored, in words; stands in every file and table."""
        absent = (
            "counts as AUC 0 in the macro mean, as in the papers' code"
            if self.parity
            else "has no score and is left out of the macro means"
        )
        drawn = "images" if self.patients == len(self.cases) else "patients"
        parts = [
            "AUC is the area under the ROC curve of float32 logits, ties count half; AP is average precision",
            "macro: the plain mean over classes",
            f"a class without positives or without negatives {absent}",
            f"sensitivity at a specificity of at least 90 or 95 %; ECE in {scores.BINS} bins of equal width",
            f"intervals: percentiles of {RESAMPLES} bootstrap resamples of {drawn}",
        ]
        if self.task == "multi_label":
            parts.append("unknown labels are left out")
        else:
            kind = "with quadratic weights" if self.ordered else "without weights"
            parts.append(
                f"AUC and AP are of one class against the rest; the most probable class is called; kappa {kind}"
            )
        return f"{'; '.join(parts)}."

    @property
    def findings(self) -> np.ndarray:
        """Labels as (N, K) 1, 0, NaN."""
        return scores.findings(self.labels, len(self.class_names))

    @property
    def undefined(self) -> dict[str, str]:
        """Why a class has no AUC, by class; empty where all have one."""
        reasons = {name: f"not learnt ({why})" for name, why in self.unlearnt.items()}
        for name, column in zip(self.class_names, self.findings.T, strict=True):
            known, positive = int(np.isfinite(column).sum()), int(np.nansum(column))
            if positive == 0 or positive == known:
                side = "positive" if positive == 0 else "negative"
                reasons[name] = reasons.get(name) or f"no {side} among {known} images with a known label"
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

    def case_scores(self) -> list[float]:
        """The geometric mean, over the classes with a known label, of the probability that the label is given."""
        if self.task == "multi_class":
            return self.probabilities[np.arange(len(self.labels)), self.labels].tolist()
        learnt = [name not in self.unlearnt for name in self.class_names]
        given = np.where(self.labels == 1, self.probabilities, 1 - self.probabilities)[:, learnt]
        known = np.isfinite(self.labels[:, learnt])
        logs = np.where(known, np.log(np.maximum(given, np.finfo(float).tiny)), 0).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.exp(logs / known.sum(axis=1)).tolist()

    def resampled(self, draws: Resamples) -> tuple[list[dict[str, Pair]], dict[str, Pair], dict[str, Pair]]:
        """All scores of the images and of their resamples: the ranked ones by class, their means, the overall ones."""
        point = self._learnt(scores.point_scores(self.probabilities, self.labels, self.ordered))
        drawn = self._learnt(scores.resampled_scores(self.probabilities, self.labels, draws, self.ordered))
        means, drawn_means = self.macros(point), self.macros(drawn)
        classes = [
            {key: (point[key][column], drawn[key][column]) for key in scores.RANKED}
            for column in range(len(self.class_names))
        ]
        overall = {key: (point[key], drawn[key]) for key in scores.OVERALL if key in point}
        return classes, {key: (means[key], drawn_means[key]) for key in scores.RANKED}, overall

    def _learnt(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same, where a class that was not learnt has no ranked score."""
        for column in (self.class_names.index(name) for name in self.unlearnt):
            for key in scores.RANKED:
                values[key][column] = math.nan
        return values

    def metrics(self) -> dict[str, float]:
        """The few numbers for logs, without intervals."""
        point = self._learnt(scores.point_scores(self.probabilities, self.labels, self.ordered))
        means = self.macros(point)
        result = {"macro_auc": float(means["auc"]), "mean_ap": float(means["average_precision"])}
        return result | {name: float(point[name]) for name in scores.OVERALL if name in point}

    def scores(self) -> dict[str, Any]:
        """All scores with intervals and counts.

        Returns:
            "classes": per class the estimates (mean, low, high) of `RANKED`, ece, prevalence, positives, known; for
            findings also "threshold" (value, where it comes from, sensitivity, specificity, f1), for classes precision,
            recall and f1. "macro": the means over the classes that have a score. For classes "overall" (estimates of
            `OVERALL`), "ece" of the most probable class and "confusion_matrix" (true classes down). "undefined":
            classes without AUC and why. "notes".
        """
        draws = Resamples.draw(self.groups, seed=self.seed)
        by_class, means, overall = self.resampled(draws)

        def estimates(pairs: Mapping[str, Pair]) -> dict[str, dict[str, float]]:
            return {key: draws.estimate(pair, self.confidence) for key, pair in pairs.items()}

        classes = {
            name: {**self._counts(column), **estimates(by_class[column])}
            for column, name in enumerate(self.class_names)
        }
        result = {"undefined": self.undefined, "notes": self._notes(), "classes": classes, "macro": estimates(means)}
        if self.task == "multi_class":
            result |= self._overall(estimates(overall), classes)
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
        for key, values in scores.class_precision(self.probabilities, self.labels).items():
            for name, value in zip(self.class_names, values.tolist(), strict=True):
                classes[name][key] = value
        right = self.probabilities.argmax(axis=1) == self.labels
        return {
            "overall": overall,
            "ece": scores.calibration_error(self.probabilities.max(axis=1), right),
            "confusion_matrix": scores.confusion(self.probabilities, self.labels).tolist(),
        }

    def _notes(self) -> list[str]:
        fate = "counted as AUC 0 (parity)" if self.parity else "left out of the macro means"
        notes = [f"{name}: {why}; {fate}." for name, why in self.undefined.items() if name not in self.unlearnt]
        if self.task == "multi_label":
            notes += [f"Threshold of {name}: {t['reason']}." for name, t in self.thresholds.items() if t.get("reason")]
        return notes + self.caution() + self.scarce

    def table(self, summary: Mapping[str, Any]) -> str:
        """Plain-text table of a summary."""
        several, percent = self.task == "multi_label", f"[{self.confidence:.0%}]"
        numbers = ["threshold", "sens.", "spec.", "F1"] if several else ["precision", "recall", "F1"]
        head = [f"AUC {percent}", f"AP {percent}", "sens. at 90 %", "sens. at 95 %", "ECE", "positive/known", *numbers]
        lines, doubtful = [["finding" if several else "class", *head]], False
        for name, entry in summary["classes"].items():
            counts = [_number(entry["ece"]), f"{entry['positives']}/{entry['known']}"]
            if several:
                at = entry["threshold"]
                unsure = at["rule"] != "fixed" and not at["reliable"]  # it was to be chosen, and 0.5 took its place
                doubtful |= unsure
                more = [_number(at["value"]) + "*" * unsure, *_numbers(at, "sensitivity", "specificity", "f1")]
            else:
                more = _numbers(entry, "precision", "recall", "f1")
            values = _ranked(entry)
            if name in self.unlearnt:
                values[0] = "not learnt"
            lines.append([name, *values, *counts, *more])
        counted = len(summary["classes"]) - (0 if self.parity else len(summary["undefined"]))
        lines.append([f"macro mean, {counted} classes", *_ranked(summary["macro"])])
        blocks = [counted_images(summary["cases"], summary["patients"]), aligned(lines)]
        blocks += ["* not reliable, see the notes"] * doubtful
        if not several:
            rows = [[OVERALL_WORDS[key], show(entry, 3)] for key, entry in summary["overall"].items()]
            blocks += ["", aligned([["score", percent], *rows, ["ECE", _number(summary["ece"])]])]
        return "\n".join([*blocks, summary["policy"], *summary["notes"]])

    def _lines(self) -> tuple[list[str], Iterable[Sequence[Any]]]:
        names, several = self.class_names, self.task == "multi_label"
        lines = []
        for case, probabilities, label in zip(self.cases, self.probabilities, self.labels, strict=True):
            if several:
                shown = ["" if math.isnan(value) else f"{value:g}" for value in label]
            else:
                shown = [names[int(label)], names[int(probabilities.argmax())]]
            lines.append([*case, *probabilities.tolist(), *shown])  # a float is written so that nothing of it is lost
        labels = [f"label {name}" for name in names] if several else ["label", "predicted"]
        return [*Case._fields, *(f"probability {name}" for name in names), *labels], lines

    @classmethod
    def _parse(cls, saved: Mapping[str, Any], lines: Iterable[Mapping[str, str]]) -> Self:
        settings = cls._settings(saved)
        names, several = settings["class_names"], settings["task"] == "multi_label"
        cases, probabilities, labels = [], [], []
        for line in lines:
            cases.append(Case(*(line[field] for field in Case._fields)))
            probabilities.append([float(line[f"probability {name}"]) for name in names])
            known = [float(line[f"label {name}"] or "nan") for name in names] if several else names.index(line["label"])
            labels.append(known)
        return cls(cases=cases, probabilities=np.array(probabilities), labels=np.array(labels), **settings)

    def only(self, keys: Iterable[Key]) -> Self:
        """A report of these images."""
        place = {key: row for row, key in enumerate(self.keys)}
        rows = [place[key] for key in keys]
        cases = [self.cases[row] for row in rows]
        settings = {name: getattr(self, name) for name in self.SETTINGS}
        kept = type(self)(cases=cases, probabilities=self.probabilities[rows], labels=self.labels[rows], **settings)
        kept.unlearnt = self.unlearnt
        return kept


def _number(value: float | None) -> str:
    """A number, or "-" where it is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _numbers(entry: Mapping[str, Any], *keys: str) -> list[str]:
    return [_number(entry[key]) for key in keys]


def _ranked(entry: Mapping[str, Any]) -> list[str]:
    """The cells of ranked scores, the first two with their intervals."""
    first, second, *others = scores.RANKED
    return [show(entry[first], 3), show(entry[second], 3), *(_number(entry[key]["mean"]) for key in others)]
