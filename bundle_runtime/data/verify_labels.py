"""The label of one item: on the image's grid, whole numbers, values that mean something."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from custom_components.tumour_labels import REGIONS

from .conventions import CONVENTIONS, Convention, convention
from .schema import Item
from .tissue_looks import look_at_tissues
from .verify import Found
from .verify_volumes import Expected, check_header, check_same_grid
from .volume import UnusableError, read_volume, turned_like

FEW_VOXELS = 10  # a class with fewer voxels is more often a slip of the brush than an organ
SMALL_FOREGROUND = 1e-4  # share of the volume
WHOLE = 1e-3  # what a value may differ from a whole number, as after resampling or scaling


@dataclasses.dataclass
class Label:
    """What a label file holds.

    Attributes:
        image: the nibabel image; None where the item has no label file that could be read.
        values: as stored, on the image's grid; None where there are none to be used.
        codes: whole numbers, or tissue codes where a convention is declared.
        convention: what the values mean, in words, where it is declared.
        core_outside: see `tissue_looks.core_outside`.
    """

    image: Any = None
    values: np.ndarray | None = None
    codes: np.ndarray | None = None
    convention: str | None = None
    core_outside: float | None = None


def read_label(
    report: Found, item: Item, first: Any, expected: Expected, volumes: Mapping[str, np.ndarray] | None = None
) -> Label:
    """Read the label of an item and note what is wrong with it.

    Args:
        report: gets the problems, and the voxels of each value, and of each tissue where a convention names them.
        item: as `datalist.items` gives it.
        first: the nibabel image whose grid the label must have.
        expected: what the run wants.
        volumes: sequence name -> voxels, which show whether the tissues are named right.
    """
    found = Label()
    file, class_names = item.get("label"), expected.class_names
    if not isinstance(file, str):
        indices = [] if file is None else [file] if isinstance(file, int) else [len(file) - 1]
        if class_names is not None and any(index >= len(class_names) for index in indices):
            report.add("error", report.image, f"has label {file}, but there are {len(class_names)} class names")
        return found
    if not _read_whole_numbers(report, found, file, first):
        return found
    voxels = report.voxels or {}
    if "label_convention" in item:
        _tissues(report, found, file, item, volumes or {})
        return found
    if expected.need_convention:
        fitting = [name for name, known in CONVENTIONS.items() if not known.unknown_values(list(voxels))]
        report.add(
            "error",
            file,
            f"holds the values {ranges(voxels)}, and nothing says what they mean: set label_convention, in the "
            f"datalist or for the run, to {', '.join(CONVENTIONS)} or a table such as "
            f'{{"1": "oedema", "2": "tumour core"}} (its values fit {", ".join(fitting) or "none of the named ones"})',
        )
    else:
        _check_classes(report, file, item, class_names)
    return found


def _read_whole_numbers(report: Found, found: Label, file: str, first: Any) -> bool:
    """Fill `found` from the file; False, and an error, where it is no map of whole numbers on the image's grid."""
    try:
        found.image, data = read_volume(file, report.edges)
        if data.ndim == 4 and data.shape[3] != 1:
            raise UnusableError(f"is 4-D, shape {data.shape}, expected one 3-D map of class numbers")
        check_header(report, file, found.image)
    except UnusableError as problem:
        report.add("error", file, str(problem))
        return False
    found.image, found.values = turned_like(found.image, data.reshape(data.shape[:3]), first)
    if not check_same_grid(report, file, found.image, first, "its image"):
        return False
    values, counts = np.unique(found.values, return_counts=True)
    wrong = values[~(np.abs(values - np.round(values)) <= WHOLE)] if data.dtype.kind == "f" else values[:0]
    if len(wrong):
        some = ", ".join(f"{value:.9g}" for value in wrong[:5])
        text = f"holds {len(wrong)} values that are not whole numbers ({some}); store class numbers"
        report.add("error", file, text)
        return False
    if data.dtype.kind == "f" and (values != np.round(values)).any():
        near = next(value for value in values if value != np.round(value))
        report.add("warning", file, f"holds values such as {near:.9g}, which are rounded to whole numbers")
        found.values = np.round(found.values)
        values, inverse = np.unique(np.round(values), return_inverse=True)
        counts = np.bincount(inverse, counts).astype(int)
    report.voxels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    found.codes = found.values.astype(np.int32)
    return True


