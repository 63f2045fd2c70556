"""Seeded splits by patient."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bundle_runtime.data.schema import SECTIONS, Datalist, Item
from custom_components.errors import InputError

_FEW_PATIENTS = 10
_OVER = 1.5  # times what a list still lacks, that a patient who is dealt to it may have

Lists = dict[str, list[Item]]

_SECTION_NAMES = {
    "training": "training",
    "train": "training",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def section_name(text: str) -> str | None:
    """The list that a word means, in any case: `Train` is training, `val` validation; None for another word."""
    return _SECTION_NAMES.get(text.strip().lower())


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in a random order that depends on seed and names alone, on every platform and library version."""
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def split_by_patient(
    entries: Sequence[Item], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[Item]]:
    """Deal items to training, validation and test so that no patient is in two of them.

    The fractions count patients; from three patients on, a list with a positive fraction gets at least one.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    check_fractions(val_fraction, test_fraction)
    patients = shuffled((item["patient_id"] for item in entries), seed)
    least = 1 if len(patients) >= 3 else 0
    n_test, n_val = (max(round(part * len(patients)), least) if part else 0 for part in (test_fraction, val_fraction))
    if n_test + n_val >= len(patients):  # rounding up must not take the last training patient
        n_test, n_val = min(n_test, least), min(n_val, least)
    section = {
        patient: "test" if rank < n_test else "validation" if rank < n_test + n_val else "training"
        for rank, patient in enumerate(patients)
    }
    return {name: [item for item in entries if section[item["patient_id"]] == name] for name in SECTIONS}


def split_by_size(
    entries: Sequence[Item], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[Item]]:
    """The same where patients have very different numbers of items, such as tiles: the fractions count items.

    Of the patients, in random order, each one comes into the test list who does not make it much larger than what is
    asked for, then into validation likewise; the rest train. From three patients on no list that is asked for is empty.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    check_fractions(val_fraction, test_fraction)
    sizes = Counter(item["patient_id"] for item in entries)
    left = shuffled(sizes, seed)
    section = dict.fromkeys(left, "training")
    for name, fraction, others in (("test", test_fraction, 1 + bool(val_fraction)), ("validation", val_fraction, 1)):
        goal, total = fraction * len(entries), 0
        taken: list[str] = []
        for patient in left if fraction else ():
            if len(left) - len(taken) > others and sizes[patient] <= _OVER * (goal - total):
                taken.append(patient)
                total += sizes[patient]
        if not taken and fraction and len(left) > others:
            taken = [min(left, key=lambda patient: abs(sizes[patient] - goal))]
        section |= dict.fromkeys(taken, name)
        left = [patient for patient in left if patient not in taken]
    return {name: [item for item in entries if section[item["patient_id"]] == name] for name in SECTIONS}


