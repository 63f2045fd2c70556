"""Two classifications of the same images side by side, with paired differences."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from bundle_runtime.files import aligned
from bundle_runtime.scores import classification as scores
from bundle_runtime.scores.classification_report import RESAMPLES, ClassificationReport
from bundle_runtime.scores.classification_text import OVERALL_WORDS
from bundle_runtime.scores.resampling import Resamples
from bundle_runtime.scores.segmentation_report import FEW
from bundle_runtime.scores.text import counted_images, show
from custom_components.errors import InputError

WORDS = {"auc": "AUC", "average_precision": "AP", "sensitivity_90": "sens. at 90 %", "sensitivity_95": "sens. at 95 %"}
SETTINGS = ("task", "class_names", "parity", "ordered", "confidence")


def compare_classification(
    path_a: str | Path, path_b: str | Path, name_a: str, name_b: str
) -> tuple[str, dict[str, Any]]:
    """Compare two score folders class by class over the images that both hold; differences are b minus a.

    Both sides are scored in the same resamples of patients, so that the spread between patients cancels.

    Args:
        path_a: folder written by `ClassificationReport.write`.
        path_b: another one, of the same task and classes.
        name_a: what to call the first.
        name_b: what to call the second.

    Returns:
        The table as text, and a dict: "classes" (per class) and "macro" hold per ranked score the estimates "a", "b"
        and "difference" (mean, low, high); with class indices "overall" as well, and "mcnemar": the images that only
        one side has right and the exact p-value.

    Raises:
        InputError: a folder cannot be read, settings or labels differ, or no image is in both.
    """
    a, b = ClassificationReport.read(path_a), ClassificationReport.read(path_b)
    for what in SETTINGS:
        if getattr(a, what) != getattr(b, what):
            raise InputError(
                f"{path_a} and {path_b} differ in {what} ({getattr(a, what)} / {getattr(b, what)}); expected the same."
                " Evaluate both with the same settings."
            )
    a, b, notes = _common(a, b, path_a, path_b)
    resamples = Resamples.draw(a.groups, RESAMPLES, a.seed)
    sides = [_all_scores(report, resamples) for report in (a, b)]
    result: dict[str, Any] = {
        "name_a": name_a,
        "name_b": name_b,
        "task": a.task,
        "policy": a.policy,
        "confidence": a.confidence,
        "cases": len(a.cases),
        "patients": resamples.patients,
        "undefined": a.undefined,
        "classes": {
            name: {key: _paired(sides, key, resamples, a.confidence, column) for key in scores.RANKED}
            for column, name in enumerate(a.class_names)
        },
        "macro": {key: _paired(sides, f"macro {key}", resamples, a.confidence) for key in scores.RANKED},
    }
    if a.task == "multi_class":
        result["overall"] = {key: _paired(sides, key, resamples, a.confidence) for key in scores.OVERALL}
        result["mcnemar"] = _mcnemar(a, b)
        if resamples.patients < len(a.cases):
            notes.append("McNemar's test takes the images of one patient for independent; the intervals do not.")
    if 1 < resamples.patients < FEW:
        notes.append(f"Only {resamples.patients} patients: intervals are too narrow with fewer than {FEW}.")
    notes += a.scarce
    result["notes"] = [*notes, *(f"{name}: {reason}; not compared." for name, reason in a.undefined.items())]
    return _table(result), result


def _common(
    a: ClassificationReport, b: ClassificationReport, path_a: str | Path, path_b: str | Path
) -> tuple[ClassificationReport, ClassificationReport, list[str]]:
    """Both reports reduced to the images that both hold, in one order, and a note for each side that loses some."""
    keys = [{(case.patient_id, case.case): row for row, case in enumerate(report.cases)} for report in (a, b)]
    both = sorted(keys[0].keys() & keys[1].keys())
    if not both:
        raise InputError(f"{path_a} and {path_b} share no image; expected two evaluations of one list.")
    notes, kept = [], []
    for report, rows, path in ((a, keys[0], path_a), (b, keys[1], path_b)):
        if extra := len(rows) - len(both):
            notes.append(f"Left out, as only {path} holds them: {extra} image(s).")
        order = [rows[key] for key in both]
        settings = {name: getattr(report, name) for name in (*SETTINGS, "seed")}
        cases = [report.cases[row] for row in order]
        kept.append(
            ClassificationReport(
                cases=cases, probabilities=report.probabilities[order], labels=report.labels[order], **settings
            )
        )
    same = (kept[0].labels == kept[1].labels) | (np.isnan(kept[0].labels) & np.isnan(kept[1].labels))
    wrong = np.flatnonzero(~same.reshape(len(both), -1).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{path_a} and {path_b} have different labels for {len(wrong)} image(s), first '{both[wrong[0]][1]}';"
            " expected two evaluations of one list with one set of labels."
        )
    return kept[0], kept[1], notes


def _all_scores(report: ClassificationReport, resamples: Resamples) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each score of the sample and of the resamples, by name; "macro <score>" for the means over classes."""
    point = scores.point_scores(report.probabilities, report.labels, report.ordered)
    drawn = scores.resampled_scores(report.probabilities, report.labels, resamples, report.ordered)
    means, drawn_means = report.macros(point), report.macros(drawn)
    pairs = {key: (point[key], drawn[key]) for key in point}
    return pairs | {f"macro {key}": (means[key], drawn_means[key]) for key in means}


