"""A split that is given: by another datalist of the same images or patients, or by a table."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.datalist import load
from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS, Datalist, Item, as_list, case_names
from bundle_runtime.data.tables import Table, of_cases
from custom_components.errors import InputError

from .split import Lists, section_name, with_parity


def split_like(made: Datalist, earlier: str | Path, base: Path, take_patients: bool = False) -> Datalist:
    """Deal the items of a datalist as another one has their images, or else their patients.

    Items of which it names neither train: nothing that it validates or tests on is among them. How many is printed.

    Args:
        made: the datalist; its images are paths from the data folder.
        earlier: the other one. Its paths start at its own folder, or at the data folder where it was written elsewhere.
        base: the data folder.
        take_patients: give the images that it names its patients, too.

    Returns:
        The same with other lists; a parity list where one of both is.

    Raises:
        InputError: the other datalist cannot be read, or names none of the images and patients.
    """
    content = load(earlier)
    by_file, by_patient = _places(content, Path(earlier).parent, base)
    placed, new = [], []
    entries = _entries(made)
    for case, entry in entries.items():
        found = by_file.get(_key(base, as_list(entry["image"])[0]))
        part = by_patient.get(entry["patient_id"]) if found is None else found[0]
        if part is None:
            new.append(case)
        if found is not None and take_patients:
            entry = {**entry, "patient_id": found[1] or entry["patient_id"]}
        placed.append((entry, part or "training"))
    if len(new) == len(entries):
        raise InputError(
            f"{earlier}: split_from names none of the {len(new)} images of {base}, such as {some(new, 2)}, and none "
            "of their patients; give the datalist of the same images, or name --patient_pattern or --patients."
        )
    print(f"{len(entries) - len(new)} of {len(entries)} images come into the lists where {earlier} has them.")
    if new:
        print(f"It names neither the others nor their patients; they train: {some(new, 3)}.")
    return _dealt(made, placed, base, earlier, bool(content.get("parity")))


def split_by_table(made: Datalist, path: str | Path, base: Path) -> Datalist:
    """Deal the items of a datalist as `read_sections` says; arguments and result are those of `split_like`."""
    entries = _entries(made)
    sections = read_sections(path, {case: entry["patient_id"] for case, entry in entries.items()})
    return _dealt(made, [(entry, sections[case]) for case, entry in entries.items()], base, path)


def read_sections(path: str | Path, owner: Mapping[str, str]) -> dict[str, str]:
    """Case -> training, validation or test, from a table with the columns case (or slide) and section.

    Args:
        path: the table.
        owner: case -> patient.

    Raises:
        InputError: unreadable, a wrong section, a case in two lists or in none, or a patient in two lists.
    """
    words = of_cases(Table(path).mapping(("case", "slide"), ("section", "split")), list(owner), path, "section")
    sections: dict[str, str] = {}
    by_patient: dict[str, str] = {}
    for case, word in words.items():
        part = section_name(word)
        if part is None:
            raise InputError(f"{path}: {case} has the section {word!r}; expected training, validation or test.")
        sections[case] = part
        before = by_patient.setdefault(owner[case], part)
        if before != part:
            raise InputError(
                f"{path}: patient {owner[case]} is in two lists, {before} and {part} ({case}); put all cases of a "
                "patient into one."
            )
    return sections


def _entries(made: Datalist) -> dict[str, Item]:
    """The items of all lists, sorted, by image, or by case where that has several; a parity list has some twice."""
    names = case_names(made)
    pairs = [pair for part in SECTIONS for pair in zip(names[part], made[part], strict=True)]
    ordered = sorted(pairs, key=lambda pair: as_list(pair[1]["image"]))
    return {item["image"] if isinstance(item["image"], str) else case: item for case, item in ordered}


def _dealt(
    made: Datalist, placed: Sequence[tuple[Item, str]], base: Path, path: str | Path, parity: bool = False
) -> Datalist:
    lists: Lists = {part: [entry for entry, its in placed if its == part] for part in SECTIONS}
    dealt = with_parity(lists) if parity or made.get("parity") else lists
    return {**made, **dealt, "description": f"{base.resolve().name}: lists as in {Path(path).name}."}


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
