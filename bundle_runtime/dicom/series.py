"""DICOM series: files grouped, slices laid in order, and named whatever is no even stack of slices."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
from custom_components.errors import InputError
from pydicom.config import disable_value_validation

from ..data.find import DICOM, files_below, some
from ..data.verify import combined_edges, edges, sentence
from ..data.volume import UnusableError, in_millimetres
from .pixels import NO_PICTURE, damaged, frames, has_pixels, parse, text

LABEL_OBJECTS = ("SEG", "RTSTRUCT")
# What a scan reads of a header.
_HEADER = [
    "PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID",
    "FrameOfReferenceUID", "Modality", "SeriesDescription", "ProtocolName", "StudyDescription", "BodyPartExamined",
    "SeriesNumber", "ImageType", "SpecificCharacterSet", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence",
    "EncryptedAttributesSequence",
]  # fmt: skip
_SAME_PLACE = 0.01  # mm along the normal within which two slices lie in one place
_OFF = 0.1  # of a slice distance: how far slices may lie off an even stack; rounding in headers stays far below


class NoVolume(UnusableError):
    """Images that were never meant to be a volume: localisers, single pictures, secondary captures."""


class Frame(NamedTuple):
    """One slice: its file, its place in it, and where it lies (mm, DICOM's LPS axes)."""

    file: str
    number: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    size: tuple[int, int]
    rescale: tuple[float, float]


class Stack(NamedTuple):
    """Slices in order along their normal, and the affine (4, 4) from column, row and slice to mm in RAS axes."""

    frames: list[Frame]
    affine: np.ndarray


@dataclasses.dataclass
class Series:
    """The images of one SeriesInstanceUID (where that is empty: of one folder).

    Attributes:
        header: of its first file, without pixels.
        files: all of them.
        frames: their slices, as they come.
        problems: what is wrong with single files.
        patients: what its files give as patient.
        images: the SOPInstanceUIDs of its files.
    """

    header: pydicom.Dataset
    files: list[str] = dataclasses.field(default_factory=list)
    frames: list[Frame] = dataclasses.field(default_factory=list)
    problems: list[UnusableError] = dataclasses.field(default_factory=list)
    patients: set[str] = dataclasses.field(default_factory=set)
    images: set[str] = dataclasses.field(default_factory=set)

    def add(self, dataset: pydicom.Dataset, file: str) -> None:
        """Take the slices of a file."""
        self.files.append(file)
        self.patients.add(text(dataset, "PatientID"))
        self.images.add(text(dataset, "SOPInstanceUID"))
        try:
            self.frames += _frames(dataset, file)
        except UnusableError as problem:
            self.problems.append(type(problem)(f"{os.path.basename(file)} {problem}"))
        except Exception as error:  # pydicom parses element by element, and a damaged one can break it anywhere
            self.problems.append(UnusableError(sentence(damaged(os.path.basename(file), error), "")))

    def stack(self) -> Stack:
        """Its slices in order.

        Raises:
            UnusableError: they are no even stack of one patient.
        """
        if self.problems:
            more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
            raise type(self.problems[0])(f"is no volume: {self.problems[0]}{more}")
        if len(self.patients) > 1:
            raise UnusableError(f"holds files of {len(self.patients)} patients; put those of each into a folder")
        try:
            return lay(self.frames)
        except UnusableError as problem:
            copies = len(self.files) - len(self.images)
            if "" in self.images or not copies:
                raise
            raise type(problem)(
                f"{problem}; {copies} of its {len(self.files)} files repeat the SOPInstanceUID of another: copies?"
            ) from problem

    def title(self) -> str:
        """The series in a few words, for its owner to find it: never written into a file."""
        said = [text(self.header, key) for key in ("Modality", "SeriesNumber", "SeriesDescription")]
        count = f"{len(self.frames)} slices" if self.frames else f"{len(self.files)} files"
        return f"{' '.join(part for part in said if part) or 'unnamed'} ({count})"


def lay(slices: Sequence[Frame]) -> Stack:
    """Order slices along their normal.

    Raises:
        UnusableError: they differ in size, direction or spacing, lie in one place, or not at even distances.
    """
    first = slices[0] if slices else None
    if first is None or len(slices) < 2:
        raise NoVolume(f"holds {len(slices)} slice(s), expected a volume")
    sizes = {frame.size for frame in slices}
    if len(sizes) > 1:
        found = some(f"{rows} x {columns}" for rows, columns in sorted(sizes))
        raise UnusableError(f"holds slices of different sizes ({found} pixels); keep those of one")
    for kind, what, values in (
        (NoVolume, "directions (a localiser?)", np.array([frame.orientation for frame in slices])),
        (UnusableError, "pixel spacings", np.array([frame.spacing for frame in slices])),
    ):
        if np.abs(values - values[0]).max() > 1e-3:
            count = len(np.unique(np.round(values, 2), axis=0))
            raise kind(f"holds slices of {count} different {what}, which are no volume")
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(row, column)
    if not np.allclose(np.linalg.norm([row, column, normal], axis=1), 1, atol=1e-3) or min(first.spacing) <= 0:
        raise UnusableError("has an ImageOrientationPatient or a PixelSpacing that makes no sense")
    ordered = sorted(slices, key=lambda frame: float(np.dot(frame.position, normal)))
    places = np.array([frame.position for frame in ordered])
    _check_distances(places @ normal)
    step = (places[-1] - places[0]) / (len(places) - 1)
    off = np.abs(places - places[0] - np.outer(np.arange(len(places)), step)).max()
    if off > _OFF * np.linalg.norm(step):
        raise UnusableError(f"has slices that lie up to {off:.3g} mm off the line of the others; it is no volume")
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * first.spacing[1], column * first.spacing[0], step, places[0]])
    return Stack(ordered, np.diag([-1.0, -1, 1, 1]) @ affine)


