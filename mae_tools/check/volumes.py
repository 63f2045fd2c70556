"""What a check finds in volumes: each case by itself, and all of them beside each other."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bundle_runtime.data.schema import Datalist, Item
from bundle_runtime.data.verify_volumes import Expected
from bundle_runtime.data.volume import UnusableError, read_volume
from bundle_runtime.pages.page import Figure
from custom_components.errors import InputError
from tqdm import tqdm

from ..copies import Place, copy_problems, find_copies, volume_digest
from .beside import compare_headers, compare_looks, compare_sequences, compare_values, unlearnable
from .case import inspect_item
from .case_report import tissue_part
from .planes import colour_of, strip
from .report import Findings
from .volume_proposals import of_volumes, statistics

_NOTE = (
    "Each row: sagittal, coronal and axial plane through the middle of the labelled region or volume; the patient's "
    "right is on the left, grey levels from the 1st to the 99th percentile. Shapes are in RAS order, axes as stored."
)
_COLUMNS = ("section", "case", "shape", "spacing mm", "axes", "range", "labels", "verdict")


def inspect(
    content: Datalist,
    parts: Mapping[str, Sequence[Item]],
    class_names: Sequence[str] | None,
    num_workers: int = 0,
    need_convention: bool = False,
    config: Mapping[str, Any] | None = None,
    **wanted: Any,
) -> Findings:
    """Read every image and label.

    Args:
        content: the datalist.
        parts: the prepared items of the lists that are looked at.
        class_names: all classes, background first.
        num_workers: of no use here, as one volume fills the memory of many pictures.
        need_convention: every label must say what its values mean; so it is where all classes are tumour regions.
        config: of the training that settings are proposed for.
        **wanted: further arguments of `Expected`.
    """
    tissues = tissue_part()
    regions = tissues is not None and class_names is not None and tissues.are_regions(class_names)
    expected = Expected(class_names, **wanted, need_convention=need_convention or regions)
    items = [(part, item) for part, listed in parts.items() for item in listed]
    reports = [
        inspect_item(item, expected, section=part, with_planes=True)
        for part, item in tqdm(items, desc="check", unit="case", file=sys.stderr, disable=not items)
    ]
    compare_headers(reports)
    compare_values(reports, content.get("modality"))
    if expected.sequences is None:
        compare_sequences(reports)
    together = compare_looks(reports) + unlearnable(reports, class_names)
    if any("label_convention" in item for _, item in items) and class_names is not None and tissues is not None:
        together += tissues.foreign_classes(class_names)
    copies = find_copies(
        (Place(report.section, report.case, report.image), bytes.fromhex(report.digest))
        for report in reports
        if report.digest
    )
    problems = [problem for report in reports for problem in report.problems] + together
    fingerprint, proposals = of_volumes(reports, content, config or {})
    conventions = list(dict.fromkeys(report.convention for report in reports if report.convention))
    return Findings(
        problems + copy_problems(copies, "voxels", bool(content.get("parity"))),
        copies,
        f"{len(reports)} cases",
        {"conventions": conventions, "fingerprint": fingerprint, "cases": [report.to_dict() for report in reports]},
        [
            [_COLUMNS, *((report.section, report.case, *report.columns()) for report in reports)],
            *filter(None, [statistics(fingerprint)]),
        ],
        [Figure(f"{report.section}: {report.case}", strip(report.planes)) for report in reports if report.planes],
        _NOTE,
        proposals,
        _legend(conventions, class_names),
    )


def digests(items: Sequence[Item], num_workers: int = 0) -> list[bytes | None]:
    """For each item the digest of its first volume; None where it cannot be read."""
    found: list[bytes | None] = []
    for item in tqdm(items, desc="copies", unit="case", file=sys.stderr):
        try:
            voxels = read_volume(item["file"])[1]
        except (UnusableError, InputError):  # the check names it
            found.append(None)
        else:
            found.append(volume_digest(voxels[..., 0] if voxels.ndim == 4 else voxels))
    return found


def is_series(file: str) -> bool:
    """Whether a file is one of a DICOM series of more than one slice."""
    from bundle_runtime.dicom.series import scan, stack_of  # other lists need no DICOM

    try:  # a radiograph has no place in space, and what lies beside it need not be read
        return any(not series.problems and stack_of(file) for series in scan([file]).series.values())
    except UnusableError:
        return False


def _legend(conventions: Sequence[str], class_names: Sequence[str] | None) -> list[tuple[str, tuple[int, ...] | None]]:
    """What the outlines mean: tissues where a label convention is declared, else classes with their values."""
    tissues = tissue_part()
    if conventions and tissues is not None:
        return [(name, colour_of(code)) for code, name in tissues.named_in(conventions)]
    return [(f"{value} {name}", colour_of(value) if value else None) for value, name in enumerate(class_names or [])]