def _check_classes(report: Found, label: str, item: Item, class_names: Sequence[str] | None) -> None:
    """The values of a label against the class names and against what the datalist says about the case."""
    voxels = report.voxels or {}
    highest = None if class_names is None else len(class_names) - 1
    outside = [value for value in voxels if value < 0 or (highest is not None and value > highest)]
    if outside:
        shown = ", ".join(map(str, outside[:10]))
        wanted = "0 or more" if class_names is None else f"0 to {highest} ({len(class_names)} class_names)"
        report.add("error", label, f"holds the value(s) {shown}, expected {wanted}; correct label or class_names")
    if not set(voxels) - {0}:
        report.add("error", label, "is background everywhere; draw the structures or leave the case out")
    counts = {}
    for value in sorted(set(voxels) - {0}):
        name = class_names[value] if class_names is not None and 0 < value < len(class_names) else f"value {value}"
        counts[name] = voxels[value]
    _check_amounts(report, label, counts)
    for name, count in counts.items():
        if name in item.get("unlabelled", []):
            _add_unexpected(report, label, name, count)


def _tissues(report: Found, found: Label, file: str, item: Item, volumes: Mapping[str, np.ndarray]) -> None:
    """The same for a label whose values a convention names; turns its codes into those of tissues."""
    rule = convention(item["label_convention"])
    found.convention = rule.describe()
    voxels, values, found.codes = report.voxels or {}, found.codes, None
    unknown = rule.unknown_values(sorted(voxels))
    if unknown or values is None:
        shown = ", ".join(map(str, unknown[:10]))
        fitting = [name for name, known in CONVENTIONS.items() if not known.unknown_values(list(voxels))]
        hint = f" (its values fit {', '.join(fitting)})" if fitting else ""
        text = f"holds the value(s) {shown}, which the convention {rule.describe()} does not know"
        report.add("error", file, f"{text}; name the right label_convention{hint}")
        return
    report.tissues = {}
    for value, tissue in sorted(rule.tissues.items()):
        if value in voxels and value != 0:
            report.tissues[tissue] = report.tissues.get(tissue, 0) + voxels[value]
    if not report.tissues:
        report.add("warning", file, "has no tumour; right for a healthy head or after an operation")
    _check_amounts(report, file, report.tissues)
    _check_unlabelled(report, file, item, rule, report.tissues)
    found.codes = rule.decode(values, file)
    found.core_outside = look_at_tissues(report, file, found.convention, found.codes, volumes)


def _check_unlabelled(report: Found, label: str, item: Item, rule: Convention, tissues: Mapping[str, int]) -> None:
    """Regions that the datalist (not the convention) declares unlabelled, although they are drawn."""
    for name in item.get("unlabelled", []):
        if name in REGIONS and name not in rule.unlabelled:
            count = sum(tissues.get(tissue, 0) for tissue in REGIONS[name])
            if count:
                _add_unexpected(report, label, name, count)


def _check_amounts(report: Found, label: str, counts: Mapping[str, int]) -> None:
    """Warn about a foreground, or a class, of a few voxels only."""
    total = sum(counts.values())
    if counts and total < SMALL_FOREGROUND * sum((report.voxels or {}).values()):
        report.add("warning", label, f"is nearly empty: {total} foreground voxels")
    for name, count in counts.items():
        if count < FEW_VOXELS:
            report.add("warning", label, f"has only {count} voxel(s) of {name}")


def _add_unexpected(report: Found, label: str, name: str, count: int) -> None:
    report.add("warning", label, f"has {count} voxels of {name}, which the datalist declares unlabelled")


def ranges(values: Iterable[int]) -> str:
    """`[0, 1, 2, 5]` as `0-2,5`."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], value]
        else:
            runs.append([value])
    return ",".join("-".join(map(str, run)) for run in runs)
