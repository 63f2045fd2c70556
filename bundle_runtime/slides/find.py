"""Which files are slides, and what slides and patients are called."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pydicom
from custom_components.errors import InputError

from ..data.find import files_below, say_unfit, some
from ..data.image_file import DICOM_SUFFIXES
from ..data.sequences import patient_of
from ..data.tables import read_patients

SUFFIXES = (
    ".svs", ".tif", ".tiff", ".btf", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", *DICOM_SUFFIXES,
)  # fmt: skip
_ANNOTATIONS = (".json", ".geojson", ".csv", ".txt", ".xml")
_LEVELS = (
    "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage: a level, the label or a photograph
)


class SlideFile(NamedTuple):
    """A slide on disk.

    Attributes:
        path: the file that is opened.
        slide: its id: the file name without its ending, or what a pattern found.
        patient: the patient's id.
    """

    path: Path
    slide: str
    patient: str


def find_slides(
    source: str | os.PathLike[str],
    patient_pattern: str | None = None,
    patients: str | Path | None = None,
    leave_out: Sequence[str] = (),
    exclude: Collection[str] = (),
) -> list[SlideFile]:
    """The slides of a folder and its subfolders, or a single one, with ids.

    A DICOM slide is a series of files, one a level; it is called like its folder if it has the folder for itself.

    Args:
        source: a file or a folder. Files whose name ends in `_mask` are annotations, not slides.
        patient_pattern: regular expression that is searched in the file name; its group `patient`, or its first group,
            is the patient, a group `slide` the slide. None: the first three parts of a TCGA barcode (in capitals), the
            patient id of a DICOM file, else each slide is its own patient.
        patients: CSV with the columns case (slide id or file name) and patient_id, instead of the pattern.
        leave_out: folders below `source` that are not looked at, such as the output.
        exclude: patterns of files and folders that are left out, see `data.find.excluded`.

    Raises:
        InputError: no slide, a pattern that is wrong or does not fit a name, or two files with one slide id.
    """
    root = Path(source)
    if not root.exists():
        raise InputError(f"{source}: does not exist; give a slide or a folder of slides.")
    files = _in_folder(root, leave_out, exclude) if root.is_dir() else [root]
    found = [_named(*entry, patient_pattern) for entry in _slides_of(files)]
    if not found:
        raise InputError(f"{source}: holds no slide ({', '.join(SUFFIXES)}); give a slide or a folder of slides.")
    by_id: dict[str, Path] = {}
    for entry in found:
        if entry.slide in by_id:
            raise InputError(
                f"{by_id[entry.slide]} and {entry.path} have the same slide id {entry.slide!r}; rename one of them."
            )
        by_id[entry.slide] = entry.path
    if patients is not None:
        owner = read_patients(patients, list(by_id))
        found = [entry._replace(patient=owner[entry.slide]) for entry in found]
    return found


def _in_folder(root: Path, leave_out: Sequence[str], exclude: Collection[str]) -> list[Path]:
    left_out: list[str] = []
    names = files_below(root, leave_out=leave_out, exclude=exclude, left_out=left_out)
    say_unfit(root, exclude, left_out)
    found = [name for name in names if name.lower().endswith(SUFFIXES)]
    others = [name for name in names if name not in found and not name.lower().endswith(_ANNOTATIONS)]
    # The parts of a MIRAX or Hamamatsu slide lie in a folder of its name.
    others = [name for name in others if name.rpartition("/")[0] not in {os.path.splitext(slide)[0] for slide in found}]
    if found and others:
        print(f"{len(others)} file(s) of {root} are no slides and are left out: {some(others, 3)}.")
    return [root / name for name in found if not Path(name).stem.endswith("_mask")]


def _slides_of(files: Sequence[Path]) -> list[tuple[Path, str, str | None]]:
    """File, name and, where the file says it, patient of each slide; the files of a DICOM series are one slide."""
    slides: list[tuple[Path, str, str | None]] = []
    series: dict[tuple[Path, str], list[tuple[Path, pydicom.Dataset]]] = {}
    for file in files:
        header = _header(file)
        if header is None:
            slides.append((file, file.stem, None))
        elif header.get("SOPClassUID") == _LEVELS:
            series.setdefault((file.parent, str(header.get("SeriesInstanceUID"))), []).append((file, header))
    for (folder, _), members in series.items():
        alone = len(members) > 1 and sum(other == folder for other, _ in series) == 1
        file, header = next(
            (member for member in members if "VOLUME" in (member[1].get("ImageType") or ())), members[0]
        )
        name = Path(os.path.abspath(folder)).name if alone else file.stem
        slides.append((file, name, str(header.get("PatientID") or "") or None))
    return sorted(slides)


def _header(file: Path) -> pydicom.Dataset | None:
    """What a DICOM file says of itself; None for another file, and for one that is damaged: opening it will tell."""
    if not file.name.lower().endswith(DICOM_SUFFIXES):
        return None
    wanted = ["SOPClassUID", "SeriesInstanceUID", "ImageType", "PatientID"]
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=wanted)
    except (OSError, pydicom.errors.InvalidDicomError):
        return None


def _named(file: Path, name: str, patient: str | None, pattern: str | None) -> SlideFile:
    if pattern is None:
        named = patient_of(name)
        return SlideFile(file, name, named if named != name else patient or name)
    try:
        match = re.search(pattern, name + file.suffix)
    except re.error as error:
        raise InputError(f"patient_pattern {pattern!r} is not a regular expression ({error}).") from error
    groups = match.groupdict() if match else {}
    patient = groups.get("patient") or (match[1] if match and match.re.groups else None)
    if not patient:
        raise InputError(f"{file}: patient_pattern {pattern!r} finds no patient in the file name; it needs one group.")
    return SlideFile(file, groups.get("slide") or name, patient)
