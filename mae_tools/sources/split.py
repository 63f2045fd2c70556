"""Seeded splits by patient."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.data.schema import SECTIONS, Datalist, Item
from bundle_runtime.data.sequences import patient_of
from bundle_runtime.data.tables import read_patients
from custom_components.errors import InputError

_FEW_PATIENTS = 10
_OVER = 1.5  # times what a list still lacks, that a patient who is dealt to it may have

Lists = dict[str, list[Item]]


@dataclass
class Found:
    """What a source found of a data set, before it is split.

    Attributes:
        entries: all items, with `patient_id`; those of `given` where it is empty.
        given: the lists that came with the data; what they lack is taken out of training.
        origin: where these lists come from, in words.
        keys: further ones of the datalist; None leaves one out.
        name: what the data is called (default: as its folder).
        unit: what `by_patient` deals, where a patient goes by another name.
        said: how the description tells what was done, which stands for the braces.
        settings: those of the split that follow from the source's own.
        select_of_training: with `train_fraction`, what selects is a share of those that train.
        shown: the classes that each patient's label maps show, where they were read; `by_patient` spreads them.
    """

    entries: Sequence[Item] = ()
    given: Lists | None = None
    origin: str = "lists as given"
    keys: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    unit: str = "patient"
    said: str = "{}"
    settings: Mapping[str, Any] = field(default_factory=dict)
    select_of_training: bool = False
    shown: Mapping[str, Collection[int]] = field(default_factory=dict)


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


def patients_of(cases: Sequence[str], path: str | Path | None) -> dict[str, str]:
    """Case -> patient, by a table (`read_patients`) or by what its name says, which is printed.

    Raises:
        InputError: see `read_patients`.
    """
    if path is not None:
        return read_patients(path, cases)
    owner = {case: patient_of(case) for case in cases}
    count = len(set(owner.values()))
    said = f"{len(cases)} cases are of {count} patients by their names" if count < len(cases) else ""
    print(f"{said or 'Every case counts as a patient of its own'}; where that is wrong, give --patients.")
    return owner


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in a random order that depends on seed and names alone, on every platform and library version."""
    return sorted(
        set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
    )


def rarest(shown: Mapping[str, Collection[int]], counts: Mapping[int, int]) -> dict[int, list[str]]:
    """Class -> the patients of whose classes it is the rarest; -1 for those without any.

    Args:
        shown: the classes of each patient.
        counts: how often each class occurs.
    """
    groups: dict[int, list[str]] = {}
    for patient, classes in shown.items():
        groups.setdefault(min(classes, key=lambda index: (counts[index], index), default=-1), []).append(patient)
    return groups


def _spread(order: Sequence[str], shown: Mapping[str, Collection[int]]) -> list[str]:
    """Patients in such an order that any first part of them has of each group of `rarest` about its share."""
    counts = Counter(index for classes in shown.values() for index in classes)
    place = {}
    for group in map(set, rarest({patient: shown.get(patient, ()) for patient in order}, counts).values()):
        for number, patient in enumerate(patient for patient in order if patient in group):
            place[patient] = (number + 0.5) / len(group)
    return sorted(order, key=place.__getitem__)


def split_by_patient(
    entries: Sequence[Item],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    shown: Mapping[str, Collection[int]] | None = None,
) -> Lists:
    """Deal items to training, validation and test so that no patient is in two of them.

    The fractions count patients; from three patients on, a list with a positive fraction gets at least one.

    Args:
        entries: the items.
        val_fraction: share of the patients that selects.
        test_fraction: share that is tested.
        seed: deals them.
        shown: the classes of each patient, of which rare ones are spread over the lists.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    check_fractions(val_fraction, test_fraction)
    order = shuffled((item["patient_id"] for item in entries), seed)
    order = _spread(order, shown) if shown else order
    return sorted_out(entries, shares(order, val_fraction, test_fraction, round))


def shares(
    order: Sequence[str], val_fraction: float, test_fraction: float, rounded: Callable[[float], int]
) -> dict[str, str]:
    """The patients that are tested, the first in order, and those that select; from three on, of either at least one.

    Args:
        order: the patients.
        val_fraction: share that selects.
        test_fraction: share that is tested.
        rounded: makes a whole number of a share.
    """
    least = 1 if len(order) >= 3 else 0
    n_test, n_val = (max(rounded(part * len(order)), least) if part else 0 for part in (test_fraction, val_fraction))
    if n_test + n_val >= len(order):  # rounding up must not take the last training patient
        n_test, n_val = min(n_test, least), min(n_val, least)
    return dict.fromkeys(order[:n_test], "test") | dict.fromkeys(order[n_test : n_test + n_val], "validation")


def sorted_out(entries: Sequence[Item], section: Mapping[str, str]) -> Lists:
    """Items in the lists of their patients; others train."""
    return {
        name: [item for item in entries if section.get(item["patient_id"], "training") == name] for name in SECTIONS
    }


def split_by_size(entries: Sequence[Item], val_fraction: float, test_fraction: float, seed: int) -> Lists:
    """The same where patients have very different numbers of items, such as tiles: the fractions count items.

    Of the patients, in random order, each one comes into the test list who does not make it much larger than what is
    asked for, then into validation likewise; the rest train. From three patients on no list that is asked for is empty.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    check_fractions(val_fraction, test_fraction)
    sizes = Counter(item["patient_id"] for item in entries)
    left = shuffled(sizes, seed)
    section: dict[str, str] = {}
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
    return sorted_out(entries, section)


def by_patient(
    found: Found, val_fraction: float = 0.2, test_fraction: float = 0.2, seed: int = 0
) -> tuple[Datalist, str]:
    """The split of `split_by_patient`.

    Args:
        found: the items.
        val_fraction: share of the patients that selects.
        test_fraction: share of the patients that is read once, at the end.
        seed: deals the patients.

    Returns:
        The lists, and what was done in words.
    """
    said = f"split by {found.unit}{', rare classes spread' if found.shown else ''} (seed {seed})"
    return split_by_patient(found.entries, val_fraction, test_fraction, seed, found.shown), said


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


def by_fold(
    found: Found, fold: int = 0, folds: int = 5, val_fraction: float = 0.1, seed: int = 12345, parity: bool = False
) -> tuple[Datalist, str]:
    """Cross-validation by patient: one fold is the test list, a share of the others selects, the rest trains.

    With fewer patients than folds each patient is a fold. Two patients train and select; a single one trains. `folds=1`
    puts everything into the test list, for the evaluation of a finished network on other data.

    Args:
        found: the items; the patients are dealt in the order of their first ones.
        fold: which fold of the patients is the test list.
        folds: how many there are; 1 puts everything into the test list.
        val_fraction: share of the patients outside the fold that selects; if positive, at least one.
        seed: shuffles the patients, and chooses those that select.
        parity: the papers' own use instead: the fold both selects and is tested, all others train.

    Returns:
        The three lists, in the order of the items, with the `parity` mark, and what was done in words.

    Raises:
        InputError: a fold that does not exist, or an impossible fraction.
    """
    entries = found.entries
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
    return {**lists, **({"parity": True} if parity else {})}, said


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
