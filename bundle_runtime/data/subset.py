"""A part of a list: a seeded share of the training patients, or a few items evenly spread."""

import math
from collections.abc import Sequence

import numpy as np
from custom_components.errors import within

from .schema import Item


def keep_fraction(items: Sequence[Item], fraction: float = 1.0, seed: int = 0) -> list[Item]:
    """Keep a share of the patients, whole, in the order of the list; at least one patient stays.

    The choice is nested: with one seed the patients of 10 % are among those of 20 %.

    Args:
        items: items with `patient_id`.
        fraction: share of the patients, above 0 and at most 1.
        seed: decides which.

    Raises:
        InputError: `fraction` is out of range.
    """
    within("label_fraction", fraction, "(0, 1]")
    patients = sorted({item["patient_id"] for item in items})
    order = np.random.default_rng(seed).permutation(len(patients))
    kept = {patients[i] for i in order[: max(1, math.floor(len(patients) * fraction + 1e-6))]}
    return [item for item in items if item["patient_id"] in kept]


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` different positions of `count`, evenly spread from the first to the last."""
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))
