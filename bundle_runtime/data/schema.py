"""What a datalist may contain, and every way in which one can be wrong; `datalist.py` reads and writes it."""

import difflib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError

from .conventions import convention
from .sequences import file_stem, readable, sequence_names

SECTIONS = ("training", "validation", "test")
TASKS = ("multi_label", "multi_class")  # what `label` means in a datalist of pictures
# What the values of a mask mean, where pictures are segmented: a class each, two values, or a number an object.
MASK_KINDS = ("classes", "binary", "instance")

CORNERS = "corners"  # a background that is what most corners of a volume share

Item = dict[str, Any]
Datalist = dict[str, Any]

SHARED_KEYS = {"sequences", "label_convention", "background"}  # for the whole list, or for one item
_TOP_KEYS = {
    "task",
    "class_names",
    "modality",
    "description",
    "parity",
    "ordered",
    "mask_kind",
    "mpp",
    "tissue_fraction",
    *SHARED_KEYS,
    *SECTIONS,
}
_ITEM_KEYS = {"image", "label", "patient_id", "unlabelled", "brain_mask", *SHARED_KEYS}


def schema_problems(content: Any) -> Iterator[str]:
    """What is wrong with the keys and types of a datalist, in reading order."""
    if not isinstance(content, dict):
        yield f"expected a JSON object with the lists {', '.join(SECTIONS)}, found a {type(content).__name__}"
        return
    yield from _unknown_keys("top level", content, _TOP_KEYS)
    if not any(section in content for section in SECTIONS):
        yield f"found none of the lists {', '.join(SECTIONS)}"
    task = content.get("task")
    if "task" in content and task not in TASKS:
        yield f"task is {task!r}; expected {' or '.join(TASKS)}, or no task for segmentation"
    yield from _class_name_problems(content.get("class_names"), task)
    for key, kind in (("modality", (str, dict)), ("description", str), ("parity", bool), ("ordered", bool)):
        if key in content and not isinstance(content[key], kind):
            yield f"{key} has the wrong type {type(content[key]).__name__}"
    share = content.get("tissue_fraction", 0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        yield f"tissue_fraction is {share!r}; expected the least share of tissue of a tile, from 0 to 1"
    mpp = content.get("mpp", 1)
    if isinstance(mpp, bool) or not isinstance(mpp, int | float) or not 0 < mpp < math.inf:
        yield f"mpp is {mpp!r}; expected the micrometres a pixel of the pictures, a positive number"
    yield from _picture_problems(content)
    yield from _shared_problems(content)
    for section in SECTIONS:
        entries = content.get(section, [])
        if not isinstance(entries, list):
            yield f"{section} must be a list of items; found a {type(entries).__name__}"
            continue
        for index, item in enumerate(entries):
            for problem in _entry_problems(item, task):
                yield f"{section}[{index}]: {problem}"


def _picture_problems(content: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the keys that say how labels of pictures are meant."""
    task, kind = content.get("task"), content.get("mask_kind", MASK_KINDS[0])
    if kind not in MASK_KINDS:
        yield f"mask_kind is {kind!r}; expected one of {', '.join(MASK_KINDS)}"
    elif "mask_kind" in content and task in TASKS:
        yield f"mask_kind is for segmentation, and the task is {task}; remove one of them"
    elif kind != MASK_KINDS[0] and len(content.get("class_names") or ["", ""]) != 2:
        yield f"mask_kind {kind} tells one class from the background; found the class_names {content['class_names']!r}"
    if content.get("ordered") and task != "multi_class":
        yield "ordered is for classes of increasing grade, and needs the task multi_class"


def _class_name_problems(names: Any, task: Any) -> Iterator[str]:
    """What is wrong with the class names; a single finding is a task of its own."""
    least, text = {
        "multi_label": (1, "one or more different findings"),
        "multi_class": (2, "at least two different classes"),
    }.get(str(task), (2, "at least two different names, background first"))
    if names is not None and (not _is_names(names) or len(names) < least or len(set(names)) != len(names)):
        yield f"class_names must be a list of {text}; found {names!r}"


def _entry_problems(item: Any, task: Any) -> Iterator[str]:
    """What is wrong with the keys and types of one item."""
    if not isinstance(item, dict):
        yield f"expected an item with 'image' and 'label', found a {type(item).__name__}"
        return
    yield from _unknown_keys("item", item, _ITEM_KEYS)
    image = item.get("image")
    if image is None:
        yield "has no 'image'"
    elif not (isinstance(image, str) and image) and not (_is_names(image) and image):
        yield f"'image' must be a path or a list of paths; found {image!r}"
    if "label" in item:
        yield from _label_problems(item["label"], task)
    patient = item.get("patient_id", "")
    if isinstance(patient, bool) or not isinstance(patient, str | int) or ("patient_id" in item and patient == ""):
        yield f"'patient_id' must be a text; found {patient!r}"
    if not isinstance(item.get("brain_mask", ""), str):
        yield f"'brain_mask' must be a path; found {item['brain_mask']!r}"
    if not _is_names(item.get("unlabelled", [])):
        yield f"'unlabelled' must be a list of class names; found {item['unlabelled']!r}"
    elif task in TASKS and "unlabelled" in item:
        yield f"'unlabelled' is for segmentation, and the task is {task}; an unknown finding is null in 'label'"
    yield from _shared_problems(item)


def _label_problems(label: Any, task: Any) -> Iterator[str]:
    """What is wrong with the type of a label."""
    is_flags = isinstance(label, list) and bool(label) and all(value is None or value in (0, 1) for value in label)
    is_index = isinstance(label, int) and not isinstance(label, bool) and label >= 0
    if task == "multi_label":
        fits, expected = is_flags, "a list of 0, 1 and null (unknown), one a finding (multi_label)"
    elif task == "multi_class":
        fits, expected = is_index, "a class index, 0 or more (multi_class)"
    else:
        fits = is_flags or is_index or (isinstance(label, str) and bool(label))
        expected = "a path, a class index or a list of 0, 1 and null (unknown)"
    if not fits:
        yield f"'label' must be {expected}; found {label!r}"


def _shared_problems(content: dict[str, Any]) -> Iterator[str]:
    """What is wrong with sequence names and the label convention, of the list or of an item."""
    sequences = content.get("sequences", [""])
    if not isinstance(sequences, list) or not all(isinstance(name, str) for name in sequences):
        yield f"'sequences' must be a list of names such as flair, t1, t1ce, t2; found {sequences!r}"
    elif "sequences" in content:
        try:
            sequence_names(sequences)
        except InputError as error:
            yield str(error).removesuffix(".")
    for key, check in (("label_convention", convention), ("background", check_background)):
        try:
            if key in content:
                check(content[key])
        except InputError as error:
            yield str(error).removesuffix(".")


def check_background(value: Any, where: str = "background") -> None:
    """Refuse what is neither a number nor the word "corners".

    Raises:
        InputError: as it says.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and value != CORNERS and not number:
        raise InputError(f"{where} is {value!r}; expected the value of the background, or the word {CORNERS}.")


def consistency_problems(datalist: Datalist, class_names: Sequence[str] | None = None) -> list[str]:
    """Everything wrong with a well-typed datalist: paths that climb out, repeated images, patients in two lists, names.

    Args:
        datalist: what `parse` returned.
        class_names: the classes of the run, if known.
    """
    problems = []
    listed = datalist.get("class_names")
    other_names = class_names is not None and listed is not None and list(class_names) != list(listed)
    if other_names:
        problems.append(
            f"class_names of the run {list(class_names or [])} differ from those of the datalist {listed}: "
            "label values would change their meaning; make them the same"
        )
    # With other names every label may look wrong, for the one reason that is told already.
    known = listed if class_names is None or other_names else class_names
    images: dict[str, str] = {}
    patients: dict[str, str] = {}
    everyone = all("patient_id" in item for section in SECTIONS for item in datalist[section])
    names = {} if everyone else case_names(datalist)
    for section in SECTIONS:
        seen_here: set[str] = set()
        for index, item in enumerate(datalist[section]):
            place = f"{section}[{index}]"
            problems += [f"{place}: {text}" for text in _item_problems(item, known, datalist.get("task"))]
            patient = str(item["patient_id"] if everyone else item.get("patient_id", names[section][index]))
            shared = datalist.get("parity", False) and section == "test"  # parity: test may repeat validation
            for file in map(os.path.normpath, as_list(item["image"])):
                before = images.setdefault(file, section)
                if file in seen_here or (before != section and not (shared and before == "validation")):
                    problems.append(f"{place}: image {file} is listed twice (also in {before}); keep one")
                seen_here.add(file)
            before = patients.setdefault(patient, section)
            if before != section and not (shared and before == "validation"):
                text = f"patient {patient} is in two lists, {before} and {section}; keep every patient in one list"
                if text not in problems:
                    problems.append(text)
    return problems


def alike_patients(datalist: Datalist) -> list[str]:
    """Patients of different lists whose ids differ only in case or blanks, who may be one; a sentence each."""
    spelled: dict[str, dict[str, str]] = {}
    for section in SECTIONS:
        for patient in (str(item["patient_id"]) for item in datalist[section] if "patient_id" in item):
            spelled.setdefault("".join(patient.split()).casefold(), {}).setdefault(patient, section)
    return [
        f"patients {', '.join(f'{patient!r} ({section})' for patient, section in group.items())} are taken for "
        "different ones; if they are one, spell them alike, or they cross the lists"
        for group in spelled.values()
        if len(set(group.values())) > 1
    ]


def _item_problems(item: Item, class_names: Sequence[str] | None, task: str | None) -> Iterator[str]:
    """What is wrong with the paths, names and size of the label of one well-typed item."""
    label = item.get("label")
    for file in item_files(item):
        if not os.path.isabs(file) and os.path.normpath(file).split(os.sep)[0] == os.pardir:
            yield f"the relative path {file} climbs out of the data folder; use a path inside it or an absolute path"
    for name in item.get("unlabelled", []) if class_names is not None else []:
        if class_names is not None and name not in class_names[1:]:
            yield f"unlabelled class {name!r} is not among the foreground classes {list(class_names[1:])}"
    if class_names is None:
        return
    if isinstance(label, list) and len(label) != len(class_names):
        yield f"'label' has {len(label)} values, and there are {len(class_names)} class_names; give each finding one"
    if task == "multi_class" and isinstance(label, int) and label >= len(class_names):
        yield f"'label' is {label}, and the {len(class_names)} class_names have the indices 0 to {len(class_names) - 1}"


def _unknown_keys(place: str, content: dict[str, Any], known: set[str]) -> Iterator[str]:
    """One sentence for each key that is not in the schema, with the nearest one that is."""
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
            yield f"unknown key {key!r} ({place}); {hint}"


def case_names(datalist: Datalist) -> dict[str, list[str]]:
    """A short name for each item, unique over all sections: the file name without its ending.

    Files of the same name in different folders get the folder's name in front, and a number if that is not enough. In a
    parity list a case keeps its name in validation and in test.
    """
    images = {section: [as_list(item["image"]) for item in datalist[section]] for section in SECTIONS}
    distinct = {tuple(files): None for section in SECTIONS for files in images[section]}
    short = {files: _short_name(files) for files in distinct}
    taken: dict[str, tuple[str, ...]] = {}
    counts: dict[str, int] = {}
    for name in short.values():
        counts[name] = counts.get(name, 0) + 1
    for files, name in short.items():
        folder = Path(files[0]).parent.name if counts[name] > 1 else ""
        wanted = readable(f"{folder}_{name}" if folder else name)
        unique, number = wanted, 2
        while unique in taken:
            unique, number = f"{wanted}_{number}", number + 1
        taken[unique] = files
    names = {files: unique for unique, files in taken.items()}
    return {section: [names[tuple(files)] for files in images[section]] for section in SECTIONS}


def _short_name(files: tuple[str, ...]) -> str:
    """`p1_flair.nii.gz`, `p1_t1.nii.gz` -> `p1`; a single file: its stem."""
    stems = [file_stem(file) for file in files]
    if len(stems) == 1:
        return stems[0]
    columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*stems, strict=False))
    common = "".join(column[0] for column in columns)
    if any(stem != common and stem[len(common) : len(common) + 1] not in "_-." for stem in stems):
        common = common[: max(map(common.rfind, "_-.")) + 1]  # `p1_t` of t1, t2 ends inside a word: cut back to `p1_`
    return common.rstrip("_-.") or Path(files[0]).parent.name or stems[0]


def item_files(item: Item) -> list[str]:
    """The paths of an item: its images, then its label where that is a file, then the mask of its brain."""
    label = item.get("label")
    named = [label] if isinstance(label, str) else []
    return [*as_list(item["image"]), *named, *([item["brain_mask"]] if "brain_mask" in item else [])]


def as_list(value: Any) -> list[Any]:
    """A copy of a list; anything else as the only element of one."""
    return list(value) if isinstance(value, list) else [value]


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)
