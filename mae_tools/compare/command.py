"""Two evaluations of the same cases side by side, with the paired difference."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bundle_runtime.files import aligned, write_atomically, write_json
from bundle_runtime.scores.instance_report import TASK as PICTURES
from bundle_runtime.scores.segmentation_report import METRICS, PERFECT, SegmentationReport, mean_over_organs
from bundle_runtime.scores.text import show
from custom_components.errors import InputError

from .classification import compare_classification
from .instances import compare_instances

SEGMENTATION = "a segmentation"


def compare(
    path_a: str | Path,
    path_b: str | Path,
    name_a: str,
    name_b: str,
    write: str | Path | None = None,
) -> tuple[str, dict[str, Any]]:
    """Compare two score folders over the cases that both hold: organ by organ, or finding by finding.

    What follows is about volumes; for others see `compare_classification` and, for masks, `compare_instances`.

    The difference is b minus a within each case and organ, so the spread between cases cancels. Where one side
    hallucinates an organ that the other rightly leaves out, the latter counts as perfect (Dice 1, HD95 0): otherwise it
    would gain nothing by being right.

    Args:
        path_a: Folder written by `SegmentationReport.write` or `ClassificationReport.write`.
        path_b: Another one, scored with the same classes and policy.
        name_a: What to call the first, for example "from scratch".
        name_b: What to call the second, for example "MAE".
        write: Folder that receives `comparison.txt` and `comparison.json`; None: nothing is written.

    Returns:
        The table as text, and a dict: "organs" and "all" hold per metric the estimates "a", "b" and "difference" (mean,
        low, high, n); beside them the names, the number of missed organs, the policy and the notes.

    Raises:
        InputError: A folder cannot be read, kinds, classes or policies differ, or no case is in both.
    """
    kinds = [_task(path) for path in (path_a, path_b)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"{path_a} holds scores of {kinds[0]} and {path_b} of {kinds[1]}; expected two evaluations of one kind."
        )
    if kinds[0] != SEGMENTATION:
        of_kind = compare_instances if kinds[0] == PICTURES else compare_classification
        return _written(*of_kind(path_a, path_b, name_a, name_b), write)
    a, b = SegmentationReport.read(path_a), SegmentationReport.read(path_b)
    notes = _keep_common(a, b, path_a, path_b)
    organs: dict[str, dict[str, Any]] = {organ: {} for organ in a.class_names[1:]}
    overall: dict[str, Any] = {}
    for metric in METRICS:
        sides = {"a": a.matrix(metric), "b": b.matrix(metric), "difference": _difference(a, b, metric)}
        for column, organ in enumerate(organs):
            organs[organ][metric] = {name: a.estimate(values[:, column]) for name, values in sides.items()}
        overall[metric] = {name: a.estimate(mean_over_organs(values)) for name, values in sides.items()}
    result = {
        "name_a": name_a,
        "name_b": name_b,
        "policy": a.policy,
        "hd95_unit": a.unit,
        "confidence": a.confidence,
        "cases": len(a.cases),
        "missed": {"a": _missed(a), "b": _missed(b)},
        "regions": a.regions,
        "notes": [*notes, *a.explanations(), *a.caution()],
        "organs": organs,
        "all": overall,
    }
    return _written(_table(result, a.structure), result, write)


def _written(text: str, result: dict[str, Any], write: str | Path | None) -> tuple[str, dict[str, Any]]:
    if write is not None:
        write_atomically(Path(write) / "comparison.txt", text + "\n")
        write_json(Path(write) / "comparison.json", result)
    return text, result


def _task(folder: str | Path) -> str:
    """What was scored: the task of a classification, else a segmentation, whose files do not say so."""
    path = Path(folder) / "scores.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("task", SEGMENTATION))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as scores ({error}); expected a folder that `evaluate` wrote."
        ) from error


def _keep_common(a: SegmentationReport, b: SegmentationReport, path_a: str | Path, path_b: str | Path) -> list[str]:
    """Reduce both reports to the cases that both hold; returns a note for each side that loses some."""
    for what in ("class_names", "regions", "policy"):
        if getattr(a, what) != getattr(b, what):
            raise InputError(
                f"{path_a} and {path_b} differ in {what} ({getattr(a, what)} / {getattr(b, what)}); expected the same."
                " Evaluate both with the same settings."
            )
    common = a.cases.keys() & b.cases.keys()
    if not common:
        raise InputError(f"{path_a} and {path_b} share no case; expected two evaluations of one list.")
    notes = []
    for report, path in ((a, path_a), (b, path_b)):
        if extra := len(report.cases) - len(common):
            notes.append(f"Left out, as only {path} holds them: {extra} case(s).")
        report.cases = {key: report.cases[key] for key in common}
    return notes


def _missed(report: SegmentationReport) -> int:
    return sum(row.outcome == "missed" for rows in report.cases.values() for row in rows.values())


def _difference(a: SegmentationReport, b: SegmentationReport, metric: str) -> np.ndarray:
    """b minus a, (cases, organs), NaN where either is undefined or both are rightly empty."""
    perfect = PERFECT[metric]
    difference = b.matrix(metric, absent=perfect) - a.matrix(metric, absent=perfect)
    neither = np.isnan(a.matrix(metric)) & np.isnan(b.matrix(metric))
    return np.where(neither, np.nan, difference)


def _table(result: dict[str, Any], structure: str) -> str:
    """One block per metric: organs down; both sides, their difference and the number of paired cases across."""
    head = f"{result['cases']} cases in both; difference = {result['name_b']} - {result['name_a']}, paired within cases"
    blocks = [head]
    entries = {**result["organs"], f"mean over cases, {len(result['organs'])} {structure}s": result["all"]}
    for metric, unit, digits in (("dice", "", 3), ("hd95", f" {result['hd95_unit']}", 1)):
        title = f"{METRICS[metric]}{unit} [{result['confidence']:.0%}]"
        lines = [[title, result["name_a"], result["name_b"], "difference", "pairs"]]
        for organ, entry in entries.items():
            a, b, difference = (entry[metric][name] for name in ("a", "b", "difference"))
            cells = [show(a, digits), show(b, digits), show(difference, digits, sign="+"), str(difference["n"])]
            lines.append([organ, *cells])
        blocks.append(aligned(lines))
    missed = ", ".join(f"{result['missed'][side]} ({result[f'name_{side}']})" for side in ("a", "b"))
    missed = f"{structure.capitalize()}s missed: {missed}."
    return "\n".join([*blocks, missed, result["policy"], *result["notes"]])
