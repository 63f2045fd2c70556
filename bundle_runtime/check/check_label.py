"""The label of one item: on the image's grid, whole numbers, values that mean something, and that look like it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from custom_components.tumour_labels import CONVENTIONS, REGIONS, TISSUES, Convention, convention

from ..data.schema import Item
from ..data.volume import UnusableFile, read_volume
from .check_grid import check_header, check_same_grid
from .check_report import CaseReport, Expected, ranges

FEW_VOXELS = 10  # a class with fewer voxels is more often a slip of the brush than an organ
SMALL_FOREGROUND = 1e-4  # share of the volume

_OEDEMA, _CORE, _ENHANCING = (TISSUES.index(name) for name in ("oedema", "non-enhancing core", "enhancing tumour"))
_ENOUGH = 50  # voxels of a tissue, to judge it by its look or place
# Medians of T1ce minus T1, both z-scored. In two real heads the enhancing tumour lies 2.6 and 1.1 above the next
# tissue; where it has changed names with one of them, it lies as far below.
_ENHANCED = 0.25


def check_label(
    report: CaseReport, item: Item, first: Any, volumes: Mapping[str, np.ndarray], expected: Expected
) -> np.ndarray | None:
    """Note what is wrong with the label of an item.

    Args:
        report: gets the problems, the voxels of each value and, where the values have names, of each tissue.
        item: as `datalist.items` gives it.
        first: the nibabel image whose grid the label must have.
        volumes: sequence name -> voxels, on the same grid.
        expected: what the run wants.

    Returns:
        Values (tissue codes where a convention is declared) on the image's grid, None where there are none to be used.
    """
    label, class_names = item.get("label"), expected.class_names
    if not isinstance(label, str):
        indices = [] if label is None else [label] if isinstance(label, int) else [len(label) - 1]
        if class_names is not None and any(index >= len(class_names) for index in indices):
            report.add("error", report.image, f"has label {label}, but there are {len(class_names)} class names")
        return None
    values = _whole_numbers(report, label, first)
    if values is None:
        return None
    voxels = report.voxels or {}
    if "label_convention" in item:
        return _check_tissues(report, label, item, values, volumes)
    if expected.need_convention:
        fitting = [name for name, known in CONVENTIONS.items() if not known.unknown_values(list(voxels))]
        report.add(
            "error",
            label,
            f"holds the values {ranges(voxels)}, and nothing says what they mean: set label_convention, in the "
            f"datalist or for the run, to {', '.join(CONVENTIONS)} or a table such as "
            f'{{"1": "oedema", "2": "tumour core"}} (its values fit {", ".join(fitting) or "none of the named ones"})',
        )
    else:
        _check_classes(report, label, item, class_names)
    return values


def _whole_numbers(report: CaseReport, label: str, first: Any) -> np.ndarray | None:
    """The label file as int32 (X, Y, Z) on the image's grid; None, and an error, where it is something else."""
    try:
        image, data, channels = read_volume(label)
        if channels != 1:
            raise UnusableFile(f"is 4-D, shape {data.shape}, expected one 3-D map of class numbers")
        check_header(report, label, image)
    except UnusableFile as problem:
        report.add("error", label, str(problem))
        return None
    data = data.reshape(data.shape[:3])
    if not check_same_grid(report, label, image, first, "its image"):
        return None
    values, counts = np.unique(data, return_counts=True)
    wrong = values[~np.isfinite(values) | (values != np.round(values))] if data.dtype.kind == "f" else []
    if len(wrong):
        some = ", ".join(f"{value:g}" for value in wrong[:5])
        text = f"holds {len(wrong)} values that are not whole numbers ({some}); store class numbers"
        report.add("error", label, text)
        return None
    report.voxels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    return data.astype(np.int32)


def _check_classes(report: CaseReport, label: str, item: Item, class_names: Sequence[str] | None) -> None:
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


