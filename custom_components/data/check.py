"""Check a datalist before a GPU is touched: every file is opened, every problem collected and shown in one report."""

import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..distributed import first_on_main, is_main
from ..errors import InputError
from ..files import write_atomically
from . import datalist as datalists
from .check_case import CaseReport, Problem, check_item, inspect_item
from .check_html import render
from .schema import SECTIONS, Item, consistency_problems
from .volume import millimetres

_FAR_SPACING = 2.0  # times the median of the list


def check(
    datalist_path: str | Path,
    dataset_dir: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    channels: int = 1,
    roi_size: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    out: str | Path | None = None,
    sections: str | Sequence[str] | None = None,
) -> dict[str, Any]:
    """Read every file of a datalist, print a table, write `check.json` and `check.html` (with thumbnails).

    Args:
        datalist_path: the datalist.
        dataset_dir: where its relative paths start, if not at its own folder.
        class_names: all classes, background first (default: those of the datalist).
        channels: image channels that the network expects.
        roi_size: crop of the network in voxels, to name volumes that will be padded.
        spacing: voxel size in mm that volumes are resampled to before the crop.
        out: folder of the report (default: `check` beside the datalist).
        sections: the lists to read (default: all).

    Returns:
        What `check.json` holds.

    Raises:
        InputError: the datalist is unreadable, or any item has an error; the report is written before.
    """
    path = Path(datalist_path)
    content = datalists.parse(path)
    names = list(class_names) if class_names is not None else content.get("class_names")
    chosen = _sections(sections)
    problems = [Problem("datalist", "", "", "error", text) for text in consistency_problems(content, names)]
    prepared = [(part, item) for part in chosen for item in datalists.prepare(content, part, path, dataset_dir)]
    if not prepared:
        problems.append(Problem("datalist", "", "", "error", f"no items in {', '.join(chosen)}"))
    roi, target = _triple(roi_size), _triple(spacing)
    reports = [
        inspect_item(item, names, channels, roi, target, section=part, with_planes=True)
        for part, item in tqdm(prepared, desc="check", unit="case", file=sys.stderr, disable=not prepared)
    ]
    _compare(reports)
    problems += [problem for report in reports for problem in report.problems]
    problems += _class_problems(reports, [item for _, item in prepared], names)
    result = _result(path, content, names, reports, problems)
    print_table(reports, problems)
    folder = Path(out) if out is not None else path.parent / "check"
    write_atomically(folder / "check.json", json.dumps(result, indent=2) + "\n")
    write_atomically(folder / "check.html", render(result, reports))
    print(f"Report: {folder / 'check.html'}")
    _raise_errors(path, problems, f"see {folder / 'check.html'}")
    return result


def check_once(
    items: Sequence[Item],
    class_names: Sequence[str] | None,
    channels: int,
    cache_dir: str | Path,
    roi_size: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
) -> list[Problem]:
    """Check every file of the items, or recall that these very files passed before.

    The result lies in `cache_dir` under the fingerprint of the data and the settings, so a restart reads nothing twice.

    Returns:
        The warnings, which are also printed to stderr.

    Raises:
        InputError: a file has an error; all of them are printed to stderr, and nothing is remembered.
    """
    return first_on_main(lambda: _check_or_recall(items, class_names, channels, cache_dir, roi_size, spacing))


def _check_or_recall(
    items: Sequence[Item],
    class_names: Sequence[str] | None,
    channels: int,
    cache_dir: str | Path,
    roi_size: int | Sequence[int] | None,
    spacing: float | Sequence[float] | None,
) -> list[Problem]:
    settings = [list(class_names) if class_names is not None else None, channels, _triple(roi_size), _triple(spacing)]
    key = hashlib.sha256(f"{datalists.fingerprint(items)} {json.dumps(settings)}".encode()).hexdigest()[:16]
    remembered = Path(cache_dir) / f"check_{key}.json"
    if remembered.is_file():
        warnings = [Problem(**entry) for entry in json.loads(remembered.read_text(encoding="utf-8"))]
    else:
        found = [
            problem
            for item in tqdm(items, desc="check", unit="case", file=sys.stderr)
            for problem in check_item(item, class_names, channels, _triple(roi_size), _triple(spacing))
        ]
        errors = [problem for problem in found if problem.level == "error"]
        _print_problems(errors)
        _raise_errors(None, errors, "python -m custom_components check shows them all")
        warnings = found
        entries = [dataclasses.asdict(problem) for problem in warnings]
        write_atomically(remembered, json.dumps(entries, indent=2) + "\n")
    if is_main():
        _print_problems(warnings)
    return warnings


