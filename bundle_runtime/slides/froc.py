"""The free-response ROC of detected points, as Camelyon16 defines it, with a bootstrap interval over patients.

The curve is MONAI's `compute_froc_curve_data`, called so that its threshold that is always left out is none of ours: as
it stands it drops the lowest score of the set, and with it the last detection unless some lesion was missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from monai.metrics.froc import compute_fp_tp_probs_nd, compute_froc_curve_data, compute_froc_score

from ..figures.panels import COLOURS, save_figure
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


def froc_figure(found: dict[str, Any], path: str | Path, title: str = "") -> Figure:
    """Draw the curve of a `report` over the range in which it is averaged.

    Args:
        found: the report.
        path: PNG file, written atomically.
        title: stands above the curve.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6.5, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    rates = np.array(found["curve"]["false_positives_per_slide"])
    values = np.array([np.nan if value is None else value for value in found["curve"]["sensitivity"]])
    axes.plot(np.append(rates, max(RATES[-1], rates.max(initial=0))), np.append(values, values[-1]), color=COLOURS[0])
    known = {float(rate): value for rate, value in found["sensitivity_at"].items() if value is not None}
    axes.scatter(list(known), list(known.values()), color=COLOURS[0], zorder=3, s=18)
    axes.set_xscale("symlog", linthresh=RATES[0], base=2)
    axes.set_xticks([0, *RATES], labels=["0", *(f"{rate:g}" for rate in RATES)])
    axes.set(xlim=(0, RATES[-1]), ylim=(-0.02, 1.02), xlabel="false positives a slide", ylabel="sensitivity (lesions)")
    axes.grid(alpha=0.3)
    axes.set_title(title, fontsize=11)
    save_figure(figure, path)
    return figure
