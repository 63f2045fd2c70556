"""Bootstrap by patient of scores that rank cases, all resamples at once.

Drawing patients with replacement only changes how often each case counts, and not the order of the scores: the cases
are sorted once, and a sparse product with the counts gives the ROC curve of every resample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

SENSITIVITIES = {"sensitivity_90": 0.9, "sensitivity_95": 0.95}  # the specificity at which each is taken
RANKED = ("auc", "average_precision", *SENSITIVITIES)
RESAMPLES = 1000
BLOCK = 128  # resamples at a time: bounds the memory

Array = NDArray[np.float64]
Pair = tuple[Array, Array]  # a score, and the same in every resample


@dataclass(frozen=True)
class Resamples:
    """How often each patient was drawn.

    Attributes:
        member: (N,) the patient of each case, 0..P-1.
        counts: (P, R) float32, each column sums to P.
    """

    member: NDArray[np.int64]
    counts: NDArray[np.float32]

    @classmethod
    def draw(cls, groups: Sequence[str], number: int = RESAMPLES, seed: int = 0) -> "Resamples":
        """Draw as many patients as there are, with replacement, `number` times.

        Args:
            groups: (N,) the patient of each case.
            number: R.
            seed: the same seed and patients give the same resamples.
        """
        member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)
        patients = int(member.max(initial=-1)) + 1
        rng = np.random.default_rng(seed)
        counts = np.empty((patients, number), np.float32)
        for column in range(number):
            counts[:, column] = np.bincount(rng.integers(patients, size=patients), minlength=patients)
        return cls(member, counts)

    @classmethod
    def once(cls, cases: int) -> "Resamples":
        """The sample itself: every case counts once."""
        return cls(np.arange(cases), np.ones((cases, 1), np.float32))

    @property
    def patients(self) -> int:
        """P."""
        return len(self.counts)

    def blocks(self) -> Iterator["Resamples"]:
        """The same in parts of `BLOCK` resamples."""
        for start in range(0, self.counts.shape[1], BLOCK):
            yield Resamples(self.member, self.counts[:, start : start + BLOCK])

    def totals(self, rows: NDArray[np.int64], cases: NDArray[np.int64], number: int) -> Array:
        """How many of `cases` fall into each row: (number, R); `rows` names the row of each of them."""
        ones = np.ones(len(cases), np.float32)
        table = sparse.csr_matrix((ones, (rows, self.member[cases])), shape=(number, self.patients))
        return np.asarray(table @ self.counts, dtype=np.float64)  # whole numbers below 2 ** 24: exact in float32

    def interval(self, values: Array, confidence: float = 0.95) -> tuple[float, float]:
        """Percentile interval of (R,) values; NaN with fewer than two patients or where nothing is defined."""
        values = values[np.isfinite(values)]
        if self.patients < 2 or not len(values):
            return float("nan"), float("nan")
        tail = 50 * (1 - confidence)
        low, high = np.percentile(values, [tail, 100 - tail])
        return float(low), float(high)

    def estimate(self, pair: Pair, confidence: float = 0.95) -> dict[str, float]:
        """A score with its percentile interval: mean (of the sample itself), low and high; all NaN where it is."""
        value, drawn = pair
        low, high = self.interval(drawn, confidence) if np.isfinite(value) else (float("nan"), float("nan"))
        return {"mean": float(value), "low": low, "high": high}

    def paired(self, a: Pair, b: Pair, confidence: float = 0.95) -> dict[str, dict[str, float]]:
        """Estimates of two sides and of their difference within each resample."""
        pairs = {"a": a, "b": b, "difference": (b[0] - a[0], b[1] - a[1])}
        return {side: self.estimate(pair, confidence) for side, pair in pairs.items()}


@dataclass(frozen=True)
class Ranking:
    """The cases of one class whose label is known, from the highest score down, cut into runs.

    A run is the cases with one score where a positive is among them, or the negatives between two such scores: between
    the ends of runs no threshold is better than those at the ends.

    Attributes:
        cases: (n,) positions of the cases.
        positive: (n,) bool.
        run: (n,) run of each case, 0..M-1.
        cut: (M,) threshold that a case of this run or of an earlier one reaches, and no other.
    """

    cases: NDArray[np.int64]
    positive: NDArray[np.bool_]
    run: NDArray[np.int64]
    cut: Array

    @classmethod
    def of(cls, scores: Array, labels: Array) -> "Ranking":
        """Rank (N,) scores; labels (N,) are 1, 0 or NaN for unknown, and at least one is known."""
        cases = np.flatnonzero(np.isfinite(labels))
        cases = cases[np.argsort(-scores[cases], kind="stable")]
        ordered, positive = scores[cases], labels[cases] > 0.5
        tie = np.cumsum(np.diff(ordered, prepend=ordered[0]) != 0)  # n
        holds = np.bincount(tie, positive) > 0  # T
        first = holds | np.roll(holds, 1)
        first[0] = True
        run = (np.cumsum(first) - 1)[tie]
        last = np.append(np.flatnonzero(np.diff(run)), len(run) - 1)  # M
        upper, lower = ordered[last], np.append(ordered[last[:-1] + 1], ordered[-1])
        middle = (upper + lower) / 2
        return cls(cases, positive, run, np.where(middle > lower, middle, upper))

    def curve(self, resamples: Resamples) -> tuple[Array, Array]:
        """True and false positives at the end of each run: two (M, R)."""
        sides = []
        for side in (self.positive, ~self.positive):
            sides.append(np.cumsum(resamples.totals(self.run[side], self.cases[side], len(self.cut)), axis=0))
        return sides[0], sides[1]


def ranking_scores(scores: Array, labels: Array, resamples: Resamples) -> dict[str, Array]:
    """ROC AUC, average precision and sensitivities of one class in every resample.

    Args:
        scores: (N,), higher means more likely positive.
        labels: (N,) 1, 0 or NaN for unknown.
        resamples: of the N cases.

    Returns:
        "auc" (ties count half), "average_precision" and "sensitivity_<90, 95>" (the highest at a specificity of at
        least 90 or 95 %): (R,) each, NaN in a resample without positives or without negatives.
    """
    if not np.isfinite(labels).any():
        return {name: np.full(resamples.counts.shape[1], np.nan) for name in RANKED}
    ranking = Ranking.of(scores, labels)
    parts = [_curve_scores(*ranking.curve(block)) for block in resamples.blocks()]
    return dict(zip(RANKED, np.concatenate(parts, axis=1), strict=True))


def _curve_scores(found: Array, false: Array) -> Array:
    """The scores of `ranking_scores` from two (M, R) curves: (scores, R)."""
    positives, negatives = found[-1], false[-1]
    gained, passed = np.diff(found, axis=0, prepend=0), np.diff(false, axis=0, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (gained * (negatives - false + passed / 2)).sum(axis=0) / (positives * negatives)
        called = found + false
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        average = (gained * precision).sum(axis=0) / positives
        # A millionth: (1 - 0.9) * 10 is less than 1 in floating point.
        reached = [
            np.where(false <= ((1 - value) + 1e-6) * negatives, found, 0.0).max(axis=0) / positives
            for value in SENSITIVITIES.values()
        ]
    scores = np.stack([area, average, *reached])
    scores[:, (positives == 0) | (negatives == 0)] = np.nan
    return scores
