"""Check a datalist before a GPU is touched: every file is opened, every problem collected and shown in one report."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

import bundle_runtime.data.datalist as datalists
from bundle_runtime.data.schema import Item, consistency_problems
from bundle_runtime.data.verify import Problem, refuse
from bundle_runtime.data.verify_volumes import Expected
from bundle_runtime.files import aligned, write_atomically, write_json
from custom_components.errors import InputError
from custom_components.tumour_labels import REGIONS, region_table

from .check_case import inspect_item
from .check_html import render
from .check_list import compare_headers, compare_looks, compare_sequences, unseen_classes
from .check_report import CaseReport, chosen_sections
from .image_check import check_images, lists_pictures


def check(
    datalist_path: str | Path,
    dataset_dir: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    channels: int | None = None,
    roi_size: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    out: str | Path | None = None,
    sections: str | Sequence[str] | None = None,
    sequences: str | Sequence[str] | None = None,
    allow_missing_sequences: bool = False,
    need_convention: bool = False,
    label_convention: str | dict[str, str] | None = None,
    num_workers: int = 2,
) -> dict[str, Any]:
    """Read every file of a datalist, print a table, write `check.json` and `check.html` (with thumbnails).

    A datalist of pictures is checked by `check_images`; what concerns volumes has no meaning there.

    Args:
        datalist_path: the datalist.
        dataset_dir: where its relative paths start, if not at its own folder.
        class_names: all classes, background first (default: those of the datalist).
        channels: image channels that the network expects (default: as many as an item names sequences, or 1).
        roi_size: crop of the network in voxels, to name volumes that will be padded.
        spacing: voxel size in mm that volumes are resampled to before the crop.
        out: folder of the report (default: `check` beside the datalist).
        sections: the lists to read (default: all).
        sequences: MRI sequences that the network takes; each item must have them, in any order, by name.
        allow_missing_sequences: zeros may stand in for a sequence; missing ones are warnings then.
        need_convention: every label must have a declared convention (so it is where all classes are tumour regions).
        label_convention: what the label values mean (msd, brats2018, brats2023 or a table), instead of what the
            datalist says.
        num_workers: processes that decode pictures.

    Returns:
        What `check.json` holds.

    Raises:
        InputError: the datalist is unreadable, or any item has an error; the report is written before.
    """
    path = Path(datalist_path)
    content = datalists.parse(path)
    if lists_pictures(content, path, dataset_dir):
        return check_images(path, dataset_dir, class_names, out=out, sections=sections, num_workers=num_workers)
    if label_convention is not None:
        content = datalists.with_convention(content, label_convention)
    names = list(class_names) if class_names is not None else content.get("class_names")
    need = need_convention or (names is not None and all(name in REGIONS for name in names[1:]))
    expected = Expected.of(names, channels, roi_size, spacing, sequences, allow_missing_sequences, need)
    chosen = chosen_sections(sections)
    prepared = [(part, item) for part in chosen for item in datalists.prepare(content, part, path, dataset_dir)]
    reports, problems = _inspect(prepared, expected)
    listed = [*consistency_problems(content, names), *_region_problems(prepared, names)]
    if not prepared:
        listed.append(f"no items in {', '.join(chosen)}")
    problems = [Problem("datalist", "", "", "error", text) for text in listed] + problems
    result = _result(path, content, names, reports, problems)
    print_table(reports, problems)
    page = _write(Path(out) if out is not None else path.parent / "check", result, reports)
    refuse(problems, f"see {page}", path)
    return result


def _write(folder: Path, result: dict[str, Any], reports: Sequence[CaseReport]) -> Path:
    """Write both files and say where; returns the page."""
    write_json(folder / "check.json", result)
    write_atomically(folder / "check.html", render(result, reports))
    print(f"Report: {folder / 'check.html'}")
    return folder / "check.html"


def _inspect(prepared: Sequence[tuple[str, Item]], expected: Expected) -> tuple[list[CaseReport], list[Problem]]:
    """Look at each (section, item), and at all of them beside each other."""
    reports = [
        inspect_item(item, expected, section=part, with_planes=True)
        for part, item in tqdm(prepared, desc="check", unit="case", file=sys.stderr, disable=not prepared)
    ]
    compare_headers(reports)
    if expected.sequences is None:
        compare_sequences(reports)
    together = compare_looks(reports) + unseen_classes(reports, [item for _, item in prepared], expected.class_names)
    return reports, [problem for report in reports for problem in report.problems] + together


def print_table(reports: Sequence[CaseReport], problems: Sequence[Problem]) -> None:
    """Print one line a case, then the problems, to stdout."""
    rows: list[tuple[str, ...]] = [("section", "case", "shape", "spacing mm", "axes", "range", "labels", "verdict")]
    for report in reports:
        rows.append((report.section, report.case, *report.columns()))
    print(aligned(rows, rule=False))
    for problem in problems:
        print(f"{problem.level}: {problem}")


def _region_problems(prepared: Sequence[tuple[str, Item]], class_names: Sequence[str] | None) -> list[str]:
    """Labels that tell tissues go with classes that are regions."""
    if class_names is None or not any("label_convention" in item for _, item in prepared):
        return []
    try:
        region_table(class_names)
    except InputError as error:
        return [str(error).removesuffix(".")]
    return []


def _result(
    path: Path,
    content: dict[str, Any],
    class_names: Sequence[str] | None,
    reports: Sequence[CaseReport],
    problems: Sequence[Problem],
) -> dict[str, Any]:
    """The content of `check.json`."""
    return {
        "datalist": str(path),
        "datalist_sha256": datalists.digest(path),
        "modality": content.get("modality"),
        "class_names": None if class_names is None else list(class_names),
        "errors": sum(problem.level == "error" for problem in problems),
        "warnings": sum(problem.level == "warning" for problem in problems),
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "conventions": list(dict.fromkeys(report.convention for report in reports if report.convention)),
        "cases": [report.to_dict() for report in reports],
    }