def screen(items: Sequence[Item], channels: int) -> tuple[list[Item], list[Problem]]:
    """Part the items whose images can be read and used from the others, before inference; labels are not looked at.

    Returns:
        The good items, and the first error of each bad one.
    """
    good, bad = [], []
    for item in tqdm(items, desc="check", unit="case", file=sys.stderr):
        image_only = {key: value for key, value in item.items() if key != "label"}
        errors = [problem for problem in check_item(image_only, channels=channels) if problem.level == "error"]
        if errors:
            bad.append(errors[0])
        else:
            good.append(item)
    return good, bad


def print_table(reports: Sequence[CaseReport], problems: Sequence[Problem]) -> None:
    """Print one line a case, then the problems, to stdout."""
    rows: list[tuple[str, ...]] = [("section", "case", "shape", "spacing mm", "axes", "range", "labels", "verdict")]
    for report in reports:
        rows.append((report.section, report.case, *report.columns()))
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for problem in problems:
        print(f"{problem.level}: {problem}")


def _compare(reports: Sequence[CaseReport]) -> None:
    """Add to each case what sets it apart from the rest of the list: spacing, orientation, an image seen before."""
    described = [report for report in reports if report.spacing is not None]
    if not described:
        return
    median = np.median([report.spacing for report in described], axis=0)
    axes = Counter(report.orientation for report in described)
    usual, often = axes.most_common(1)[0]
    digests: dict[str | None, CaseReport] = {}
    for report in described:
        ratio = np.asarray(report.spacing) / median
        if np.any(ratio > _FAR_SPACING) or np.any(ratio < 1 / _FAR_SPACING):
            far = f"has spacing {millimetres(report.spacing or ())}, far from the list's median {millimetres(median)}"
            report.add("warning", report.image, far)
        if axes[report.orientation] <= 0.1 * len(described) and often > 0.5 * len(described):
            rare = f"is stored as {report.orientation}, most others as {usual}; look at its thumbnail"
            report.add("warning", report.image, rare)
        twin = digests.setdefault(report.digest, report)
        if twin is not report and twin.image != report.image:
            level = "warning" if twin.section == report.section else "error"
            where = f"{twin.image} in {twin.section}"
            report.add(level, report.image, f"holds the same voxels as {where}; a case may stand in one list only")


def _class_problems(
    reports: Sequence[CaseReport], items: Sequence[Item], class_names: Sequence[str] | None
) -> list[Problem]:
    """Warn about classes that no training label shows."""
    training = [
        (report, item)
        for report, item in zip(reports, items, strict=True)
        if report.section == "training" and report.voxels is not None
    ]
    if class_names is None or not training:
        return []
    return [
        Problem("training", "", "", "warning", f"class {name!r} occurs in no training label, so it cannot be learnt")
        for value, name in enumerate(class_names)
        if value > 0
        and all(value not in (report.voxels or {}) or name in item["unlabelled"] for report, item in training)
    ]


def _result(
    path: Path,
    content: dict[str, Any],
    class_names: Sequence[str] | None,
    reports: Sequence[CaseReport],
    problems: Sequence[Problem],
) -> dict[str, Any]:
    """The content of `check.json`."""
    hidden = {"problems", "planes"}
    cases = []
    for report in reports:
        fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
        cases.append({key: value for key, value in fields.items() if key not in hidden})
    return {
        "datalist": str(path),
        "modality": content.get("modality"),
        "class_names": None if class_names is None else list(class_names),
        "errors": sum(problem.level == "error" for problem in problems),
        "warnings": sum(problem.level == "warning" for problem in problems),
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "cases": cases,
    }


def _raise_errors(path: Path | None, problems: Iterable[Problem], hint: str) -> None:
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        where = f"{path}: " if path is not None else ""
        raise InputError(f"{where}{len(errors)} error(s) in the data, the first: {errors[0]} ({hint}).")


def _print_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        print(f"{problem.level}: {problem}", file=sys.stderr)


def _sections(sections: str | Sequence[str] | None) -> list[str]:
    chosen = list(SECTIONS) if sections is None else [sections] if isinstance(sections, str) else list(sections)
    for section in chosen:
        if section not in SECTIONS:
            raise InputError(f"section {section!r} is not one of {', '.join(SECTIONS)}.")
    return chosen


def _triple(value: Any) -> tuple[Any, ...] | None:
    """A number as three equal ones; a sequence of three as it is."""
    if value is None or isinstance(value, int | float):
        return None if value is None else (value,) * 3
    if len(value) != 3:
        raise InputError(f"roi_size and spacing need one or three numbers; found {list(value)}.")
    return tuple(value)
