"""A part of a list: a seeded share of the training patients, or a few items evenly spread."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from custom_components.errors import within

from .schema import Item


def keep_fraction(items: Sequence[Item], fraction: float = 1.0, seed: int = 0) -> list[Item]:
    """Keep a share of the patients, whole, in the order of the list; at least one patient stays.

    The choice is nested: with one seed the patients of 10 % are among those of 20 %. Of a class or finding that the
    labels name, the first patient in the order of the draw comes before those who show nothing new: a small share
    holds every class, as far as there are patients enough.

    Args:
        items: items with `patient_id`; `label` an index, or 0 and 1 (None: unknown) of each finding, if it is no file.
        fraction: share of the patients, above 0 and at most 1.
        seed: decides which.

    Raises:
        InputError: `fraction` is out of range.
    """
    within("label_fraction", fraction, "(0, 1]")
    patients = sorted({item["patient_id"] for item in items})
    drawn = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    shown: dict[str, set[int]] = {patient: set() for patient in patients}
    for item in items:
        shown[item["patient_id"]] |= _classes_of(item.get("label"))
    seen: set[int] = set()
    first = []
    for patient in drawn:
        if shown[patient] - seen:
            first.append(patient)
        seen |= shown[patient]
    order = [*first, *(patient for patient in drawn if patient not in first)]
    kept = set(order[: max(1, math.floor(len(patients) * fraction + 1e-6))])
    return [item for item in items if item["patient_id"] in kept]


def _classes_of(label: Any) -> set[int]:
    if isinstance(label, int):
        return {label}
    return {index for index, value in enumerate(label) if value == 1} if isinstance(label, list) else set()


def evenly(count: int, wanted: int) -> list[int]:
    """Up to `wanted` different positions of `count`, evenly spread from the first to the last."""
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))
