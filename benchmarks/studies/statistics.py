"""Intervals and differences over patients and seeds, from the cases that the runs' JSONs hold.

Patients and seeds are drawn crossed: in each resample one draw of the test patients, the same for all seeds and arms,
and one draw of the seeds, the same for all arms. S seeds drawn with replacement spread by (S - 1) / S too little, so
their deviations are widened by the root of S / (S - 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bundle_runtime.scores.classification import macro
from bundle_runtime.scores.resampling import Resamples, ranking_scores
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
Array = NDArray[np.float64]
# Score -> (words, digits), in the order of the table; the first that a study has is its main one.
SCORES = {
    "macro_auc": ("macro AUC", 3),
    "dice_headline": ("Dice, headline organs", 3),
    "dice": ("Dice", 3),
    "hd95": ("HD95, mm", 1),
    "accuracy": ("accuracy", 3),
}


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; `p` of differences: two-sided, from the same resamples."""

    mean: float
    low: float
    high: float
    p: float | None = None


@dataclass(frozen=True)
class Sampled:
    """One score of one arm.

    Attributes:
        point: (S,) the score of each seed on the whole test list.
        drawn: (R, S) the same in each resample of the patients.
    """

    point: Array
    drawn: Array


def sample(runs: Sequence[Mapping[str, Any]], report: Mapping[str, Any] | None = None) -> dict[str, Sampled]:
    """The scores of an arm's runs, one run a seed.

    Args:
        runs: what `records.cases` made of each; all over the same cases.
        report: `min_positives` of a finding that counts, `headline` organs.

    Returns:
        By the names of `SCORES`, as far as they apply.
    """
    resamples = Resamples.draw([str(patient) for patient in runs[0]["patients"]], RESAMPLES, seed=0)
    found = [_scores(run, resamples, report or {}) for run in runs]
    return {
        name: Sampled(
            np.array([entry[name][0] for entry in found]), np.stack([entry[name][1] for entry in found], axis=1)
        )
        for name in found[0]
    }


def estimate(side: Sampled) -> Estimate:
    """Mean over the seeds with its interval over patients and seeds."""
    return _interval(float(side.point.mean()), _over_seeds(side.drawn))


def difference(side: Sampled, baseline: Sampled) -> Estimate:
    """`side` minus `baseline`, paired by patient and seed, with its interval and p."""
    drawn = _over_seeds(side.drawn - baseline.drawn)
    found = _interval(float((side.point - baseline.point).mean()), drawn)
    defined = drawn[np.isfinite(drawn)]
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return Estimate(found.mean, found.low, found.high, min(1.0, 2 * float(tail + 1) / (len(defined) + 1)))


def counted(labels: Array, min_positives: int) -> NDArray[np.bool_]:
    """(K,) the findings with at least so many known positives and negatives; labels (N, K), NaN unknown."""
    return (np.nansum(labels == 1, axis=0) >= min_positives) & (np.nansum(labels == 0, axis=0) >= min_positives)


def _scores(run: Mapping[str, Any], resamples: Resamples, report: Mapping[str, Any]) -> dict[str, tuple[float, Array]]:
    """Each score on the whole list and in each resample."""
    if run["kind"] == "segmentation":
        return _segmentation(run, resamples, report)
    probabilities = np.array(run["probabilities"], dtype=float)
    labels = np.array(run["labels"], dtype=float)  # None becomes NaN
    columns = labels if labels.ndim == 2 else np.eye(probabilities.shape[1])[labels.astype(int)]
    keep = counted(columns, int(report.get("min_positives", 1)))
    whole = Resamples.once(len(labels))
    aucs = [
        [ranking_scores(probabilities[:, k], columns[:, k], part)["auc"] for k in np.flatnonzero(keep)]
        for part in (whole, resamples)
    ]
    # A resample may hold no case of a rare finding: the others remain.
    found = {"macro_auc": (float(np.mean(aucs[0])), macro(np.array(aucs[1])))}
    if labels.ndim == 1:
        right = (probabilities.argmax(axis=1) == labels).astype(float)
        found["accuracy"] = (float(right.mean()), _weighted_mean(right, resamples))
    return found


def _segmentation(
    run: Mapping[str, Any], resamples: Resamples, report: Mapping[str, Any]
) -> dict[str, tuple[float, Array]]:
    """Means over cases of each case's mean over its organs."""
    names = list(run["names"])
    headline = [names.index(name) for name in report.get("headline", []) if name in names]
    columns = {"dice": ("dice", slice(None)), "hd95": ("hd95", slice(None))}
    if headline:
        columns = {"dice_headline": ("dice", headline), **columns}  # type: ignore[dict-item]
    found = {}
    for name, (key, chosen) in columns.items():
        table = np.array(run[key], dtype=float)[:, chosen]
        if np.isnan(table).all():  # distances of pictures are not measured
            continue
        values = np.nanmean(table, axis=1)
        found[name] = (float(values.mean()), _weighted_mean(values, resamples))
    return found


def _weighted_mean(values: Array, resamples: Resamples) -> Array:
    """(R,) mean of (N,) values in each resample; a case counts as often as its patient was drawn."""
    weights = resamples.counts[resamples.member].astype(float)  # N R
    return values @ weights / weights.sum(axis=0)


def _over_seeds(drawn: Array) -> Array:
    """(R,) means over drawn seeds of (R, S) values."""
    number = drawn.shape[1]
    mean = drawn.mean(axis=1)
    if number == 1:
        return mean
    chosen = np.random.default_rng(1).integers(number, size=drawn.shape)
    other = np.take_along_axis(drawn, chosen, axis=1).mean(axis=1)
    return mean + np.sqrt(number / (number - 1)) * (other - mean)


def _interval(mean: float, drawn: Array) -> Estimate:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return Estimate(mean, float(low), float(high))
