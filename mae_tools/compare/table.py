"""Two sides and their difference as a plain-text table."""

from collections.abc import Mapping, Sequence
from typing import Any

from bundle_runtime.files import aligned
from bundle_runtime.scores.text import show


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
