"""Labelled pictures dealt to training, validation and test, class by class; and what came out, said in a table."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS, Datalist, Item
from custom_components.errors import InputError

from .pictures import own_patient
from .split import Lists, check_fractions, shuffled, split_by_patient, with_parity


def classes_of(item: Item) -> list[int]:
    """The class of an item, or its positive findings; [] for none."""
    label = item.get("label")
    if isinstance(label, list):
        return [index for index, value in enumerate(label) if value == 1]
    return [] if label is None else [label]


def is_labelled(item: Item) -> bool:
    """Whether anything is known of an item: its class, or one finding at least."""
    label = item.get("label")
    return any(value is not None for value in label) if isinstance(label, list) else label is not None


def deal_lists(
    entries: Sequence[Item],
    given: Lists | None,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    per_class: bool = True,
    parity: bool = False,
    origin: str = "lists as given",
    advice: str = "correct the lists",
) -> tuple[Datalist, str]:
    """Make the three lists, from scratch or from those that came with the data.

    Args:
        entries: all items, with `patient_id`.
        given: the lists that came with the data, if any; empty ones are taken from training.
        val_fraction: share of the patients that selects.
        test_fraction: share of the patients that is tested.
        seed: deals them.
        per_class: deal the patients of each class by themselves.
        parity: the papers' own use: what is tested also selects, all others train.
        origin: where the given lists come from, in words.
        advice: what to do about patients in several of them.

    Returns:
        The three lists, with the `parity` mark where asked, and what was done in words.

    Raises:
        InputError: impossible fractions, nothing to train on, or patients in several lists.
    """
    val_fraction = 0 if parity else val_fraction
    if given is None:
        lists = deal(entries, val_fraction, test_fraction, seed, per_class)
        named = any(item["patient_id"] != own_patient(item["image"]) for item in entries)
        by = "patient" if named else "picture, each as a patient of its own"
        said = f"split by {by}{', class by class' if per_class else ''} (seed {seed})"
    else:
        test_fraction = 0 if parity and given["validation"] else test_fraction
        lists, taken = _completed(given, val_fraction, test_fraction, seed, per_class, advice)
        said = f"{origin}, {' and '.join(taken)} taken out of training (seed {seed})" if taken else origin
    if parity:
        return with_parity(lists), f"{said}; the test list also selects, as in the papers"
    return lists, said


def _completed(
    given: Lists, val_fraction: float, test_fraction: float, seed: int, per_class: bool, advice: str
) -> tuple[Lists, list[str]]:
    """The given lists, and in place of empty ones a share of training; which those are."""
    check_disjoint(given, advice)
    if not given["training"]:
        raise InputError(f"The given lists hold no training image; {advice}.")
    val_fraction, test_fraction = (
        0 if given[name] else part for name, part in (("validation", val_fraction), ("test", test_fraction))
    )
    dealt = deal(given["training"], val_fraction, test_fraction, seed, per_class)
    taken = [name for name in ("validation", "test") if dealt[name]]
    return {name: dealt[name] or given[name] for name in SECTIONS}, taken


def deal(entries: Sequence[Item], val_fraction: float, test_fraction: float, seed: int, per_class: bool) -> Lists:
    """Deal items by patient: those of each class by themselves, or all who are labelled; the others train.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    if per_class:
        return split_by_class(entries, val_fraction, test_fraction, seed)
    known = {item["patient_id"] for item in entries if is_labelled(item)}
    labelled = [item for item in entries if item["patient_id"] in known]
    dealt = split_by_patient(labelled, val_fraction, test_fraction, seed)
    return _sorted_out(entries, {item["patient_id"]: part for part in SECTIONS for item in dealt[part]})


