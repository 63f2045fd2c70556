"""Which files are slides, who reads them, and what slides and patients are called."""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bundle_runtime.data.patients import read_patients
from custom_components.errors import InputError

from ..data.image_file import DICOM_SUFFIXES, PICTURE_SUFFIXES
from .openslide_slide import OpenSlideSlide
from .slide import Slide
from .tiff_slide import TiffSlide

TIFF_SUFFIXES = (".tif", ".tiff", ".svs", ".btf")
OPENSLIDE_SUFFIXES = (".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
READERS = ("auto", "tifffile", "openslide")
_PICTURES = set(PICTURE_SUFFIXES) - {*TIFF_SUFFIXES, *DICOM_SUFFIXES}
_TCGA = r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})"  # project, tissue source site, participant: the patient's part of the barcode


class SlideFile(NamedTuple):
    """A slide on disk.

    Attributes:
        path: the file.
        slide: its id: the file name without its ending, or what a pattern found.
        patient: the patient's id.
    """

    path: Path
    slide: str
    patient: str


def open_slide(path: str | os.PathLike[str], reader: str = "auto", assume_mpp: float | None = None) -> Slide:
    """Open a slide for reading regions.

    Args:
        path: the file.
        reader: tifffile, openslide, or auto: tifffile for .tif, .tiff, .svs and .btf, OpenSlide for the others.
        assume_mpp: micrometres a pixel at level 0 where the file does not tell.

    Raises:
        InputError: an unknown reader, a plain picture, a file that cannot be read, or OpenSlide is needed and not
            installed.
    """
    if reader not in READERS:
        raise InputError(f"reader is {reader!r}; choose one of {', '.join(READERS)}.")
    file = Path(path)
    if reader == "auto" and file.suffix.lower() in _PICTURES:
        known = ", ".join((*TIFF_SUFFIXES, *OPENSLIDE_SUFFIXES))
        raise InputError(
            f"{path}: is a plain picture ({file.suffix}) and no whole slide ({known}); tiles go to inference, not here."
        )
    tiff = reader == "tifffile" or (reader == "auto" and file.suffix.lower() in TIFF_SUFFIXES)
    return TiffSlide(file, assume_mpp) if tiff else OpenSlideSlide(file, assume_mpp)


def find_slides(
    source: str | os.PathLike[str],
    patient_pattern: str | None = None,
    patients: str | Path | None = None,
    leave_out: Sequence[str] = (),
) -> list[SlideFile]:
    """The slides of a folder and its subfolders, or a single one, with ids.

    Args:
        source: a file or a folder. Files whose name ends in `_mask` are annotations, not slides.
        patient_pattern: regular expression that is searched in the file name; its group `patient`, or its first group,
            is the patient, a group `slide` the slide. None: the first three parts of a TCGA barcode, else each slide is
            its own patient.
        patients: CSV with the columns case (slide id or file name) and patient_id, instead of the pattern.
        leave_out: folders below `source` that are not looked at, such as the output.

    Raises:
        InputError: no slide, a pattern that is wrong or does not fit a name, or two files with one slide id.
    """
    root = Path(source)
    if root.is_dir():
        files = _in_folder(root, {os.path.abspath(folder) for folder in leave_out})
    elif root.exists():
        files = [root]
    else:
        raise InputError(f"{source}: does not exist; give a slide or a folder of slides.")
    if not files:
        known = ", ".join((*TIFF_SUFFIXES, *OPENSLIDE_SUFFIXES))
        raise InputError(f"{source}: holds no slide ({known}); give a slide or a folder of slides.")
    found = [_named(file, patient_pattern) for file in files]
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


def read_sections(path: str | os.PathLike[str], slides: Sequence[SlideFile]) -> dict[str, str]:
    """Slide id -> training, validation or test, from a CSV with the columns slide and section.

    Raises:
        InputError: unreadable, a wrong section, a slide in two lists or in none, or a patient in two lists.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the table of sections cannot be read ({error}).") from error
    if not rows or not {"slide", "section"} <= set(rows[0]):
        raise InputError(f"{path}: expected the columns slide and section, one row a slide.")
    sections: dict[str, str] = {}
    for row in rows:
        slide, section = row["slide"], row["section"]
        if section not in ("training", "validation", "test"):
            raise InputError(
                f"{path}: slide {slide} has the section {section!r}; training, validation or test expected."
            )
        if sections.setdefault(slide, section) != section:
            raise InputError(f"{path}: slide {slide} is in two lists, {sections[slide]} and {section}; keep one.")
    by_patient: dict[str, str] = {}
    for entry in slides:
        if entry.slide not in sections:
            raise InputError(f"{path}: names no section for slide {entry.slide}; add a row for it.")
        section = sections[entry.slide]
        if by_patient.setdefault(entry.patient, section) != section:
            raise InputError(
                f"{path}: patient {entry.patient} is in two lists, {by_patient[entry.patient]} and {section} "
                f"({entry.slide}); put all slides of a patient into one."
            )
    return sections


def _in_folder(root: Path, leave_out: set[str]) -> list[Path]:
    files: list[Path] = []
    for here, folders, names in os.walk(root):
        kept = (
            name for name in folders if not name.startswith(".") and os.path.abspath(Path(here, name)) not in leave_out
        )
        folders[:] = sorted(kept)
        files += [Path(here, name) for name in sorted(names) if not name.startswith(".")]
    known = (*TIFF_SUFFIXES, *OPENSLIDE_SUFFIXES)
    return [file for file in files if file.suffix.lower() in known and not file.stem.endswith("_mask")]


def _named(file: Path, pattern: str | None) -> SlideFile:
    slide = file.stem
    try:
        match = re.search(_TCGA if pattern is None else pattern, file.name)
    except re.error as error:
        raise InputError(f"patient_pattern {pattern!r} is not a regular expression ({error}).") from error
    if pattern is None:
        return SlideFile(file, slide, match[1] if match else slide)
    groups = match.groupdict() if match else {}
    patient = groups.get("patient") or (match[1] if match and match.re.groups else None)
    if not patient:
        raise InputError(f"{file}: patient_pattern {pattern!r} finds no patient in the file name; it needs one group.")
    return SlideFile(file, groups.get("slide") or slide, patient)