def _check_distances(places: np.ndarray) -> None:
    """Slices lie each in a place of its own, at even distances (mm along the normal, ascending)."""
    starts = np.flatnonzero(np.diff(places, prepend=-np.inf) > _SAME_PLACE)
    counts = np.diff([*starts, len(places)])
    if counts.max() > 1 and counts.min() == counts.max():
        raise UnusableError(
            f"holds {counts.max()} images in each of {len(starts)} places (echoes, phases, diffusion directions?); "
            "keep one volume"
        )
    if counts.max() > 1:
        where = some(f"{places[start]:.4g}" for start in starts[counts > 1])
        raise UnusableError(f"has doubled slices, at {where} mm; keep one of each")
    steps = np.diff(places)
    typical = float(steps.min())
    wide = steps > (1 + _OFF) * typical
    if wide.any() and np.abs(steps / typical - np.round(steps / typical)).max() <= _OFF:
        lacking = int(np.round(steps / typical).sum()) - len(steps)
        start = int(np.flatnonzero(wide)[0])
        raise UnusableError(
            f"lacks {lacking} slice(s), the first between {places[start]:.4g} and {places[start + 1]:.4g} mm; export "
            "the series again"
        )
    if np.abs(steps - typical).max() > _OFF * typical:
        raise UnusableError(
            f"has slices at uneven distances, {steps.min():.3g} to {steps.max():.3g} mm; keep an even part of them"
        )


