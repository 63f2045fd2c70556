"""Two evaluations of the same pictures side by side, with the paired difference."""

from pathlib import Path
from typing import Any

import numpy as np

from bundle_runtime.files import aligned
from bundle_runtime.scores.instance_report import InstanceReport
from bundle_runtime.scores.instances import scores, total
from bundle_runtime.scores.resampling import Resamples
from bundle_runtime.scores.segmentation_report import FEW
from bundle_runtime.scores.text import show
from custom_components.errors import InputError

# Undefined exactly where reference and prediction are both empty, which is then as good as can be.
COMPARED = ("dice", "iou", "aji", "pq", "object_f1")


def compare_instances(path_a: str | Path, path_b: str | Path, name_a: str, name_b: str) -> tuple[str, dict[str, Any]]:
    """Compare two folders that `InstanceReport.write` wrote, over the pictures that both hold.

    The difference is b minus a: per image within each picture, where one that rightly finds nothing counts as perfect
    beside one that invents something; pooled within each bootstrap resample of the patients.

    Returns:
        The table as text, and a dict: "classes" holds per class and metric, "per_image" and "pooled", the estimates
        "a", "b" and "difference"; beside them names, policy and notes.

    Raises:
        InputError: a folder cannot be read, classes or policies differ, or no picture is in both.
    """
    a, b = InstanceReport.read(path_a), InstanceReport.read(path_b)
    for what in ("class_names", "policy", "seed"):
        if getattr(a, what) != getattr(b, what):
            raise InputError(
                f"{what} of {path_a} is {getattr(a, what)} and of {path_b} {getattr(b, what)}; expected the same."
                " Evaluate both with the same settings."
            )
    notes = _keep_common(a, b, path_a, path_b)
    metrics = {metric: title for metric, title in a.metrics.items() if metric in COMPARED}
    classes: dict[str, Any] = {}
    for column, name in enumerate(a.class_names[1:]):
        pooled = _pooled(a, b, column)
        classes[name] = {
            metric: {"per_image": _per_image(a, b, metric, column), "pooled": pooled[metric]} for metric in metrics
        }
    patients = len(set(a.groups()))
    if patients < FEW:
        notes.append(f"Only {patients} patients: bootstrap intervals are too narrow with fewer than {FEW}.")
    result = {
        "name_a": name_a,
        "name_b": name_b,
        "policy": a.policy,
        "confidence": a.confidence,
        "cases": len(a.cases),
        "notes": notes,
        "classes": classes,
    }
    return _table(result, metrics), result


def _keep_common(a: InstanceReport, b: InstanceReport, path_a: str | Path, path_b: str | Path) -> list[str]:
    """Reduce both reports to the pictures that both hold, in one order; a note for each side that loses some."""
    common = [key for key in a.cases if key in b.cases]
    if not common:
        raise InputError(f"{path_a} and {path_b} share no case; expected two evaluations of one list.")
    notes = []
    for report, path in ((a, path_a), (b, path_b)):
        if extra := len(report.cases) - len(common):
            notes.append(f"Left out, as only {path} holds them: {extra} case(s).")
        report.cases = {key: report.cases[key] for key in common}
    return notes


def _per_image(a: InstanceReport, b: InstanceReport, metric: str, column: int) -> dict[str, Any]:
    of_a, of_b = a.matrix(metric, column), b.matrix(metric, column)
    neither = np.isnan(of_a) & np.isnan(of_b)
    difference = np.where(neither, np.nan, np.nan_to_num(of_b, nan=1.0) - np.nan_to_num(of_a, nan=1.0))
    return {"a": a.per_image(of_a), "b": b.per_image(of_b), "difference": a.per_image(difference)}


def _pooled(a: InstanceReport, b: InstanceReport, column: int) -> dict[str, Any]:
    """Both sides are resampled alike: same groups, same seed."""
    draws = Resamples.draw(a.groups(), 1, a.seed)
    points = [scores(total([rows[column] for rows in report.cases.values()])) for report in (a, b)]
    spreads = [report.resampled(column) for report in (a, b)]
    result = {}
    for metric in COMPARED:
        values = {"a": points[0][metric], "b": points[1][metric], "difference": points[1][metric] - points[0][metric]}
        spread = {"a": spreads[0][metric], "b": spreads[1][metric]}
        spread["difference"] = spread["b"] - spread["a"]
        entry = {}
        for name, value in values.items():
            low, high = draws.interval(spread[name], a.confidence)
            entry[name] = {"mean": float(value), "low": low, "high": high}
        result[metric] = entry
    return result


def _table(result: dict[str, Any], metrics: dict[str, str]) -> str:
    head = f"{result['cases']} images in both; difference = {result['name_b']} - {result['name_a']}, paired"
    blocks = [head]
    for name, entries in result["classes"].items():
        lines = [[f"{name} [{result['confidence']:.0%}]", result["name_a"], result["name_b"], "difference", "pairs"]]
        for metric, title in metrics.items():
            for kind, words in (("per_image", "per image"), ("pooled", "pooled")):
                entry = entries[metric][kind]
                pairs = str(entry["difference"].get("n", ""))
                a, b = show(entry["a"], 3), show(entry["b"], 3)
                lines.append([f"{title}, {words}", a, b, show(entry["difference"], 3, sign="+"), pairs])
        blocks.append(aligned(lines))
    return "\n".join([*blocks, result["policy"], *result["notes"]])
