"""Two segmentations of the same pictures: differences within each picture, and pooled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.scores.instance_report import OBJECTS, PIXELS, InstanceReport
from bundle_runtime.scores.intervals import mean_of_defined
from bundle_runtime.scores.resampling import Resamples

from .arms import three_cases
from .table import side_by_side

REPORT = InstanceReport
SAME = ("class_names", "policy", "seed")
# Undefined exactly where reference and prediction are both empty, which is then as good as can be.
COMPARED = ("dice", "iou", "aji", "pq", "object_f1")


def differences(a: InstanceReport, b: InstanceReport) -> dict[str, Any]:
    """Differences are b minus a.

    Per image they are taken within each picture, where one that rightly finds nothing counts as perfect beside one that
    invents something; pooled within each bootstrap resample of the patients.

    Returns:
        "classes": per class and metric, "per_image" and "pooled", the estimates "a", "b" and "difference"; notes.
    """
    classes: dict[str, Any] = {}
    draws = Resamples.draw(a.groups, seed=a.seed)
    for column, name in enumerate(a.class_names[1:]):
        (each_a, pooled_a), (each_b, pooled_b) = ((side.per_image(column), side.pooled(column)) for side in (a, b))
        classes[name] = {
            metric: {
                "per_image": _per_image(a, each_a[metric], each_b[metric]),
                "pooled": draws.paired(pooled_a[metric], pooled_b[metric], a.confidence),
            }
            for metric in COMPARED
            if metric in a.titles
        }
    return {"classes": classes, "notes": a.caution()}


def _per_image(report: InstanceReport, of_a: np.ndarray, of_b: np.ndarray) -> dict[str, Any]:
    neither = np.isnan(of_a) & np.isnan(of_b)
    difference = np.where(neither, np.nan, np.nan_to_num(of_b, nan=1.0) - np.nan_to_num(of_a, nan=1.0))
    return {name: report.estimate(values) for name, values in (("a", of_a), ("b", of_b), ("difference", difference))}


def blocks(result: dict[str, Any]) -> list[str]:
    """One block a class, scores down, under a line that says what was paired."""
    names, titles = (result["name_a"], result["name_b"]), {**PIXELS, **OBJECTS}
    texts = [f"{result['cases']} images in both; difference = {names[1]} - {names[0]}, paired"]
    for name, entries in result["classes"].items():
        lines = {
            f"{titles[metric]}, {words}": entry[kind]
            for metric, entry in entries.items()
            for kind, words in (("per_image", "per image"), ("pooled", "pooled"))
        }
        texts.append(side_by_side(f"{name} [{result['confidence']:.0%}]", names, lines, pairs=True))
    return texts


def picture(reports: Sequence[InstanceReport], folders: Sequence[str | Path], names: Sequence[str], path: Path) -> None:
    """Draw both sides of three pictures, see `three_cases`; raises what that raises."""
    columns = range(len(reports[0].class_names) - 1)
    dice = [
        mean_of_defined(np.stack([report.per_image(column)["dice"] for column in columns], axis=1), axis=1)
        for report in reports
    ]
    three_cases(
        [np.nan_to_num(side, nan=1.0) for side in dice], reports[0], folders, names, reports[0].class_names, path
    )
