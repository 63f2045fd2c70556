"""Picture files: found below a folder, matched with the paths of a table, and their patients read from their names."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pydicom
from bundle_runtime.data.find import excluded, some
from bundle_runtime.data.image_file import DICOM_SUFFIXES, PICTURE_SUFFIXES
from bundle_runtime.data.sequences import patient_of
from bundle_runtime.data.tables import read_patients
from bundle_runtime.dicom.pixels import text
from custom_components.errors import InputError

from .registry import Root


def is_picture(file: str) -> bool:
    """Whether a file's name ends as pictures do."""
    return file.lower().endswith(PICTURE_SUFFIXES)


def pictures_in(files: Iterable[str], base: Path, images: str | Path | None) -> list[str]:
    """Those of the files that are pictures and lie in the folder `images` of the data folder (None: anywhere).

    Raises:
        InputError: there is none.
    """
    inside = "." if images is None else Path(os.path.relpath(base / images, base)).as_posix()
    start = "" if inside == "." else f"{inside}/"
    found = [file for file in files if is_picture(file) and file.startswith(start)]
    if not found:
        raise InputError(
            f"{os.path.normpath(base / inside)}: the folder holds no picture; expected PNG, JPEG, TIFF or DICOM."
        )
    return found


class PictureFinder:
    """Finds the files that the paths in a table mean.

    A path may begin further down or further up than the data folder, and may lack its ending: `p1/a.png`, `a.png`, `a`
    and `release/images/p1/a.png` all mean the file `images/p1/a.png`.

    Args:
        files: paths of all pictures from the data folder.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self._exact: set[str] = set(files)
        self._by_name: dict[str, list[str]] = {}
        for file in sorted(self._exact):
            name = file.rpartition("/")[2]
            for key in {name, os.path.splitext(name)[0]}:
                self._by_name.setdefault(key, []).append(file)

    def find(self, path: str) -> list[str]:
        """The files that `path` may mean: none, one, or several of which none fits better."""
        wanted = path.strip().replace("\\", "/").removeprefix("./")
        if wanted in self._exact:
            return [wanted]
        parts = wanted.strip("/").split("/")
        found = []
        for file in self._by_name.get(parts[-1], []):
            *folders, name = file.split("/")
            shared = min(len(folders), len(parts) - 1)
            # One of the two must be the end of the other: train/a.png is not the missing test/a.png.
            if shared == 0 or folders[-shared:] == parts[-1 - shared : -1]:
                found.append((name == parts[-1], file))
        named_in_full = [file for in_full, file in found if in_full]
        return named_in_full or [file for _, file in found]


def settle_missing(
    missing: Sequence[str], total: int, where: object, allowed: bool, what: str = "pictures", flag: str = "partial"
) -> None:
    """Say that pictures which are named somewhere, but are not there, are left out.

    Args:
        missing: their names.
        total: how many are named.
        where: the folder or table that the sentence begins with.
        allowed: go on without them.
        what: they are called.
        flag: the setting that allows it.

    Raises:
        InputError: some are missing and that is not allowed, or all are.
    """
    if missing and (not allowed or len(missing) == total):
        raise InputError(
            f"{where}: {len(missing)} of {total} {what} are missing: {some(missing)}; unpack all archives, correct the "
            f"table, or pass --{flag} true to go on without them."
        )
    if missing:
        print(f"{len(missing)} of {total} {what} are missing and are left out: {some(missing, 3)}.")


def excluder(root: Root) -> Callable[[str], bool]:
    """Tells of a path in a table whether it means a picture that `exclude` leaves out."""
    hidden = PictureFinder(root.left_out)
    return lambda path: excluded(path, root.exclude) or bool(hidden.find(path))


def patients_in_names(files: Sequence[str], pattern: str) -> dict[str, str]:
    """File -> patient, the first group of a regular expression that is searched in the file's name.

    A pattern with a slash is searched in the whole path: `(patient\\d+)/`.

    Raises:
        InputError: no regular expression with one group, or a file that it does not fit.
    """
    example = r"expected one with the patient in brackets, such as '^(p\d+)_'"
    try:
        compiled = re.compile(str(pattern))
    except re.error as error:
        raise InputError(f"patient_pattern {pattern!r} is no regular expression ({error}); {example}.") from error
    if compiled.groups != 1:
        raise InputError(f"patient_pattern {pattern!r} has {compiled.groups} groups; {example}.")
    whole = "/" in compiled.pattern
    matches = {file: compiled.search(file if whole else file.rpartition("/")[2]) for file in files}
    unknown = [file for file, match in matches.items() if not (match and match[1])]
    if unknown:
        where = "whole paths" if whole else "file names, without their folders (in whole paths if it held a slash)"
        raise InputError(
            f"patient_pattern {pattern!r} finds no patient in {len(unknown)} of {len(files)} files: {some(unknown)}; "
            f"it is searched in {where}."
        )
    return {file: match[1] for file, match in matches.items() if match}


def owners(
    files: Sequence[str],
    base: Path,
    pattern: str | None = None,
    patients: str | Path | None = None,
    hint: str = "--patient_pattern or --patients",
) -> dict[str, str]:
    """File -> patient, by a pattern or a table, else by its name (`patient_of`), else its DICOM header.

    Any other is a patient of its own. What was not given is printed.

    Raises:
        InputError: both are given, or one does not fit the files.
    """
    if pattern is not None and patients is not None:
        raise InputError("patient_pattern and patients are both given; choose one.")
    if pattern is not None:
        return patients_in_names(files, pattern)
    if patients is not None:
        return read_patients(patients, files)
    named = [file for file in files if patient_of(file) != file]
    if named:
        print(f"{len(named)} of {len(files)} pictures belong to the patients in their names (TCGA barcodes, BIDS).")
    said = _patients_in_headers([file for file in files if patient_of(file) == file], base)
    if said:
        print(f"{len(said)} of {len(files)} pictures belong to the patients that their DICOM headers name.")
    if len(named) + len(said) < len(files):
        print(
            f"Every {'other ' if named or said else ''}picture counts as a patient of its own; where patients have "
            f"several, give {hint}, or they will cross the lists."
        )
    return {file: said.get(file) or patient_of(own_patient(file)) for file in files}


def _patients_in_headers(files: Sequence[str], base: Path) -> dict[str, str]:
    """File -> PatientID of those that are DICOM; {} where all of them have the same, as some anonymisers leave it."""
    found = {}
    for file in files:
        ending = os.path.splitext(file)[1].lower()
        if ending in DICOM_SUFFIXES or not ending[1:].isalpha():
            try:
                header = pydicom.dcmread(base / file, stop_before_pixels=True, specific_tags=["PatientID"])
            except Exception:  # whatever it was: what is damaged is named where its pixels are read
                continue
            if patient := text(header, "PatientID"):
                found[file] = patient
    return found if len(set(found.values())) > 1 else {}


def own_patient(file: str) -> str:
    """A patient of its own for a file that names none: its path without the ending."""
    return os.path.splitext(file)[0]
