"""Numbers as text: estimates, tables, JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def show(estimate: Mapping[str, float], digits: int, sign: str = "") -> str:
    """An estimate as "mean [low, high]"."""
    mean, low, high = (
        "-" if math.isnan(estimate[k]) else f"{estimate[k]:{sign}.{digits}f}" for k in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"


def counted_images(images: int, patients: int, word: str = "images") -> str:
    """How many images of how many patients; what names no patients is not said to have as many."""
    if images == patients:
        return f"{images} {word}, each counted as a patient of its own"
    return f"{images} {word} of {patients} patients"


def millilitres(value: float) -> str:
    """A volume with as many decimals as matter: a lesion of 0.34 ml, a liver of 1512.6 ml."""
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def align(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a plain-text table: columns of equal width, a rule under the first line."""
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(max(map(len, lines)))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines]
    return "\n".join([texts[0], "-" * max(map(len, texts)), *texts[1:]])


def to_json(value: Any) -> str:
    """JSON text in which NaN is null (bare NaN is not JSON), and what JSON does not know is written as its text."""

    def clean(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {str(key): clean(entry) for key, entry in item.items()}
        if isinstance(item, list | tuple):
            return [clean(entry) for entry in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(clean(value), indent=2, default=str) + "\n"
