"""Two classifications of the same images: differences in the same resamples of patients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.figures.classification import roc_of_runs
from bundle_runtime.scores.classification_report import OVERALL_WORDS, ClassificationReport
from bundle_runtime.scores.resampling import Pair, Resamples
from bundle_runtime.scores.text import counted_images
from custom_components.errors import InputError
from scipy.stats import binomtest

from .table import side_by_side

REPORT = ClassificationReport
SAME = ("task", "class_names", "parity", "ordered", "confidence")
WORDS = {"auc": "AUC", "average_precision": "AP"}


def differences(a: ClassificationReport, b: ClassificationReport) -> dict[str, Any]:
    """Both sides are scored in the same resamples of patients, so that the spread between patients cancels.

    Returns:
        "classes" (per class) and "macro" hold per ranked score the estimates "a", "b" and "difference" (mean, low,
        high), b minus a; with class indices "overall" as well, and "mcnemar": the images that only one side has right
        and the exact p-value; "patients", "undefined" and notes.

    Raises:
        InputError: labels differ.
    """
    same = (a.labels == b.labels) | (np.isnan(a.labels) & np.isnan(b.labels))
    wrong = np.flatnonzero(~same.reshape(len(same), -1).all(axis=1))
    if len(wrong):
        raise InputError(
            f"different labels for {len(wrong)} image(s), first '{a.cases[wrong[0]].case}'; expected two"
            " evaluations of one list with one set of labels."
        )
    draws = Resamples.draw(a.groups, seed=a.seed)
    (classes_a, means_a, overall_a), (classes_b, means_b, overall_b) = (side.resampled(draws) for side in (a, b))

    def compared(one: dict[str, Pair], other: dict[str, Pair]) -> dict[str, Any]:
        return {key: draws.paired(one[key], other[key], a.confidence) for key in one}

    result: dict[str, Any] = {
        "task": a.task,
        "patients": a.patients,
        "undefined": a.undefined,
        "classes": dict(zip(a.class_names, map(compared, classes_a, classes_b), strict=True)),
        "macro": compared(means_a, means_b),
        "notes": [],
    }
    if a.task == "multi_class":
        result |= {"overall": compared(overall_a, overall_b), "mcnemar": _mcnemar(a, b)}
        if a.patients < len(a.cases):
            independent = "McNemar's test takes the images of one patient for independent; the intervals do not."
            result["notes"].append(independent)
    absent = [f"{name}: {reason}; not compared." for name, reason in a.undefined.items()]
    result["notes"] += [*a.caution(), *a.scarce, *absent]
    return result


def _mcnemar(a: ClassificationReport, b: ClassificationReport) -> dict[str, float | int]:
    """Exact two-sided McNemar test: are the images that only one side has right split evenly?"""
    right_a, right_b = (report.probabilities.argmax(axis=1) == report.labels for report in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a_right": only_a, "only_b_right": only_b, "p_value": p_value}


def blocks(result: dict[str, Any]) -> list[str]:
    """AUC and AP of each class, the macro means, and what class indices have beside them."""
    names, percent = (result["name_a"], result["name_b"]), f"[{result['confidence']:.0%}]"
    counted = counted_images(result["cases"], result["patients"])
    texts = [f"{counted}, in both; difference = {names[1]} - {names[0]}, paired within patients"]
    for key, word in WORDS.items():
        entries = {name: entry[key] for name, entry in result["classes"].items()}
        texts.append(side_by_side(f"{word} {percent}", names, {**entries, "macro mean": result["macro"][key]}))
    if "overall" in result:
        entries = {OVERALL_WORDS[key]: entry for key, entry in result["overall"].items()}
        texts.append(side_by_side(f"score {percent}", names, entries))
        test = result["mcnemar"]
        texts.append(
            f"McNemar (exact): only {names[0]} right {test['only_a_right']}, only {names[1]} right"
            f" {test['only_b_right']}, p = {test['p_value']:.3g}"
        )
    return texts


def picture(reports: Sequence[ClassificationReport], _: object, names: Sequence[str], path: Path) -> None:
    """Draw the ROC curves of both sides, a panel a class."""
    runs = {name: (side.probabilities, side.findings) for name, side in zip(names, reports, strict=True)}
    roc_of_runs(runs, reports[0].class_names, path)
