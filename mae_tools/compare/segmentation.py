"""Two segmentations of the same volumes: differences within each case and class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.scores.intervals import mean_of_defined
from bundle_runtime.scores.segmentation_report import METRICS, PERFECT, SegmentationReport
from custom_components.tumour_labels import TISSUES

from .arms import three_cases
from .table import side_by_side

REPORT = SegmentationReport
SAME = ("class_names", "regions", "policy")


def differences(a: SegmentationReport, b: SegmentationReport) -> dict[str, Any]:
    """Differences are b minus a within each case and class, so the spread between cases cancels.

    Where one side hallucinates a structure that the other rightly leaves out, the latter counts as perfect (Dice 1,
    HD95 0): otherwise it would gain nothing by being right.

    Returns:
        "organs" (per class) and "all" hold per metric the estimates "a", "b" and "difference" (mean, low, high, n);
        "missed": the number of structures missed; unit, policy and notes.
    """
    classes: dict[str, dict[str, Any]] = {name: {} for name in a.class_names[1:]}
    overall: dict[str, Any] = {}
    for metric in METRICS:
        sides = {"a": a.matrix(metric), "b": b.matrix(metric), "difference": _difference(a, b, metric)}
        for column, name in enumerate(classes):
            classes[name][metric] = {side: a.estimate(values[:, column]) for side, values in sides.items()}
        overall[metric] = {side: a.estimate(mean_of_defined(values, axis=1)) for side, values in sides.items()}
    return {
        "hd95_unit": a.hd95_unit,
        "missed": {
            side: sum(row.outcome == "missed" for rows in report.cases.values() for row in rows)
            for side, report in (("a", a), ("b", b))
        },
        "regions": a.regions,
        "organs": classes,
        "all": overall,
        "notes": [*a.explanations(), *a.caution()],
    }


def _difference(a: SegmentationReport, b: SegmentationReport, metric: str) -> np.ndarray:
    """b minus a, (cases, classes), NaN where either is undefined or both are rightly empty."""
    perfect = PERFECT[metric]
    difference = b.matrix(metric, absent=perfect) - a.matrix(metric, absent=perfect)
    neither = np.isnan(a.matrix(metric)) & np.isnan(b.matrix(metric))
    return np.where(neither, np.nan, difference)


def blocks(result: dict[str, Any]) -> list[str]:
    """One block a metric, classes down, under a line that says what was paired; then what was missed."""
    names, structure = (result["name_a"], result["name_b"]), "region" if result["regions"] else "organ"
    entries = {**result["organs"], f"mean over cases, {len(result['organs'])} {structure}s": result["all"]}
    texts = [f"{result['cases']} cases in both; difference = {names[1]} - {names[0]}, paired within cases"]
    for metric, unit, digits in (("dice", "", 3), ("hd95", f" {result['hd95_unit']}", 1)):
        title = f"{METRICS[metric]}{unit} [{result['confidence']:.0%}]"
        chosen = {name: entry[metric] for name, entry in entries.items()}
        texts.append(side_by_side(title, names, chosen, digits, pairs=True))
    missed = ", ".join(f"{result['missed'][side]} ({name})" for side, name in zip("ab", names, strict=True))
    return [*texts, f"{structure.capitalize()}s missed: {missed}."]


def picture(
    reports: Sequence[SegmentationReport], folders: Sequence[str | Path], names: Sequence[str], path: Path
) -> None:
    """Draw both sides of three cases, see `three_cases`; raises what that raises."""
    dice = [mean_of_defined(report.matrix("dice", absent=1.0), axis=1) for report in reports]
    three_cases(dice, reports[0], folders, names, list(TISSUES) if reports[0].regions else reports[0].class_names, path)
