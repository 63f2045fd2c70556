"""Structures drawn on a series, from DICOM SEG and RTSTRUCT, as a label map on the series' own grid."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pydicom
from custom_components.errors import InputError
from pydicom.config import disable_value_validation
from skimage.draw import polygon2mask

from ..data.find import some
from ..data.verify import sentence
from ..data.volume import UnusableError
from .codes import class_of
from .pixels import damaged, parse, stored_frames, text
from .series import Export

_OFF = 0.1  # voxels that a segment may lie off the grid of the series
_BETWEEN = 0.3  # of a slice distance: contours farther from a slice belong to none
_TO_LPS = np.diag([-1.0, -1, 1, 1])
Result = TypeVar("Result")


@dataclasses.dataclass
class Structure:
    """One structure of an object.

    Attributes:
        names: what it is called.
        code: values of its type and side, where it is coded.
        draw: gives its voxels, bool (X, Y, Z).
        by_slice: somebody drew a contour on each slice, and may have left some out.
    """

    names: list[str]
    code: tuple[str, str] | None
    draw: Callable[[], np.ndarray]
    by_slice: bool = False


class Painted(NamedTuple):
    """Structures as a label map.

    Attributes:
        labels: uint8 (X, Y, Z).
        lacking: the classes that no structure is, or one without a contour.
        notes: what is to be said of the others.
        strangers: names of the structures that are no class; whoever drew them may have named anybody.
    """

    labels: np.ndarray
    lacking: list[str]
    notes: list[str]
    strangers: list[str]


def references(header: pydicom.Dataset) -> set[str]:
    """The SeriesInstanceUIDs that a segmentation or a set of contours says it was drawn on."""
    series = list(header.get("ReferencedSeriesSequence") or [])
    for place in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in place.get("RTReferencedStudySequence") or []:
            series += study.get("RTReferencedSeriesSequence") or []
    return {text(entry, "SeriesInstanceUID") for entry in series} - {""}


def drawn_on(export: Export) -> dict[str, set[str]]:
    """For each segmentation and set of contours of an export the keys of the series that it was drawn on.

    One that names none of these series is looked through for the images that it names; where that cannot be done it
    joins those that are refused.
    """
    found = {file: references(header) & set(export.series) for file, header in export.objects.items()}
    for file in [file for file, keys in found.items() if not keys]:
        try:
            images = _guarded(file, partial(_images_named, file))
            found[file] = {key for key, series in export.series.items() if images & series.images}
        except InputError as error:
            export.refused[file] = sentence(error, file)
    return found


def _images_named(file: str) -> set[str]:
    """The SOPInstanceUIDs that an object refers to, wherever in it."""
    with disable_value_validation():
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        named = (str(each.value) for each in dataset.iterall() if each.keyword == "ReferencedSOPInstanceUID")
        return {*named} - {""}


def read_structures(file: str, affine: np.ndarray, shape: Sequence[int]) -> list[Structure]:
    """The structures of a DICOM SEG or RTSTRUCT.

    Args:
        file: its path.
        affine: (4, 4) from voxels of the series to mm in RAS axes.
        shape: of the series.

    Raises:
        InputError: the file is damaged; `Structure.draw` raises it as well.
        UnusableError: it holds nothing; `Structure.draw` raises it for what lies off the grid of the series.
    """
    with disable_value_validation():
        dataset = parse(file, Path(file).read_bytes())
        to_voxels = np.linalg.inv(_TO_LPS @ affine)
        read = _segments if text(dataset, "Modality") == "SEG" else _contours
        found = _guarded(file, partial(read, dataset, to_voxels, tuple(shape)))
    if not found:
        raise UnusableError("holds no structure: it is empty")
    return [dataclasses.replace(each, draw=partial(_guarded, file, each.draw)) for each in found]


def _guarded(file: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except UnusableError:
        raise
    except Exception as error:  # pydicom parses element by element, and a damaged one can break it anywhere
        raise damaged(file, error) from error


def paint(
    structures: Sequence[Structure],
    class_names: Sequence[str],
    shape: Sequence[int],
    aliases: Mapping[str, Sequence[str]],
) -> Painted:
    """A label map of the structures that are classes; where two overlap, the later class of `class_names` counts.

    Raises:
        UnusableError: no structure is a class, two are the same one, or all of them are empty.
    """
    by_class: dict[str, Structure] = {}
    strangers = []
    for structure in structures:
        name = class_of(structure.names, structure.code, class_names, aliases)
        if name is None:
            strangers.append(structure.names[0])
        elif name in by_class:
            raise UnusableError(f"is drawn twice as {name} ({by_class[name].names[0]}, {structure.names[0]}); keep one")
        else:
            by_class[name] = structure
    if not by_class:
        raise UnusableError(
            f"has no structure that is a class; found {some(strangers)}; name them in class_names or rules"
        )
    notes: list[str] = []
    labels = np.zeros(tuple(shape), np.uint8)
    for number, name in enumerate(class_names):
        if name in by_class:
            mask = by_class[name].draw()
            if not mask.any() and by_class[name].by_slice:  # a place that a template keeps for it
                notes.append(f"{name} has no contour around a voxel and counts as not drawn")
                del by_class[name]
                continue
            if not mask.any():
                notes.append(f"{name} is empty")
            drawn = np.flatnonzero(mask.any(axis=(0, 1)))
            if by_class[name].by_slice and (gaps := _gaps(drawn)):
                span = f"{len(drawn) + gaps} slices between its ends"
                notes.append(f"{name} is not drawn on {gaps} of the {span}, where it counts as absent")
            hidden = labels[mask]
            notes += [
                f"{np.count_nonzero(hidden == value)} voxels of {class_names[value]} lie in {name}, which counts"
                for value in np.unique(hidden[hidden > 0])
            ]
            labels[mask] = number
    if not labels.any():
        raise UnusableError("is empty: no voxel of any class is drawn")
    return Painted(labels, [name for name in class_names[1:] if name not in by_class], notes, strangers)


def _gaps(numbers: Iterable[int]) -> int:
    """How many slices lie between others of these and are none of them."""
    there = {int(number) for number in numbers}
    return max(there) - min(there) + 1 - len(there) if there else 0


def _segments(dataset: pydicom.Dataset, to_voxels: np.ndarray, shape: tuple[int, ...]) -> list[Structure]:
    """The segments of a SEG, binary, fractional (from a half on) or of labels; frames may lie in any order."""
    stored = list(stored_frames(dataset)) if "PixelData" in dataset else []
    kind = text(dataset, "SegmentationType").upper()
    half = float(dataset.get("MaximumFractionalValue") or 1) / 2 if kind == "FRACTIONAL" else 1
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    frames = list(zip(dataset.get("PerFrameFunctionalGroupsSequence") or [], stored, strict=True))

    def draw(number: int) -> np.ndarray:
        mask = np.zeros(shape, bool)
        for group, values in frames:
            owner = None if kind == "LABELMAP" else _of_frame(group, shared, "SegmentIdentificationSequence")
            if owner is not None and int(owner.ReferencedSegmentNumber) != number:
                continue
            drawn = np.argwhere(values == number if kind == "LABELMAP" else values >= half)
            if len(drawn):
                mask[tuple(_on_grid(drawn, group, shared, to_voxels, shape))] = True
        return mask

    return [
        Structure(
            [text(segment, key) for key in ("SegmentLabel", "SegmentDescription") if text(segment, key)] or ["unnamed"],
            _segment_code(segment),
            partial(draw, int(segment.SegmentNumber)),
        )
        for segment in dataset.get("SegmentSequence") or []
        if kind != "LABELMAP" or int(segment.SegmentNumber) > 0
    ]


def _of_frame(group: pydicom.Dataset, shared: pydicom.Dataset, macro: str) -> pydicom.Dataset:
    """What is said of a frame, by itself or of all frames at once, as writers do where it is the same for all."""
    found: pydicom.Dataset = (group.get(macro) or getattr(shared, macro))[0]
    return found


def _segment_code(segment: pydicom.Dataset) -> tuple[str, str] | None:
    types = segment.get("SegmentedPropertyTypeCodeSequence") or []
    if not types:
        return None
    sides = types[0].get("SegmentedPropertyTypeModifierCodeSequence") or []
    return text(types[0], "CodeValue"), text(sides[0], "CodeValue") if sides else ""


def _on_grid(
    drawn: np.ndarray, group: pydicom.Dataset, shared: pydicom.Dataset, to_voxels: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Rows and columns of a frame (N, 2) as voxels of the series, (3, N)."""

    def value(macro: str, key: str) -> np.ndarray:
        return np.array(getattr(_of_frame(group, shared, macro), key), float)

    turned = value("PlaneOrientationSequence", "ImageOrientationPatient")
    apart = value("PixelMeasuresSequence", "PixelSpacing")
    axes = np.column_stack([turned[3:] * apart[0], turned[:3] * apart[1]])  # along rows, along columns
    start = to_voxels @ np.append(value("PlanePositionSequence", "ImagePositionPatient"), 1)
    places = (to_voxels[:3, :3] @ axes) @ drawn.T + start[:3, None]
    voxels = np.rint(places).astype(int)
    if np.abs(places - voxels).max() > _OFF or (voxels < 0).any() or (voxels >= np.array(shape)[:, None]).any():
        raise UnusableError("lies off the grid of its series: it was drawn on another one, or resampled")
    return voxels


