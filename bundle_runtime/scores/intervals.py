"""Bootstrap intervals of means, over cases or over groups of cases such as patients."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats


def mean_of_defined(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean along an axis over the numbers that are defined (not NaN); NaN where none is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0.0).sum(axis=axis) / defined.sum(axis=axis)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Sequence[str] | None = None,
    resamples: int = 4999,
) -> tuple[float, float]:
    """Bootstrap interval of a mean: BCa, or the percentile interval where BCa is undefined (for example equal values).

    Args:
        values: (N,), or (N, K): the statistic is then the mean of the K column means. NaN = not scored.
        confidence: Share of the bootstrap distribution inside the interval.
        seed: Seed of the resampling; the same values in the same order give the same interval.
        groups: (N,) names, for example patients: whole groups are drawn, not single cases. None: each case on its own.
        resamples: Number of bootstrap resamples.

    Returns:
        (low, high); (NaN, NaN) with fewer than two groups that hold a value.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 14, through `scipy.stats.bootstrap`.
    """
    table = np.asarray(values, dtype=float)
    table = table[:, None] if table.ndim == 1 else table  # N K
    names = np.arange(len(table)) if groups is None else np.asarray(groups)
    member = np.unique(names, return_inverse=True)[1]  # N
    defined = np.isfinite(table)
    sums, counts = np.zeros((2, member.max(initial=-1) + 1, table.shape[1]))  # G K each
    np.add.at(sums, member, np.where(defined, table, 0.0))
    np.add.at(counts, member, defined)
    used = counts.any(axis=1)
    sums, counts = sums[used], counts[used]
    if len(sums) < 2:
        return float("nan"), float("nan")

    def statistic(index: np.ndarray, axis: int = -1) -> np.ndarray:
        index = np.moveaxis(index, axis, -1)
        total, number = sums[index].sum(axis=-2), counts[index].sum(axis=-2)  # ... K
        return np.nanmean(total / number, axis=-1)  # a resample may hold no case of a class: the others remain

    options: dict[str, Any] = {"confidence_level": confidence, "vectorized": True, "axis": -1}
    sample = (np.arange(len(sums)),)
    batch = max(1, 2**22 // sums.size)  # bounds the memory of one block of resamples
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # SciPy warns of the degenerate case that is handled below
        result = stats.bootstrap(
            sample,
            statistic,
            n_resamples=resamples,
            batch=batch,
            method="BCa",
            rng=np.random.default_rng(seed),
            **options,
        )
        if not np.isfinite(result.confidence_interval).all():
            result = stats.bootstrap(
                sample, statistic, n_resamples=0, bootstrap_result=result, method="percentile", **options
            )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
