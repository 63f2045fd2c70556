"""One item under the lens: every file read to its last byte, every property that training or inference relies on."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes, io_orientation
from nibabel.spatialimages import HeaderDataError

from .schema import Item, as_list
from .volume import Plane, UnusableFile, corner_shift, middle_planes, millimetres, read_volume

FEW_VOXELS = 10  # a class with fewer voxels is more often a slip of the brush than an organ
SMALL_FOREGROUND = 1e-4  # share of the volume
GRID_TOLERANCE = 0.1  # voxels between image and label corners; rounding in headers stays far below


@dataclasses.dataclass(frozen=True)
class Problem:
    """One finding: `level` is "error" (the item cannot be used) or "warning" (it can, but look at it)."""

    section: str
    case: str
    file: str
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message


@dataclasses.dataclass
class CaseReport:
    """What was found in one item; shapes, spacings (mm) and `planes` are in RAS axis order, others as stored."""

    section: str
    case: str
    image: str
    problems: list[Problem] = dataclasses.field(default_factory=list)
    shape: tuple[int, ...] | None = None
    channels: int | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str | None = None
    dtype: str | None = None
    value_range: tuple[float, float] | None = None
    voxels: dict[int, int] | None = None
    digest: str | None = None
    planes: list[Plane] = dataclasses.field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether any problem is an error."""
        return any(problem.level == "error" for problem in self.problems)

    def add(self, level: str, file: str, message: str) -> None:
        """Note a problem of this item."""
        self.problems.append(Problem(self.section, self.case, file, level, message))

    def columns(self) -> tuple[str, ...]:
        """Shape, spacing, orientation, range, label values and verdict as texts."""
        errors = sum(problem.level == "error" for problem in self.problems)
        warnings = len(self.problems) - errors
        parts = [f"{count} {word}(s)" for count, word in ((errors, "error"), (warnings, "warning")) if count]
        low, high = self.value_range or (None, None)
        return (
            "x".join(map(str, self.shape)) if self.shape else "-",
            " ".join(f"{value:.3g}" for value in self.spacing) if self.spacing else "-",
            self.orientation or "-",
            f"{low:.4g}..{high:.4g}" if low is not None and high is not None else "-",
            _ranges(self.voxels) if self.voxels else "-",
            ", ".join(parts) or "ok",
        )


def check_item(
    item: Item,
    class_names: Sequence[str] | None = None,
    channels: int = 1,
    roi_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
) -> list[Problem]:
    """Everything wrong with one item; the label is looked at where the item has one. See `inspect_item`."""
    return inspect_item(item, class_names, channels, roi_size, spacing).problems


def inspect_item(
    item: Item,
    class_names: Sequence[str] | None = None,
    channels: int = 1,
    roi_size: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    section: str = "",
    with_planes: bool = False,
) -> CaseReport:
    """Read image and label of an item completely and note what is wrong.

    Args:
        item: as `datalist.items` gives it.
        class_names: all classes, background first; without them label values are only listed.
        channels: image channels that the network expects (over all files of the item).
        roi_size: crop of the network in voxels, RAS order.
        spacing: voxel size in mm that volumes are resampled to, RAS order; None keeps their own.
        section: the list the item stands in, for the report.
        with_planes: keep three planes for thumbnails.
    """
    report = CaseReport(section, item["case"], item["file"])
    first, volume, found = None, None, 0
    for file in as_list(item["image"]):
        try:
            image, data, planes = read_volume(file)
            _check_header(report, file, image)
            _check_values(report, file, data)
        except UnusableFile as problem:
            report.add("error", file, str(problem))
            continue
        found += planes
        if first is None:
            first, volume = image, data[..., 0] if data.ndim == 4 else data
        else:
            _check_same_grid(report, file, image, first, "the first image")
    if first is None or volume is None:
        return report
    if found != channels and len(report.problems) == 0:
        report.add("error", report.image, _channel_sentence(as_list(item["image"]), first.shape, found, channels))
    report.channels = found
    _describe(report, first, volume)
    _check_roi(report, roi_size, spacing)
    label = _check_label(report, item, first, class_names)
    if with_planes:
        report.planes = middle_planes(first, volume, label)
    return report


def _channel_sentence(files: list[str], shape: tuple[int, ...], found: int, channels: int) -> str:
    if len(files) > 1:
        return f"the {len(files)} files of this item hold {found} channels, expected {channels}"
    if channels == 1:
        return f"is {len(shape)}-D, shape {shape}, expected one 3-D volume (1 channel); split it or set the channels"
    return f"has shape {shape}: {found} channel(s), expected {channels} on the last axis"


def _check_header(report: CaseReport, file: str, image: Any) -> None:
    """The transforms of a NIfTI header, and whether its spacing agrees with them."""
    affine, zooms = image.affine, np.asarray(image.header.get_zooms()[:3], dtype=float)
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UnusableFile("has an affine that is singular or not finite; fix the header's sform")
    qform, sform = int(image.header["qform_code"]), int(image.header["sform_code"])
    if qform == 0 and sform == 0:
        report.add("warning", file, "has neither qform nor sform, so left and right are a guess; convert it again")
    from_affine = np.linalg.norm(affine[:3, :3], axis=0)
    if np.any(np.abs(from_affine / zooms - 1) > 0.01):
        report.add(
            "warning",
            file,
            f"says {millimetres(zooms)} in pixdim but {millimetres(from_affine)} in its affine, which is used",
        )
    if qform > 0 and sform > 0:
        try:
            agree = corner_shift(image.get_qform(), affine, image.shape[:3]) <= 0.5
        except (ValueError, HeaderDataError):  # not a rotation
            agree = False
        if not agree:
            report.add(
                "warning", file, "has a qform and an sform that disagree; the sform is used, other tools may not"
            )