def _check_tissues(
    report: CaseReport, label: str, item: Item, values: np.ndarray, volumes: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """The same for a label whose values a convention names; returns tissue codes."""
    rule = convention(item["label_convention"])
    report.convention = rule.describe()
    voxels = report.voxels or {}
    unknown = rule.unknown_values(sorted(voxels))
    if unknown:
        shown = ", ".join(map(str, unknown[:10]))
        fitting = [name for name, known in CONVENTIONS.items() if not known.unknown_values(list(voxels))]
        hint = f" (its values fit {', '.join(fitting)})" if fitting else ""
        text = f"holds the value(s) {shown}, which the convention {rule.describe()} does not know"
        report.add("error", label, f"{text}; name the right label_convention{hint}")
        return None
    counts = {tissue: voxels[value] for value, tissue in sorted(rule.tissues.items()) if value in voxels and value != 0}
    report.tissues = counts
    if not counts:
        report.add("warning", label, "has no tumour; right for a healthy head or after an operation")
    _check_amounts(report, label, counts)
    _check_unlabelled(report, label, item, rule)
    codes = rule.decode(values, label)
    report.core_outside = core_outside(codes)
    enhanced = enhancement(codes, volumes)
    if enhanced is not None and enhanced < _ENHANCED:
        text = (
            "its enhancing tumour does not look enhanced: on T1ce it is not brighter than the rest of the tumour by "
            f"{_ENHANCED} standard deviations (found {enhanced:.2g}); are label_convention and sequences right?"
        )
        report.add("warning", label, text)
    return codes


def _check_unlabelled(report: CaseReport, label: str, item: Item, rule: Convention) -> None:
    """Regions that the datalist (not the convention) declares unlabelled, although they are drawn."""
    for name in item.get("unlabelled", []):
        if name in REGIONS and name not in rule.unlabelled:
            count = sum((report.tissues or {}).get(tissue, 0) for tissue in REGIONS[name])
            if count:
                _add_unexpected(report, label, name, count)


def _check_amounts(report: CaseReport, label: str, counts: Mapping[str, int]) -> None:
    """Warn about a foreground, or a class, of a few voxels only."""
    total = sum(counts.values())
    if counts and total < SMALL_FOREGROUND * sum((report.voxels or {}).values()):
        report.add("warning", label, f"is nearly empty: {total} foreground voxels")
    for name, count in counts.items():
        if count < FEW_VOXELS:
            report.add("warning", label, f"has only {count} voxel(s) of {name}")


def _add_unexpected(report: CaseReport, label: str, name: str, count: int) -> None:
    report.add("warning", label, f"has {count} voxels of {name}, which the datalist declares unlabelled")


def enhancement(codes: np.ndarray, volumes: Mapping[str, np.ndarray]) -> float | None:
    """How much brighter the enhancing tumour is than the brightest other tissue, by medians of T1ce minus T1.

    Both sequences are z-scored over their non-zero voxels; without T1, T1ce alone is taken.

    Args:
        codes: tissue codes (X, Y, Z).
        volumes: sequence name -> voxels (X, Y, Z).

    Returns:
        A difference in standard deviations; None without T1ce, enhancing tumour or another tissue to compare it with.
    """
    if "t1ce" not in volumes:
        return None
    masks = {code: codes == code for code in (_OEDEMA, _CORE, _ENHANCING)}
    masks = {code: mask for code, mask in masks.items() if np.count_nonzero(mask) >= _ENOUGH}
    if _ENHANCING not in masks or len(masks) < 2:
        return None
    looks = {code: np.zeros(np.count_nonzero(mask)) for code, mask in masks.items()}
    for name, sign in (("t1ce", 1), ("t1", -1)):
        if name in volumes:
            volume = volumes[name]
            head = volume[volume != 0].astype(np.float32)
            if not head.size or not np.isfinite(head).all() or head.std() == 0:
                return None
            for code, mask in masks.items():
                looks[code] += sign * (volume[mask] - head.mean()) / head.std()
    medians = {code: float(np.median(look)) for code, look in looks.items()}
    enhancing = medians.pop(_ENHANCING)
    return enhancing - max(medians.values())


def core_outside(codes: np.ndarray) -> float | None:
    """How much more of the non-enhancing core's surface than of the oedema's faces what is no tumour.

    The oedema surrounds the core, so this is about -0.7 in real heads, and as much above 0 where the two names are
    exchanged: `msd` and `brats2023` give the values 1 and 2 opposite meanings, and no value tells.

    Args:
        codes: tissue codes (X, Y, Z).

    Returns:
        The difference of two shares, -1 to 1; None where either tissue has too few voxels.
    """
    where = np.nonzero(codes)
    if any(np.count_nonzero(codes == code) < _ENOUGH for code in (_OEDEMA, _CORE)):
        return None
    box = codes[tuple(slice(max(0, axis.min() - 1), axis.max() + 2) for axis in where)].astype(np.uint8)
    faces = np.zeros((len(TISSUES), len(TISSUES)))  # between neighbouring voxels of two codes, in both directions
    for axis in range(3):
        near, far = np.moveaxis(box, axis, 0)[:-1].ravel(), np.moveaxis(box, axis, 0)[1:].ravel()
        pairs = np.bincount(len(TISSUES) * near + far, minlength=len(TISSUES) ** 2).reshape(faces.shape)
        faces += pairs + pairs.T
    np.fill_diagonal(faces, 0)
    surface = faces.sum(axis=1)
    if surface[_OEDEMA] == 0 or surface[_CORE] == 0:
        return None
    return round(float(faces[_CORE, 0] / surface[_CORE] - faces[_OEDEMA, 0] / surface[_OEDEMA]), 3)
