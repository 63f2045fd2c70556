"""The cases of a list beside each other: what sets one apart, and what only all of them together show."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from bundle_runtime.data.schema import Item
from bundle_runtime.data.verify import Problem
from bundle_runtime.data.volume import millimetres
from custom_components.tumour_labels import REGIONS

from .check_flip import compare_flips
from .check_report import CaseReport

_FAR_SPACING = 2.0  # times the median of the list
_INSIDE_OUT = 0.2  # see `check_tissues.core_outside`: about -0.7 in real heads, 0.7 with two tissue names exchanged


def compare_looks(reports: Sequence[CaseReport]) -> list[Problem]:
    """What the images and labels of a list look like together: flipped cases, exchanged tissue names.

    Adds warnings to the cases; returns those about the whole list.
    """
    return compare_flips(reports) + _exchanged_tissues(reports)


def compare_headers(reports: Sequence[CaseReport]) -> None:
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


def compare_sequences(reports: Sequence[CaseReport]) -> None:
    """Warn in each case that lacks a sequence which most others have; for when nobody says what the network takes."""
    named = [(report, report.sequences) for report in reports if report.sequences]
    counts = Counter(name for _, names in named for name in names)
    usual = [name for name, count in counts.items() if count > 0.5 * len(named)]
    for report, names in named:
        lacking = [name for name in usual if name not in names]
        if lacking:
            text = f"has no {' and no '.join(lacking)}, which most cases of the list have"
            report.add("warning", report.image, f"{text}; a network that takes it needs allow_missing_sequences: true")


def unseen_classes(
    reports: Sequence[CaseReport], items: Sequence[Item], class_names: Sequence[str] | None
) -> list[Problem]:
    """Warn about classes, or regions where the labels tell tissues, that no training label shows."""
    training = [
        (report, item)
        for report, item in zip(reports, items, strict=True)
        if report.section == "training" and (report.voxels if report.convention is None else report.tissues) is not None
    ]
    if class_names is None or not training:
        return []
    return [
        Problem("training", "", "", "warning", f"class {name!r} occurs in no training label, so it cannot be learnt")
        for value, name in enumerate(class_names)
        if value > 0 and all(name in item["unlabelled"] or not _shows(report, value, name) for report, item in training)
    ]


def _shows(report: CaseReport, value: int, name: str) -> bool:
    """Whether a label has voxels of a class: of its value, or of a tissue of the region."""
    if report.convention is None:
        return value in (report.voxels or {})
    return any(tissue in REGIONS.get(name, ()) for tissue in report.tissues or {})


def _exchanged_tissues(reports: Sequence[CaseReport]) -> list[Problem]:
    """Warn in each case whose core lies outside its oedema; say it of the list where most of a convention are so."""
    for report in reports:
        if report.core_outside is not None and report.core_outside > _INSIDE_OUT:
            text = (
                f"the label, read as {report.convention}, has the non-enhancing core around the oedema, not inside it "
                f"({report.core_outside:+.2f}; about -0.7 is usual, above {_INSIDE_OUT} is not); is label_convention "
                "right for this case?"
            )
            report.add("warning", report.image, text)
    problems = []
    judged = [(report.convention, report.core_outside) for report in reports if report.core_outside is not None]
    for rule in dict.fromkeys(name for name, _ in judged):
        found = [value for name, value in judged if name == rule]
        wrong = sum(value > _INSIDE_OUT for value in found)
        if wrong > 0.5 * len(found):
            text = (
                f"in {wrong} of {len(found)} labels read as {rule} the non-enhancing core lies around the oedema, not "
                "inside it; is label_convention right? (msd and brats2023 give the values 1 and 2 opposite meanings)"
            )
            problems.append(Problem("datalist", "", "", "warning", text))
    return problems
