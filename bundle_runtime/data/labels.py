"""The labels of pictures that are classified: in one array, counted, and fit to be learnt from."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from custom_components.distributed import is_main
from custom_components.errors import InputError
from numpy.typing import NDArray

from .schema import TASKS, Item, as_list
from .verify import Problem, of_list, refuse, sentence, show

Counts = dict[str, dict[str, int]]  # class -> present, absent, unknown


def checked_labels(items: Sequence[Item], task: str, class_names: Sequence[str]) -> NDArray[Any]:
    """The labels of all items of a list; what they do not let one learn or score is printed.

    Returns:
        As `label_array`.

    Raises:
        InputError: as `label_array`, or every label is the same.
    """
    labels = label_array(items, task, class_names)
    part = items[0].get("section") if items else None
    if part is None:  # of no datalist
        return labels
    problems = list(label_problems(part, count_classes(labels, class_names, task), task))
    if is_main():
        show(problems)
    refuse(problems)
    return labels


def label_array(items: Sequence[Item], task: str, class_names: Sequence[str]) -> NDArray[Any]:
    """The labels of all items in one array.

    Returns:
        (N,) int64 class indices, or (N, K) float32 of 0, 1 and NaN for unknown.

    Raises:
        InputError: an unknown task, no class names, or a label that does not suit them; named by the item's file.
    """
    if task not in TASKS:
        raise InputError(f"task is {task!r}; it must be one of {', '.join(TASKS)}, or null for images without labels.")
    if not class_names:
        raise InputError(f"class_names is empty; the task {task} needs a name for each class.")
    if task == "multi_class":
        return np.array([_class_index(item, len(class_names)) for item in items], np.int64)
    findings = np.empty((len(items), len(class_names)), np.float32)
    for row, item in enumerate(items):
        findings[row] = _findings(item, len(class_names))
    return findings


def _class_index(item: Item, classes: int) -> int:
    label = item.get("label")
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
        raise _label_error(item, f"one class index from 0 to {classes - 1}")
    return label


def _findings(item: Item, classes: int) -> list[float]:
    label = item.get("label")
    if not isinstance(label, list) or len(label) != classes:
        raise _label_error(item, f"a list of {classes} values, each 0, 1 or null for unknown")
    values = [math.nan if value is None else value for value in label]
    if not all(isinstance(value, int | float) and (math.isnan(value) or value in (0, 1)) for value in values):
        raise _label_error(item, "0, 1 or null for unknown in each place")
    return values


def _label_error(item: Item, expected: str) -> InputError:
    file = item.get("file") or as_list(item["image"])[0]
    found = f"its label is {item['label']!r}" if "label" in item else "it has no label"
    return InputError(f"{file}: {found}, expected {expected}; correct the datalist, its class_names or the task.")


def count_labels(part: str, items: Sequence[Item], names: Sequence[str], task: str) -> tuple[Counts, list[Problem]]:
    """How often each class is present, absent and unknown; labels that do not fit are one error."""
    label_array([], task, names)  # an unknown task and missing names are no fault of the items
    good, wrong = [], []
    for item in items:
        try:
            good.append(label_array([item], task, names))
        except InputError as error:
            wrong.append((item["file"], sentence(error, item["file"])))
    problems = []
    if wrong:
        text = f"{wrong[0][1]} ({len(wrong)} such label(s){of_list(part)})"
        problems.append(Problem(part, "", wrong[0][0], "error", text))
    return count_classes(np.concatenate(good) if good else label_array([], task, names), names, task), problems


def count_classes(labels: NDArray[Any], names: Sequence[str], task: str) -> Counts:
    """How often each class is present, absent and unknown in what `label_array` gave."""
    if task == "multi_class":
        labels = (labels[:, None] == np.arange(len(names))).astype(np.float32)
    table = zip(names, (labels == 1).sum(axis=0), (labels == 0).sum(axis=0), np.isnan(labels).sum(axis=0), strict=True)
    return {
        name: {"present": int(present), "absent": int(absent), "unknown": int(unknown)}
        for name, present, absent, unknown in table
    }


def label_problems(part: str, counts: Counts, task: str) -> Iterator[Problem]:
    """Classes that a list does not let one learn or score."""
    learning = part in ("", "training")
    place = f"in {part}" if part else "in the list"
    use = "so it cannot be learnt" if learning else "so it has no score there"
    for name, number in counts.items():
        text = None
        if number["present"] + number["absent"] == 0:
            text = f"class {name!r} has no known label {place}, {use}"
        elif number["present"] == 0:
            text = f"class {name!r} is constant: it occurs in no label {place}, {use}"
        elif number["absent"] == 0 and task == "multi_label":
            text = f"class {name!r} is constant: it is present in every known label {place}, {use}"
        elif number["present"] == 1:
            text = f"class {name!r} has one image only {place}"
        if text is not None:
            yield Problem(part, "", "", "warning", text)
    both = [name for name, number in counts.items() if number["present"] and number["absent"]]
    if learning and not both:
        only = [name for name, number in counts.items() if number["present"]]
        text = f"every label {place} is the same ({', '.join(only) or 'no class present'}), so nothing can be learnt"
        yield Problem(part, "", "", "error", f"{text}; add images of another class, or correct the labels")
