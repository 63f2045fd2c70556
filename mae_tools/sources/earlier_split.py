"""The split of another datalist of the same pictures or patients, taken over: what one tests, none may train on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.datalist import load
from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS, Datalist, Item, as_list
from custom_components.errors import InputError

from .lists import Lists


def split_like(
    entries: Sequence[Item], earlier: str | Path, base: Path, take_patients: bool = False
) -> tuple[Lists, bool]:
    """Put items into the lists where another datalist has their pictures, or else their patients.

    Items of which it names neither train: nothing that it validates or tests on is among them. How many is printed.

    Args:
        entries: items with `image`, a path from the data folder, and `patient_id`.
        earlier: the other datalist. Its paths start at its own folder, or at the data folder where it was written
            elsewhere.
        base: the data folder.
        take_patients: give the pictures that it names its patients, too.

    Returns:
        The three lists, and whether the other one is a parity list (what it tests also selects).

    Raises:
        InputError: the datalist cannot be read, or names none of the pictures and patients.
    """
    content = load(earlier)
    by_file, by_patient = _places(content, Path(earlier).parent, base)
    lists: Lists = {part: [] for part in SECTIONS}
    new = []
    for entry in entries:
        found = by_file.get(_key(base, entry["image"]))
        part = by_patient.get(entry["patient_id"]) if found is None else found[0]
        if part is None:
            new.append(entry["image"])
        if found is not None and take_patients:
            entry = {**entry, "patient_id": found[1] or entry["patient_id"]}
        lists[part or "training"].append(entry)
    if len(new) == len(entries):
        raise InputError(
            f"{earlier}: split_from names none of the {len(new)} pictures of {base}, such as {some(new, 2)}, and none "
            "of their patients; give the datalist of the same pictures, or name --patient_pattern or --patients."
        )
    print(f"{len(entries) - len(new)} of {len(entries)} pictures come into the lists where {earlier} has them.")
    if new:
        print(f"It names neither the others nor their patients; they train: {some(new, 3)}.")
    return lists, bool(content.get("parity"))


def _places(content: Datalist, folder: Path, base: Path) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Picture -> (list, patient or ""), and patient -> list. In a parity list the test list comes last and stays."""
    by_file: dict[str, tuple[str, str]] = {}
    by_patient: dict[str, str] = {}
    for part in SECTIONS:
        for item in content[part]:
            patient = str(item.get("patient_id", ""))
            if patient:
                by_patient[patient] = part
            for file in as_list(item["image"]):
                place = _key(folder, file)
                by_file[place if os.path.exists(place) else _key(base, file)] = part, patient
    return by_file, by_patient


def _key(folder: Path, file: Any) -> str:
    """A path that is the same however its folder is written."""
    return os.path.normpath(os.path.join(os.path.realpath(folder), file))
