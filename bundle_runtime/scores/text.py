"""Numbers as text."""

import math
import re
from collections.abc import Mapping

_PLURAL = r"s\b"
FEW = 10  # patients; below, bootstrap intervals are known to be too narrow


def show(estimate: Mapping[str, float], digits: int, sign: str = "") -> str:
    """An estimate as "mean [low, high]"."""
    mean, low, high = (
        "-" if math.isnan(estimate[k]) else f"{estimate[k]:{sign}.{digits}f}" for k in ("mean", "low", "high")
    )
    return f"{mean} [{low}, {high}]"


def count(number: int, what: str) -> str:
    """`3 cases` and `1 case`: the first word that ends in s loses it."""
    return f"{number} {what if number != 1 else re.sub(_PLURAL, '', what, count=1)}"


def counted_images(images: int, patients: int, word: str = "images") -> str:
    """How many images of how many patients; what names no patients is not said to have as many."""
    if images == patients:
        return f"{images} {word}, each counted as a patient of its own"
    return f"{images} {word} of {patients} patient{'s' * (patients > 1)}"


def few_patients(patients: int) -> list[str]:
    """A warning of intervals that rest on few patients, empty where there are enough."""
    if patients == 1:
        return ["Only one patient: no interval can be given."]
    few = f"Only {patients} patients: bootstrap intervals are too narrow with fewer than {FEW}."
    return [few] * (patients < FEW)


def millilitres(value: float) -> str:
    """A volume with as many decimals as matter: a lesion of 0.34 ml, a liver of 1512.6 ml."""
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
