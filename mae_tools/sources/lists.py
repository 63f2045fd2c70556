"""Labelled pictures dealt to training, validation and test, class by class; and what came out, said in a table."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS, Datalist, Item
from custom_components.errors import InputError

from .crossing import resolve_crossing
from .pictures import own_patient
from .split import Found, Lists, check_fractions, rarest, shares, shuffled, sorted_out, split_by_patient, with_parity


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


def by_class(
    found: Found,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    train_fraction: float | None = None,
    crossing: str = "refuse",
    seed: int = 0,
    per_class: bool = True,
    parity: bool = False,
) -> tuple[Datalist, str]:
    """Make the three lists, from scratch or from those that came with the data.

    Args:
        found: the items.
        val_fraction: share of the patients that selects.
        test_fraction: share of the patients that is read once, at the end.
        train_fraction: instead of it, the share that is not tested (MSMAE: 0.7); given lists are put together for it.
        crossing: patients who are in several of the given lists: refuse them, drop their images of an earlier list
            (training gives way to validation, both to test), or keep the lists as they are.
        seed: deals the patients.
        per_class: deal the patients of each class or rarest finding by themselves, so that each list gets some.
        parity: the papers' own use: the test list (or the validation list, without one) also selects.

    Returns:
        The three lists, with the `parity` mark where asked, and what was done in words.

    Raises:
        InputError: impossible fractions, nothing to train on, or patients in several lists.
    """
    given, origin = found.given, found.origin
    entries = found.entries or [item for part in SECTIONS for item in (given or {}).get(part, [])]
    if train_fraction is not None:
        if not isinstance(train_fraction, int | float) or not 0 < train_fraction < 1:
            raise InputError(f"train_fraction is {train_fraction!r}, expected a number between 0 and 1.")
        if given is not None:
            print("The given lists are put together and dealt anew by train_fraction.")
        given, test_fraction = None, 1 - train_fraction
        if found.select_of_training:
            given, origin = deal_entries(entries, 0, test_fraction, seed, per_class)
            test_fraction = 0
    val_fraction = 0 if parity else val_fraction
    if given is None:
        lists, said = deal_entries(entries, val_fraction, test_fraction, seed, per_class)
    else:
        given, resolved = resolve_crossing(given, crossing)
        test_fraction = 0 if parity and given["validation"] else test_fraction
        lists, taken = _completed(given, val_fraction, test_fraction, seed, per_class)
        said = origin + resolved
        said += f", {' and '.join(taken)} taken out of training (seed {seed})" if taken else ""
    if parity:
        return with_parity(lists), f"{said}; the test list also selects, as in the papers"
    return lists, said


def _completed(
    given: Lists, val_fraction: float, test_fraction: float, seed: int, per_class: bool
) -> tuple[Lists, list[str]]:
    """The given lists, and in place of empty ones a share of training; which those are."""
    if not given["training"]:
        raise InputError("The given lists hold no training image; correct the lists.")
    val_fraction, test_fraction = (
        0 if given[name] else part for name, part in (("validation", val_fraction), ("test", test_fraction))
    )
    dealt, _ = deal_entries(given["training"], val_fraction, test_fraction, seed, per_class)
    taken = [name for name in ("validation", "test") if dealt[name]]
    return {name: dealt[name] or given[name] for name in SECTIONS}, taken


def deal_entries(
    entries: Sequence[Item], val_fraction: float, test_fraction: float, seed: int, per_class: bool
) -> tuple[Lists, str]:
    """Deal items by patient: those of each class by themselves, or all who are labelled; the others train.

    Returns:
        The lists, and how they were dealt.

    Raises:
        InputError: fractions that leave nothing for training.
    """
    named = any(item["patient_id"] != own_patient(item["image"]) for item in entries)
    by = "patient" if named else "picture, each as a patient of its own"
    said = f"split by {by}{', class by class' if per_class else ''} (seed {seed})"
    if per_class:
        return split_by_class(entries, val_fraction, test_fraction, seed), said
    known = {item["patient_id"] for item in entries if is_labelled(item)}
    labelled = [item for item in entries if item["patient_id"] in known]
    dealt = split_by_patient(labelled, val_fraction, test_fraction, seed)
    return sorted_out(entries, {item["patient_id"]: part for part in SECTIONS for item in dealt[part]}), said


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
        section |= shares(shuffled(patients, seed), val_fraction, test_fraction, _whole)
    return sorted_out(entries, section)


def _whole(number: float) -> int:
    return math.floor(number + 1e-9)


def strata(entries: Sequence[Item]) -> dict[int, list[str]]:
    """Class -> the patients for whom it is the rarest; -1 for those without a finding. Unknown ones are left out."""
    shown: dict[str, set[int]] = {}
    for item in entries:
        if is_labelled(item):
            shown.setdefault(item["patient_id"], set()).update(classes_of(item))
    return rarest(shown, Counter(index for item in entries for index in classes_of(item)))


def refuse_counts(where: object, problems: Sequence[str]) -> None:
    """Refuse a published data set whose numbers are not those published.

    Raises:
        InputError: some differ; the first are named.
    """
    if problems:
        raise InputError(
            f"{where}: {some(problems, 3)}; unpack or download it again, or pass --counts false for a smaller set."
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
    return {"task": task, "class_names": list(class_names), "modality": modality, "ordered": ordered or None}
