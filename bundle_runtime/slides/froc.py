"""The free-response ROC of detected points, as Camelyon16 defines it, with a bootstrap interval over patients.

The curve is MONAI's `compute_froc_curve_data`, called so that its threshold that is always left out is none of ours: as
it stands it drops the lowest score of the set, and with it the last detection unless some lesion was missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.metrics.froc import compute_fp_tp_probs_nd, compute_froc_curve_data, compute_froc_score

from ..files import json_ready
from ..scores.resampling import Resamples
from ..scores.text import few_patients
from .annotations import Lesions
from .heatmap import Point

_UNSEEN = "The score counts only on slides of patients that the model has neither been trained nor selected on."
RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives a slide at which the sensitivity is averaged


@dataclass(frozen=True)
class Hits:
    """The detections of one slide beside its lesions.

    Attributes:
        false: probabilities of the points outside all lesions.
        found: for each lesion that was hit the highest probability of a point in it.
        lesions: how many lesions count.
        excluded: how many are too small to count.
    """

    false: np.ndarray
    found: np.ndarray
    lesions: int
    excluded: int


def hits(points: Sequence[Point], lesions: Lesions) -> Hits:
    """Compare points and lesions; a point in an excluded lesion is neither right nor wrong."""
    places = np.array([(point.row, point.column) for point in points], float).reshape(-1, 2)
    last = np.array(lesions.labels.shape) - 1
    coordinates = np.minimum((places / np.array(lesions.scale)).astype(int), last)
    probabilities = np.array([point.probability for point in points], np.float32)
    false, found, count = compute_fp_tp_probs_nd(
        probabilities, coordinates, lesions.labels, [int(number) for number in lesions.excluded]
    )
    return Hits(np.asarray(false), np.asarray(found)[np.asarray(found) > 0], int(count), len(lesions.excluded))


def curve(slides: Sequence[Hits]) -> tuple[np.ndarray, np.ndarray]:
    """False positives a slide and sensitivity, from all detections down to none.

    Returns:
        Two (n,), falling; sensitivities are NaN without any lesion.
    """
    false = np.concatenate([slide.false for slide in slides]) if slides else np.zeros(0)
    found = np.concatenate([slide.found for slide in slides]) if slides else np.zeros(0)
    total = sum(slide.lesions for slide in slides)
    # -1 is the lowest score of all: the one that MONAI leaves out.
    rates, sensitivity = compute_froc_curve_data(np.append(false, -1.0), found, max(total, 1), max(len(slides), 1))
    return rates, sensitivity if total else np.full(len(sensitivity), np.nan)


def score(slides: Sequence[Hits]) -> float:
    """Mean sensitivity at 1/4, 1/2, 1, 2, 4 and 8 false positives a slide; NaN without lesions."""
    rates, sensitivity = curve(slides)
    return float(compute_froc_score(rates, sensitivity, RATES))


def report(slides: Sequence[Hits], patients: Sequence[str], seed: int = 0, resamples: int = 1000) -> dict[str, Any]:
    """The curve, the score and its interval, ready for JSON.

    Args:
        slides: what was scored.
        patients: of each slide; whole patients are drawn.
        seed: of the bootstrap.
        resamples: how many.
    """
    rates, sensitivity = curve(slides)
    rates, sensitivity = rates[::-1], sensitivity[::-1]  # from none up
    at = np.interp(RATES, rates, sensitivity)
    drawn = Resamples.draw(patients, resamples, seed)
    values = []
    if len(set(patients)) > 1:
        for column in range(drawn.counts.shape[1]):
            times = drawn.counts[drawn.member, column].astype(int)
            values.append(score([slide for slide, count in zip(slides, times, strict=True) for _ in range(count)]))
    low, high = drawn.interval(np.array(values, float))
    return json_ready(
        {
            "score": score(slides),
            "interval_95": [low, high],
            "sensitivity_at": {f"{rate:g}": float(value) for rate, value in zip(RATES, at, strict=True)},
            "slides": len(slides),
            "patients": len(set(patients)),
            "notes": [_UNSEEN, *few_patients(len(set(patients)))],
            "lesions": sum(slide.lesions for slide in slides),
            "excluded_lesions": sum(slide.excluded for slide in slides),
            "curve": {
                "false_positives_per_slide": [float(value) for value in rates],
                "sensitivity": [float(value) for value in sensitivity],
            },
        }
    )