def _frames(dataset: pydicom.Dataset, file: str) -> list[Frame]:
    """The slices of a file: one, or those of an enhanced object.

    Raises:
        UnusableError: it does not say where they lie, or is no grey picture.
    """
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise NoVolume("is a colour picture (a secondary capture?), expected grey slices")
    if "LOCALIZER" in (dataset.get("ImageType") or ()):
        raise NoVolume("is a localiser")
    if "ModalityLUTSequence" in dataset:
        raise UnusableError("has a modality table in place of a slope and an intercept")
    own: Sequence[pydicom.Dataset] = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    count = int(dataset.get("NumberOfFrames") or 1)
    if count > 1 and len(own) != count:
        raise UnusableError(f"has {count} frames that do not say where they lie; export it as single slices")

    def value(index: int, macro: str, key: str) -> Any:
        for group in (*own[index : index + 1], shared):
            inner = group.get(macro)
            if inner and inner[0].get(key) is not None:
                return inner[0][key].value
        return dataset.get(key)

    found = []
    for index in range(count):
        place = value(index, "PlanePositionSequence", "ImagePositionPatient")
        direction = value(index, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = value(index, "PixelMeasuresSequence", "PixelSpacing")
        if not place or not direction or not spacing:
            raise NoVolume("lacks ImagePositionPatient, ImageOrientationPatient or PixelSpacing: it is no slice")
        slope = value(index, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = value(index, "PixelValueTransformationSequence", "RescaleIntercept")
        scale = (1.0 if slope in (None, "") else float(slope), float(intercept or 0))
        where, turned, apart = (tuple(map(float, part)) for part in (place, direction, spacing))
        found.append(Frame(file, index, where, turned, apart, (int(dataset.Rows), int(dataset.Columns)), scale))
    return found


@dataclasses.dataclass
class Export:
    """What is in a number of files.

    Attributes:
        series: key -> images; see `Series`.
        objects: file -> header of segmentations and sets of contours.
        refused: file -> why it is none of these; what is not DICOM is not listed.
        damaged: those of them that may belong to a series all the same.
    """

    series: dict[str, Series] = dataclasses.field(default_factory=dict)
    objects: dict[str, pydicom.Dataset] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    damaged: set[str] = dataclasses.field(default_factory=set)

    def add(self, dataset: pydicom.Dataset, file: str, with_pixels: bool) -> str | None:
        """Put a file where it belongs; the key of its series where it is an image."""
        modality = text(dataset, "Modality")
        if modality in LABEL_OBJECTS:
            self.objects[file] = dataset
        elif modality in NO_PICTURE:
            self.refused[file] = f"is {NO_PICTURE[modality]} ({modality})"
        elif "Rows" not in dataset or (with_pixels and not has_pixels(dataset)):
            hidden = " (encrypted?)" if "EncryptedAttributesSequence" in dataset else ""
            self.refused[file] = f"has no pixel data{hidden}"
            self.damaged.add(file)
        else:
            key = text(dataset, "SeriesInstanceUID") or os.path.dirname(file)
            if key not in self.series:
                plain = pydicom.Dataset()
                plain.update({element.tag: element for element in dataset if element.keyword in _HEADER})
                self.series[key] = Series(plain)
            self.series[key].add(dataset, file)
            return key
        return None


def scan(files: Iterable[str]) -> Export:
    """Look at the headers of files, whatever else lies among them."""
    found = Export()
    with disable_value_validation():  # other programs' small slips in fields that nobody reads
        for file in files:
            ending = os.path.splitext(file)[1].lower()
            named = ending in DICOM
            if (ending[1:].isalpha() and not named) or os.path.basename(file).upper() == "DICOMDIR":
                continue
            try:
                with open(file, "rb") as stream:
                    named = stream.read(132)[128:] == b"DICM" or named
                    stream.seek(0)
                    dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_HEADER)
            except Exception as error:  # pydicom raises many kinds for bytes that make no sense
                if named:
                    found.refused[file] = sentence(damaged(file, error), file)
                    found.damaged.add(file)
                continue
            if dataset.get("SOPClassUID") or (named and dataset.get("Modality")):
                found.add(dataset, file, with_pixels=False)
            elif named:
                found.refused[file] = "is no DICOM image, or is encrypted or damaged"
                found.damaged.add(file)
    return found


def read_series(path: str, prints: dict[str, str] | None = None) -> tuple[Any, np.ndarray]:
    """Read a series completely, opening each file once.

    Args:
        path: a folder that holds one series, or one file of a series, which is then taken from its folder.
        prints: gets, under `path`, the `verify.edges` of its files.

    Returns:
        A nibabel image for its grid, and the voxels (X, Y, Z) in the units of the modality: integers where slope and
        intercept are, else float32.

    Raises:
        UnusableError: it is no even stack of slices of one patient, or a file is damaged.
        InputError: a file is damaged, or nothing here can decode it.
    """
    folder, chosen = (path, None) if os.path.isdir(path) else (os.path.dirname(path), path)
    return read_files([os.path.join(folder, name) for name in files_below(Path(folder), 0)], path, chosen, prints)


def read_files(
    files: Sequence[str], name: str, chosen: str | None = None, prints: dict[str, str] | None = None
) -> tuple[Any, np.ndarray]:
    """The same for given files.

    Args:
        files: of one series, or with others that are told apart by `chosen`.
        name: what to call it in `prints`.
        chosen: a file of the series that is meant.
        prints: see `read_series`.
    """
    found, stored, marks = Export(), dict[tuple[str, int], np.ndarray](), dict[str, str]()
    wanted = None
    with disable_value_validation():
        for file in sorted(files, key=lambda other: other != chosen):  # it says which series is meant
            content = Path(file).read_bytes()
            marks[file] = edges(content)
            try:
                dataset = parse(file, content)
            except InputError:
                if content[128:132] == b"DICM" or file.lower().endswith(DICOM):
                    raise
                if file == chosen:
                    raise UnusableError("is no NIfTI, NRRD, MetaImage or DICOM file; convert it") from None
                continue
            key = found.add(dataset, file, with_pixels=True)
            if file in found.damaged:
                raise UnusableError(f"{os.path.basename(file)} {found.refused[file]}; export or copy it again")
            if chosen is not None and file != chosen and key != wanted:
                marks.pop(file)
            elif key is not None:
                wanted = wanted or key
                if key == wanted:
                    _decode(dataset, file, stored)
    if wanted is None:
        reasons = some((f"{os.path.basename(file)} {reason}" for file, reason in found.refused.items()), 1)
        raise UnusableError(f"is a folder that holds no DICOM image{f' ({reasons})' if reasons else ''}")
    if chosen is None and len(found.series) > 1:
        titles = some((series.title() for series in found.series.values()), 4)
        raise UnusableError(
            f"holds {len(found.series)} series ({titles}), expected one; name a file of the one you mean"
        )
    if prints is not None:
        prints[name] = combined_edges(marks)
    series = found.series[wanted]
    return _assembled(series.stack(), stored)


def stack_of(path: str) -> Stack:
    """The slices of what `read_series` finds under a path, from the headers alone.

    Raises:
        UnusableError: it is no series.
    """
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    found = scan(os.path.join(folder, name) for name in files_below(Path(folder), 0))
    chosen = [series for series in found.series.values() if path == folder or path in series.files]
    if len(chosen) != 1:
        raise UnusableError("is no DICOM series")
    return chosen[0].stack()


def _decode(dataset: pydicom.Dataset, file: str, stored: dict[tuple[str, int], np.ndarray]) -> None:
    try:
        for index, frame in enumerate(frames(dataset, file)):
            stored[file, index] = frame
    except InputError:
        raise
    except Exception as error:  # a damaged header or too few pixels
        raise damaged(file, error) from error


def _assembled(stack: Stack, stored: dict[tuple[str, int], np.ndarray]) -> tuple[Any, np.ndarray]:
    """One array of all slices; each is given up as it is copied, so that there is no second volume."""
    rows, columns = stack.frames[0].size
    voxels = np.empty((columns, rows, len(stack.frames)), _dtype(stack, stored), order="F")
    for number, frame in enumerate(stack.frames):
        slope, intercept = frame.rescale
        values = stored.pop((frame.file, frame.number)).T
        # In double precision, as ITK does; where both are whole numbers nothing is lost in either.
        voxels[..., number] = values if (slope, intercept) == (1, 0) else values * slope + intercept
    return in_millimetres(nib.Nifti1Image(voxels, stack.affine)), voxels


def _dtype(stack: Stack, stored: Mapping[tuple[str, int], np.ndarray]) -> Any:
    """The smallest of int16, int32 and float32 that holds every value of the slices."""
    ends: list[float] = []
    for frame in stack.frames:
        values, (slope, intercept) = stored[frame.file, frame.number], frame.rescale
        if values.dtype.kind == "f" or slope != round(slope) or intercept != round(intercept):
            return np.float32
        ends += [int(end) * slope + intercept for end in (values.min(), values.max())]
    whole = (np.int16, np.int32)
    fitting = (k for k in whole if np.iinfo(k).min <= min(ends) and max(ends) <= np.iinfo(k).max)
    return next(fitting, np.float32)


def series_below(folder: Path, files: Iterable[str]) -> tuple[dict[str, Series], Export]:
    """The series among files, given as paths from a folder, by the path under which `read_series` finds each.

    That path is the series' folder where it is alone there, else its first file.
    """
    found = scan(str(folder / file) for file in sorted(files))
    folders = [{os.path.dirname(file) for file in series.files} for series in found.series.values()]
    alone = Counter(place for places in folders for place in places)
    by_path = {}
    for series, places in zip(found.series.values(), folders, strict=True):
        if len(places) > 1:
            series.problems.append(UnusableError(f"its files lie in {len(places)} folders"))
        first = series.files[0]
        place = os.path.dirname(first)
        by_path[place if alone[place] == 1 else first] = series
    return by_path, found
