"""The cases of a list beside each other: what sets one apart, and what only all of them together show."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from bundle_runtime.data.record import Images, unseen_classes
from bundle_runtime.data.verify import Problem, millimetres

from .case_report import CaseReport, tissue_part
from .flips import compare_flips

_FAR_SPACING = 2.0  # times the median of the list
_AIR = -300  # Hounsfield units; below it a scan shows air or fat, and no other modality has such values
_FEW = 3  # cases of which the median says what is usual


def compare_looks(reports: Sequence[CaseReport]) -> list[Problem]:
    """What the images and labels of a list look like together: flipped cases, exchanged tissue names.

    Adds warnings to the cases; returns those about the whole list.
    """
    tissues = tissue_part()
    return compare_flips(reports) + (tissues.exchanged(reports) if tissues is not None else [])


def compare_headers(reports: Sequence[CaseReport]) -> None:
    """Add to each case what sets it apart from the rest of the list: spacing, orientation."""
    described = [report for report in reports if "image" in report.facts]
    images = Images.of([report.facts for report in described])
    for report in described:
        image, median = report.facts["image"], images.spacing[1]
        ratio = np.array(image["spacing"]) / median
        if np.any(ratio > _FAR_SPACING) or np.any(ratio < 1 / _FAR_SPACING):
            far = f"has spacing {millimetres(image['spacing'])}, far from the list's median {millimetres(median)}"
            report.add("warning", report.image, far)
        for text in images.rare_axes(report.facts, "most others"):
            report.add("warning", report.image, f"{text}; look at its thumbnail")


def compare_values(reports: Sequence[CaseReport], modality: str | None) -> None:
    """Warn in each case whose values are in another unit than those of the list.

    Those of an MRI scan have none; where the modality is not stated, only a list that knows air (CT) has one.
    """
    images = Images.of([report.facts for report in reports])
    low = images.values["image"][1][0] if "image" in images.values else 0
    if len(reports) < _FEW or "MR" in (modality or ("CT" if low < _AIR else "MR")).upper():
        return
    for report in reports:
        if "image" in report.facts and list(report.facts["image"]["values"]) == ["image"]:  # no named sequences
            for text in images.other_values(report.facts, "those of most of the list"):
                report.add("warning", report.image, text)


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


def unlearnable(reports: Sequence[CaseReport], class_names: Sequence[str] | None) -> list[Problem]:
    """Warn about classes, or regions where the labels tell tissues, that no training label shows.

    Without class names the regions are those that a network usually has.
    """
    if class_names is None and any(report.tissues is not None for report in reports):
        class_names = ("background", "TC", "WT", "ET")
    training = [report for report in reports if report.section == "training"]
    return [
        Problem("training", "", "", "warning", f"class {name!r} cannot be learnt: {reason}")
        for name, reason in unseen_classes(training, class_names or ()).items()
    ]