def _check_values(report: CaseReport, file: str, data: np.ndarray) -> None:
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        if not finite.all():
            report.add("error", file, f"holds {int(finite.size - finite.sum())} NaN or Inf voxels; replace them")
            return
    low, high = float(data.min()), float(data.max())
    if report.value_range is not None:
        low, high = min(low, report.value_range[0]), max(high, report.value_range[1])
    report.value_range = (low, high)
    if data.min() == data.max():
        report.add("warning", file, f"has the value {low:g} everywhere; is it blank?")


def _check_same_grid(report: CaseReport, file: str, image: Any, first: Any, name: str) -> bool:
    """Same shape and, within a tenth of a voxel, the same place."""
    if image.shape[:3] != first.shape[:3]:
        message = f"has shape {image.shape[:3]} but {name} has {first.shape[:3]}; resample one onto the other's grid"
        report.add("error", file, message)
        return False
    shift = corner_shift(image.affine, first.affine, first.shape[:3])
    if not shift <= GRID_TOLERANCE:
        far = f"lies up to {shift:.3g} voxels away from {name}"
        report.add("error", file, f"{far} (their affines differ); they must be on one grid")
        return False
    return True


def _describe(report: CaseReport, image: Any, volume: np.ndarray) -> None:
    """Fill the table columns; shape and spacing in RAS order."""
    order = np.argsort(io_orientation(image.affine)[:, 0])
    lengths = np.linalg.norm(image.affine[:3, :3], axis=0)
    report.shape = tuple(int(image.shape[axis]) for axis in order)
    report.spacing = tuple(round(float(lengths[axis]), 4) for axis in order)
    report.orientation = "".join(code or "?" for code in aff2axcodes(image.affine))
    report.dtype = str(image.get_data_dtype())
    report.digest = hashlib.sha256(np.ascontiguousarray(volume).tobytes()).hexdigest()


def _check_roi(report: CaseReport, roi_size: Sequence[int] | None, spacing: Sequence[float] | None) -> None:
    if roi_size is None or report.shape is None or report.spacing is None:
        return
    target = report.spacing if spacing is None else spacing
    size = [max(1, round(n * own / new)) for n, own, new in zip(report.shape, report.spacing, target, strict=True)]
    if any(n < roi for n, roi in zip(size, roi_size, strict=True)):
        where = f"{tuple(size)} voxels at {millimetres(target)}"
        report.add("warning", report.image, f"is {where}, smaller than the ROI {tuple(roi_size)}: it will be padded")


def _check_label(report: CaseReport, item: Item, first: Any, class_names: Sequence[str] | None) -> np.ndarray | None:
    """The label as integers on the image's grid, or None where there is none or it is unusable."""
    label = item.get("label")
    if not isinstance(label, str):
        indices = [] if label is None else [label] if isinstance(label, int) else [len(label) - 1]
        if class_names is not None and any(index >= len(class_names) for index in indices):
            report.add("error", report.image, f"has label {label}, but there are {len(class_names)} class names")
        return None
    try:
        image, data, channels = read_volume(label)
        if channels != 1:
            raise UnusableFile(f"is 4-D, shape {data.shape}, expected one 3-D map of class numbers")
        _check_header(report, label, image)
    except UnusableFile as problem:
        report.add("error", label, str(problem))
        return None
    data = data.reshape(data.shape[:3])
    if not _check_same_grid(report, label, image, first, "its image"):
        return None
    values, counts = np.unique(data, return_counts=True)
    wrong = values[~np.isfinite(values) | (values != np.round(values))] if data.dtype.kind == "f" else []
    if len(wrong):
        some = ", ".join(f"{value:g}" for value in wrong[:5])
        report.add(
            "error", label, f"holds {len(wrong)} values that are not whole numbers ({some}); store class numbers"
        )
        return None
    report.voxels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    _check_classes(report, label, item, class_names)
    return data.astype(np.int32)


def _check_classes(report: CaseReport, label: str, item: Item, class_names: Sequence[str] | None) -> None:
    """The values of a label against the class names and against what the datalist says about the case."""
    voxels = report.voxels or {}
    highest = None if class_names is None else len(class_names) - 1
    outside = [value for value in voxels if value < 0 or (highest is not None and value > highest)]
    if outside:
        shown = ", ".join(map(str, outside[:10]))
        expected = "0 or more" if class_names is None else f"0 to {highest} ({len(class_names)} class_names)"
        report.add("error", label, f"holds the value(s) {shown}, expected {expected}; correct label or class_names")
    foreground = {value: count for value, count in voxels.items() if value != 0}
    if not foreground:
        report.add("error", label, "is background everywhere; draw the structures or leave the case out")
    elif sum(foreground.values()) < SMALL_FOREGROUND * sum(voxels.values()):
        report.add("warning", label, f"is nearly empty: {sum(foreground.values())} foreground voxels")
    for value, count in foreground.items():
        name = class_names[value] if class_names is not None and 0 < value < len(class_names) else f"value {value}"
        if count < FEW_VOXELS:
            report.add("warning", label, f"has only {count} voxel(s) of {name}")
        if name in item.get("unlabelled", []):
            report.add("warning", label, f"has {count} voxels of {name}, which the datalist declares unlabelled")


def _ranges(values: Iterable[int]) -> str:
    """`[0, 1, 2, 5]` as `0-2,5`."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], value]
        else:
            runs.append([value])
    return ",".join("-".join(map(str, run)) for run in runs)