def _contours(dataset: pydicom.Dataset, to_voxels: np.ndarray, shape: tuple[int, ...]) -> list[Structure]:
    """The structures of an RTSTRUCT: a voxel is inside where its centre is."""
    names = {int(roi.ROINumber): text(roi, "ROIName") for roi in dataset.get("StructureSetROISequence") or []}
    found = []
    for roi in dataset.get("ROIContourSequence") or []:
        name = names.get(int(roi.ReferencedROINumber)) or "unnamed"
        closed = [
            (np.array(contour.ContourData, float).reshape(-1, 3), kind == "CLOSEDPLANAR_XOR")
            for contour in roi.get("ContourSequence") or []
            if (kind := text(contour, "ContourGeometricType")) in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
        ]
        found.append(Structure([name], None, partial(_filled, name, closed, to_voxels, shape), True))
    return found


def _filled(
    name: str, closed: Sequence[tuple[np.ndarray, bool]], to_voxels: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """The inside of contours, (N, 3) mm each, and whether it is to be combined with the others by XOR."""
    mask = np.zeros(shape, bool)
    used: dict[int, list[np.ndarray]] = {}
    for points, exclusive in closed:
        voxels = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        number = int(np.rint(voxels[:, 2].mean()))
        off = float(np.abs(voxels[:, 2] - number).max())
        if off > _BETWEEN or not 0 <= number < shape[2]:
            raise UnusableError(f"has a contour of {name} that lies {off:.2g} slices off the nearest slice, or outside")
        inside, others = polygon2mask(shape[:2], voxels[:, :2]), used.setdefault(number, [])
        if exclusive:
            mask[..., number] ^= inside
        else:
            others.append(inside)
    gaps = _gaps(used)
    if gaps > 0.4 * len(used):
        raise UnusableError(f"has no contour of {name} on {gaps} slices between its ends; interpolate them first")
    for number, insides in used.items():
        mask[..., number] |= _united(insides, shape[:2])
    return mask


def _united(insides: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """What contours of one slice enclose: a smaller one within the others is a hole, one stored twice counts once."""
    covered = np.zeros(shape, bool)
    once = {inside.tobytes(): inside for inside in insides}.values()
    for inside in sorted(once, key=np.count_nonzero, reverse=True):
        hole = covered[inside].all()
        covered[inside] = not hole
    return covered