def _paired(
    sides: list[dict[str, tuple[np.ndarray, np.ndarray]]],
    key: str,
    resamples: Resamples,
    confidence: float,
    column: int | None = None,
) -> dict[str, dict[str, float]]:
    """Estimates of both sides and of their difference; `column` is a class, None for a score without classes."""
    (point_a, drawn_a), (point_b, drawn_b) = (
        tuple(values if column is None else values[column] for values in side[key]) for side in sides
    )
    pairs = {"a": (point_a, drawn_a), "b": (point_b, drawn_b), "difference": (point_b - point_a, drawn_b - drawn_a)}
    return {name: scores.estimate(point, drawn, resamples, confidence) for name, (point, drawn) in pairs.items()}


def _mcnemar(a: ClassificationReport, b: ClassificationReport) -> dict[str, float | int]:
    """Exact two-sided McNemar test: are the images that only one side has right split evenly?"""
    right_a, right_b = (report.probabilities.argmax(axis=1) == report.labels for report in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a_right": only_a, "only_b_right": only_b, "p_value": p_value}


def _table(result: dict[str, Any]) -> str:
    """AUC and AP of each class, the macro means, and what class indices have beside them."""
    names = [result["name_a"], result["name_b"], "difference"]
    blocks = [
        f"{counted_images(result['cases'], result['patients'])}, in both; difference = {result['name_b']} -"
        f" {result['name_a']}, paired within patients"
    ]

    def cells(entry: dict[str, Any]) -> list[str]:
        return [show(entry["a"], 3), show(entry["b"], 3), show(entry["difference"], 3, sign="+")]

    percent = f"[{result['confidence']:.0%}]"
    for key in ("auc", "average_precision"):
        rows = [[name, *cells(entry[key])] for name, entry in result["classes"].items()]
        blocks.append(
            aligned([[f"{WORDS[key]} {percent}", *names], *rows, ["macro mean", *cells(result["macro"][key])]])
        )
    if "overall" in result:
        rows = [[OVERALL_WORDS[key], *cells(entry)] for key, entry in result["overall"].items()]
        blocks.append(aligned([[f"score {percent}", *names], *rows]))
        test = result["mcnemar"]
        blocks.append(
            f"McNemar (exact): only {result['name_a']} right {test['only_a_right']}, only {result['name_b']} right"
            f" {test['only_b_right']}, p = {test['p_value']:.3g}"
        )
    return "\n".join([*blocks, result["policy"], *result["notes"]])
