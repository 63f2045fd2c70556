"""Is one case of a list flipped against the others?"""

from collections.abc import Sequence

import numpy as np
from bundle_runtime.data.flips import FEWEST, FLIPS, Flip, fits, flips_against, in_words, unpacked
from bundle_runtime.data.verify import Problem

from .case_report import CaseReport

_SWEEPS = 20


def flips_against_the_rest(pictures: Sequence[np.ndarray]) -> list[list[Flip]]:
    """For each picture the axes along which it must be flipped to look like the rest, see `flips_against`.

    The pictures are first turned front-back and head-foot, one by one and repeatedly, to agree among themselves, so
    that the rest is no blur even where nearly half of the list is flipped; not left-right, as that would gather all
    tumours on one side.
    """
    states: list[Flip] = [()] * len(pictures)
    total = np.sum(pictures, axis=0)
    for _ in range(_SWEEPS):
        before = list(states)
        for index, picture in enumerate(pictures):
            rest = total - np.flip(picture, states[index])
            fit = dict(zip(FLIPS, fits(picture, rest), strict=True))
            states[index] = max((flip for flip in FLIPS if 0 not in flip), key=fit.__getitem__)
            total = rest + np.flip(picture, states[index])
        if states == before:
            break
    return [
        flips_against(picture, total - np.flip(picture, state)) for picture, state in zip(pictures, states, strict=True)
    ]


def compare_flips(reports: Sequence[CaseReport]) -> list[Problem]:
    """Warn in each case that looks flipped against the other cases of the list.

    Not seen is besides a list in which every case is flipped alike, and one of fewer than four.

    Returns:
        A warning for the whole list where the flipped cases are those that are stored in one way.
    """
    pictured = [report for report in reports if "body" in report.facts.get("image", {})]
    if len(pictured) < FEWEST:
        return []
    flips = flips_against_the_rest([unpacked(report.facts["image"]["body"]) for report in pictured])
    flipped: dict[str, list[str]] = {}
    for report, found in zip(pictured, flips, strict=True):
        if found:
            flipped.setdefault(str(report.orientation), []).append(in_words(found))
            text = f"looks flipped {in_words(found)} against the other cases of the list; look at its thumbnail"
            report.add("warning", report.image, text)
    straight = {str(report.orientation) for report, found in zip(pictured, flips, strict=True) if not found}
    problems = []
    for axes in sorted(set(flipped) - straight):
        if len(flipped[axes]) > 1:
            how = max(flipped[axes], key=flipped[axes].count)
            text = (
                f"all {len(flipped[axes])} cases stored as {axes} look flipped {how}, those stored as "
                f"{', '.join(sorted(straight))} do not: one of the two kinds carries affines with wrong signs, as the "
                "brain images of the Medical Segmentation Decathlon do; correct the affines before mixing them"
            )
            problems.append(Problem("datalist", "", "", "warning", text))
    return problems