def dealt(entries: Sequence[Item], said: str, fractions: tuple[float, float], seed: int, **keys: Any) -> dict[str, Any]:
    """The datalist of `split_by_patient`: a description, the three lists, and what else is known of it.

    Args:
        entries: items with `patient_id`.
        said: what the items are.
        fractions: of the patients that select and that are tested.
        seed: deals them.
        **keys: further ones of a datalist; None leaves one out.
    """
    lists = split_by_patient(entries, *fractions, seed)
    known = {key: value for key, value in keys.items() if value is not None}
    return {"description": f"{said}: split by patient (seed {seed}).", **lists, **known}


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse fractions that are no shares.

    Raises:
        InputError: a negative one, a text, or fractions that leave nothing for training.
    """
    numbers = all(isinstance(part, int | float) for part in (val_fraction, test_fraction))
    if not numbers or min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
        found = f"val_fraction {val_fraction} and test_fraction {test_fraction}"
        raise InputError(f"{found} must not be negative and must leave something for training.")


def deal(count: int, folds: int, seed: int) -> list[list[int]]:
    """Positions 0 to count - 1, shuffled and dealt round-robin: fold i gets every folds-th one from i on; each sorted.

    This is what `monai.data.partition_dataset` and MONAI's `CrossValidation` do, so that published folds come out.
    NumPy promises that this old generator never changes.
    """
    order = list(range(count))
    np.random.RandomState(seed).shuffle(order)
    return [sorted(order[start::folds]) for start in range(folds)]


def split_by_fold(
    entries: Sequence[Item],
    name: str,
    fold: int = 0,
    folds: int = 5,
    seed: int = 12345,
    val_fraction: float = 0.1,
    parity: bool = False,
) -> Datalist:
    """Cross-validation by patient: one fold is the test list, a share of the others selects, the rest trains.

    With fewer patients than folds each patient is a fold. Two patients train and select; a single one trains. `folds=1`
    puts everything into the test list, for the evaluation of a finished network on other data.

    Args:
        entries: items with `patient_id`; the patients are dealt in the order of their first items.
        name: what the data set is called in the description.
        fold: which fold is tested.
        folds: how many there are.
        seed: shuffles the patients, and chooses those that select.
        val_fraction: share of the patients outside the fold that selects; if positive, at least one.
        parity: the papers' own use instead: the fold both selects and is tested, all others train.

    Returns:
        The three lists, in the order of `entries`, with a description and the `parity` mark.

    Raises:
        InputError: a fold that does not exist, or an impossible fraction.
    """
    patients = list(dict.fromkeys(item["patient_id"] for item in entries))
    _check_folds(fold, folds, val_fraction, len(patients))
    used = min(folds, len(patients))
    test = {patients[index] for index in deal(len(patients), used, seed)[fold]}
    rest = [patient for patient in patients if patient not in test]
    said = f"fold {fold} of {used} (0 to {used - 1}, seed {seed}) is tested"
    if parity:
        validation = test
        said += " and selects, as in the papers"
    else:
        wanted = max(round(val_fraction * len(rest)), 1) if val_fraction else 0
        validation = set(shuffled(rest, seed)[: max(min(wanted, len(rest) - 1), 0)])
        if used == len(patients) == 2 and val_fraction:
            test, validation = set(), test  # nothing can be trained without a validation list
        elif len(patients) == 1 < folds:
            test, rest = set(), patients
        said = f"{said}, {len(validation)} of {len(rest)} other patients select" if test else "too few for a test list"
        said = said if rest else "all cases are tested"
    chosen = {"training": set(rest) - validation, "validation": validation, "test": test}
    if len(patients) < _FEW_PATIENTS:
        counts = ", ".join(f"{section} {len(chosen[section])}" for section in SECTIONS)
        print(f"Only {len(patients)} patient(s), dealt as {counts}: scores on so few say little.")
    lists = {part: [item for item in entries if item["patient_id"] in chosen[part]] for part in SECTIONS}
    return {"description": f"{name}: {said}.", **lists, **({"parity": True} if parity else {})}


def _check_folds(fold: int, folds: int, val_fraction: float, patients: int) -> None:
    if not isinstance(folds, int) or folds < 1:
        raise InputError(f"folds is {folds!r}, expected a whole number from 1 on.")
    last = min(folds, patients) - 1
    if not isinstance(fold, int) or not 0 <= fold <= last:
        raise InputError(f"fold is {fold!r}, expected 0 to {last} (folds {folds}, {patients} patients).")
    if not isinstance(val_fraction, int | float) or not 0 <= val_fraction < 1:
        raise InputError(f"val_fraction is {val_fraction!r}, expected a number from 0 to below 1.")


def with_parity(lists: Lists) -> Datalist:
    """The papers' own use: the test list (or the validation list, without one) also selects, all others train."""
    held_out = lists["test"] or lists["validation"]
    training = lists["training"] + (lists["validation"] if lists["test"] else [])
    return {"training": training, "validation": held_out, "test": held_out, "parity": True}
