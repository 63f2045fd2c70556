"""Scores of classified images: pure functions on probabilities and labels.

`labels` are (N, K) 1, 0 or NaN for unknown where the task is "multi_label", and (N,) class indices where it is
"multi_class"; probabilities are (N, K) float64. A score that is not defined is NaN, never 0.
"""

import warnings

import numpy as np
from sklearn import metrics as oracle
from torch import Tensor

from .intervals import mean_of_defined
from .resampling import RANKED, Array, Resamples, ranking_scores

BINS = 15
OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "kappa")  # "multi_class" only


def findings(labels: np.ndarray, classes: int) -> Array:
    """Labels as (N, K) 1, 0, NaN: class indices (N,) become one column a class."""
    if labels.ndim == 2:
        return labels.astype(np.float64)
    return (labels[:, None] == np.arange(classes)).astype(np.float64)


def resampled_scores(
    probabilities: Array, labels: np.ndarray, resamples: Resamples, ordered: bool = False
) -> dict[str, Array]:
    """Scores in every resample.

    Returns:
        For each of `RANKED` (K, R), NaN for a class without positives or without negatives; for class indices also each
        of `OVERALL` as (R,).
    """
    columns = findings(labels, probabilities.shape[1])
    rows = [
        ranking_scores(scores, column, resamples) for scores, column in zip(probabilities.T, columns.T, strict=True)
    ]
    scores = {name: np.stack([row[name] for row in rows]) for name in RANKED}
    if labels.ndim == 1:
        scores |= _resampled_overall(probabilities, labels, resamples, ordered)
    return scores


def point_scores(probabilities: Array, labels: np.ndarray, ordered: bool = False) -> dict[str, Array]:
    """The same of the sample itself: (K,) for each of `RANKED`, without axes for each of `OVERALL`."""
    drawn = resampled_scores(probabilities, labels, Resamples.once(len(labels)), ordered)
    return {name: values[..., 0] for name, values in drawn.items()}


def _resampled_overall(
    probabilities: Array, labels: np.ndarray, resamples: Resamples, ordered: bool
) -> dict[str, Array]:
    """Scores from the confusion matrix of each resample."""
    number = probabilities.shape[1]
    cell = labels * number + probabilities.argmax(axis=1)
    parts = []
    for block in resamples.blocks():
        counts = block.totals(cell, np.arange(len(cell)), number**2).reshape(number, number, -1)  # truth predicted R
        parts.append(_confusion_scores(counts, ordered))
    return dict(zip(OVERALL, np.concatenate(parts, axis=1), strict=True))


def _confusion_scores(counts: Array, ordered: bool) -> Array:
    """The scores `OVERALL` of confusion matrices (K, K, R): (scores, R)."""
    number, cases = len(counts), counts.sum(axis=(0, 1))
    right = np.einsum("kkr->kr", counts)
    truth, called = counts.sum(axis=1), counts.sum(axis=0)  # K R
    distance = np.abs(np.subtract.outer(np.arange(number), np.arange(number)))
    weight = distance.astype(float) ** 2 if ordered else (distance > 0).astype(float)  # disagreement
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample is never empty, but NumPy warns of columns of NaN
        recall = right / truth
        f1 = np.where(truth > 0, 2 * right / (truth + called), np.nan)
        expected = np.einsum("kl,kr,lr->r", weight, truth, called) / cases
        kappa = 1 - np.einsum("kl,klr->r", weight, counts) / np.where(expected > 0, expected, np.nan)
        return np.stack([right.sum(axis=0) / cases, np.nanmean(recall, axis=0), np.nanmean(f1, axis=0), kappa])


def macro(values: Array, zero: np.ndarray | None = None) -> Array:
    """Mean over the classes where a score is defined, (K, ...) -> (...); NaN where there is none.

    Classes of `zero`, (K,) bool, count as 0 although they have no score (the papers' code).
    """
    if zero is not None:
        values = np.where(zero.reshape(-1, *[1] * (values.ndim - 1)), 0.0, values)
    return mean_of_defined(values)


def reliability(probabilities: Array, outcomes: np.ndarray, bins: int = BINS) -> tuple[Array, Array, Array]:
    """What was predicted and what was found in bins of equal width, for a calibration plot.

    Args:
        probabilities: (N,) in [0, 1].
        outcomes: (N,) 0 or 1, NaN where unknown.
        bins: number of bins.

    Returns:
        (bins,) cases; mean probability and share of positives, both NaN in an empty bin.
    """
    known = np.isfinite(outcomes)
    probabilities, outcomes = probabilities[known], outcomes[known]
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], probabilities)
    count = np.bincount(place, minlength=bins).astype(float)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(place, probabilities, minlength=bins) / count
        return count, predicted, np.bincount(place, outcomes, minlength=bins) / count


def calibration_error(probabilities: Array, outcomes: np.ndarray) -> float:
    """Expected calibration error: mean gap between predicted and found, bins (`reliability`) weighted by their cases.

    NaN where no outcome is known.

    Source:
        Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015.
    """
    count, predicted, found = reliability(probabilities, outcomes)
    if not count.sum():
        return float("nan")
    return float(np.nansum(count * np.abs(predicted - found)) / count.sum())


def at_threshold(probabilities: Array, labels: Array, threshold: float) -> dict[str, float]:
    """Sensitivity, specificity and F1 of one finding, (N,) each, when a probability of at least `threshold` means yes.

    NaN where there is no positive (sensitivity, F1) or no negative (specificity).
    """
    known = np.isfinite(labels)
    truth, called = labels[known] > 0.5, probabilities[known] >= threshold
    found, positives, negatives = (truth & called).sum(), truth.sum(), (~truth).sum()
    nan = float("nan")
    return {
        "sensitivity": float(found / positives) if positives else nan,
        "specificity": float((~truth & ~called).sum() / negatives) if negatives else nan,
        "f1": float(2 * found / (positives + called.sum())) if positives else nan,
    }


def class_precision(probabilities: Array, labels: np.ndarray) -> dict[str, Array]:
    """Precision, recall and F1 of each class when the most probable one is called: (K,), NaN where undefined."""
    classes = np.arange(probabilities.shape[1])
    precision, recall, f1, support = oracle.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=classes, zero_division=np.nan
    )
    return {"precision": precision, "recall": recall, "f1": np.where(support > 0, f1, np.nan)}


def confusion(probabilities: Array, labels: np.ndarray) -> np.ndarray:
    """(K, K) counts, true classes down and called ones across."""
    return oracle.confusion_matrix(labels, probabilities.argmax(axis=1), labels=np.arange(probabilities.shape[1]))


def to_probabilities(logits: np.ndarray | Tensor, task: str) -> Array:
    """Logits (N, K) as probabilities in double precision: in evaluation, where thresholds are chosen, and in inference.

    In float32, let alone fp16, large logits would all become 1 and tie; in float64 their order is kept up to about 25.
    """
    if isinstance(logits, Tensor):
        logits = logits.detach().float().cpu().numpy()
    wide = logits.astype(np.float64)
    if task == "multi_label":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-wide))
    powers = np.exp(wide - wide.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