def split_by_class(entries: Sequence[Item], val_fraction: float, test_fraction: float, seed: int) -> Lists:
    """Deal items by patient like `split_by_patient`, the patients of each class by themselves.

    A patient with several classes or findings counts for the rarest of them, so that rare ones come into every list.
    Each class gives the whole number of patients below its share, from three patients on at least one. Patients of whom
    nothing is known train.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    check_fractions(val_fraction, test_fraction)
    section: dict[str, str] = {}
    for patients in strata(entries).values():
        order = shuffled(patients, seed)
        least = 1 if len(order) >= 3 else 0
        n_test, n_val = (
            max(math.floor(part * len(order) + 1e-9), least) if part else 0 for part in (test_fraction, val_fraction)
        )
        if n_test + n_val >= len(order):
            n_test, n_val = min(n_test, least), min(n_val, least)
        section |= dict.fromkeys(order[:n_test], "test") | dict.fromkeys(order[n_test : n_test + n_val], "validation")
    return _sorted_out(entries, section)


def strata(entries: Sequence[Item]) -> dict[int, list[str]]:
    """Class -> the patients for whom it is the rarest; -1 for those without a finding. Unknown ones are left out."""
    images = Counter(index for item in entries for index in classes_of(item))
    rarest: dict[str, int] = {}
    for item in entries:
        if is_labelled(item):
            candidates = [*classes_of(item), rarest.get(item["patient_id"], -1)]
            known = [index for index in candidates if index >= 0]
            rarest[item["patient_id"]] = min(known, key=lambda index: (images[index], index), default=-1)
    strata: dict[int, list[str]] = {}
    for patient, index in rarest.items():
        strata.setdefault(index, []).append(patient)
    return strata


def _sorted_out(entries: Sequence[Item], section: Mapping[str, str]) -> Lists:
    return {
        name: [item for item in entries if section.get(item["patient_id"], "training") == name] for name in SECTIONS
    }


def check_disjoint(lists: Lists, advice: str) -> None:
    """Refuse patients in several lists.

    Raises:
        InputError: some are; the first are named with their lists.
    """
    places: dict[str, set[str]] = {}
    for name in SECTIONS:
        for item in lists[name]:
            places.setdefault(item["patient_id"], set()).add(name)
    crossing = [patient for patient, names in sorted(places.items()) if len(names) > 1]
    if crossing:
        first = " and ".join(name for name in SECTIONS if name in places[crossing[0]])
        raise InputError(
            f"{len(crossing)} patient(s) are in several lists, {crossing[0]} in {first}: {some(crossing)}; {advice}."
        )


def say_labels(datalist: Datalist) -> None:
    """Print how often each class or finding occurs in each list, and warn of those that cannot be learned or scored."""
    names: list[str] = datalist["class_names"]
    counts = {part: Counter(index for item in datalist[part] for index in classes_of(item)) for part in SECTIONS}
    width = max(len("unlabelled"), *map(len, names))
    print(f"{'':{width}}  {'  '.join(f'{part:>10}' for part in SECTIONS)}")
    for index, name in enumerate(names):
        print(f"{name:{width}}  {'  '.join(f'{counts[part][index]:>10}' for part in SECTIONS)}")
    unlabelled = {part: sum(not is_labelled(item) for item in datalist[part]) for part in SECTIONS}
    if any(unlabelled.values()):
        print(f"{'unlabelled':{width}}  {'  '.join(f'{unlabelled[part]:>10}' for part in SECTIONS)}")
    if datalist.get("ordered"):
        print(f"Grades, lowest first: {', '.join(names)}; --class_names gives another order.")
    for warning in _warnings(datalist, counts):
        print(f"Warning: {warning}")


def _warnings(datalist: Datalist, counts: Mapping[str, Counter[int]]) -> Iterator[str]:
    constant = set()
    if datalist["task"] == "multi_label":
        for index, name in enumerate(datalist["class_names"]):
            values = {item["label"][index] for part in SECTIONS for item in datalist[part] if "label" in item} - {None}
            if len(values) < 2:
                constant.add(name)
                found = f"is {next(iter(values))} wherever it is known" if values else "is unknown in every image"
                yield f"the finding {name} {found}; nothing can be learned about it, leave it out."
    for part in SECTIONS:
        absent = [name for index, name in enumerate(datalist["class_names"]) if not counts[part][index]]
        absent = [name for name in absent if name not in constant]
        if datalist[part] and absent:
            what = "cannot be learned" if part == "training" else "cannot be scored there"
            yield f"no {part} image shows {some(absent, 14)}; that {what}."


def common_keys(task: str, class_names: Sequence[str], modality: str | None, ordered: bool = False) -> dict[str, Any]:
    """The keys at the top of a datalist for classification."""
    more: dict[str, Any] = {} if modality is None else {"modality": modality}
    return {"task": task, "class_names": list(class_names), **more, **({"ordered": True} if ordered else {})}
