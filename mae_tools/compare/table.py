"""Two sides and their difference as a plain-text table."""

from collections.abc import Mapping, Sequence
from typing import Any

from bundle_runtime.files import aligned
from bundle_runtime.scores.resampling import Pair, Resamples
from bundle_runtime.scores.text import show


def paired(a: Pair, b: Pair, draws: Resamples, confidence: float) -> dict[str, dict[str, float]]:
    """Estimates of both sides and of their difference within each resample."""
    pairs = {"a": a, "b": b, "difference": (b[0] - a[0], b[1] - a[1])}
    return {side: draws.estimate(pair, confidence) for side, pair in pairs.items()}


def side_by_side(
    title: str, names: Sequence[str], entries: Mapping[str, Mapping[str, Any]], digits: int = 3, pairs: bool = False
) -> str:
    """A line for each entry of estimates "a", "b" and "difference"; with `pairs` also "n" of the difference."""
    lines = [[title, *names, "difference", *["pairs"] * pairs]]
    for name, entry in entries.items():
        a, b, difference = (entry[side] for side in ("a", "b", "difference"))
        number = [str(difference.get("n", ""))] * pairs
        lines.append([name, show(a, digits), show(b, digits), show(difference, digits, sign="+"), *number])
    return aligned(lines)
