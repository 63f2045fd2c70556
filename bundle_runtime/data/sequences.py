"""What file names say: the patient, and of brain MRI the sequence, the case and the label convention."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from custom_components.errors import InputError

_SPELLINGS = {
    "flair": ("flair", "t2f", "t2flair", "fla"),
    "t1": ("t1", "t1n", "t1w", "t1native", "t1pre"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1gad", "t1post", "t1wce", "t1wgd", "t1ceweighted", "t1contrast"),
    "t2": ("t2", "t2w"),
}
_BY_SPELLING = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}
# The stem of a file as case, the last part but one, and the last two parts; or as case and last part.
_TWO_PARTS = re.compile(r"(?:(.*)[_-])?(([^_-]+)[_-][^_-]+)")
_LAST_PART = re.compile(r"(?:(.*)[_-])?([^_-]+)")
# BIDS's part for the contrast agent, `ce-gd`; a patient called CE-001 is none.
_CONTRAST = re.compile(r"(?:^|_)ce-[A-Za-z][A-Za-z0-9]*(?=_|$)")
_TCGA = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}", re.IGNORECASE)  # project, tissue source site, participant
_TIME_POINT = re.compile(r"(BraTS-[A-Za-z]+-\d{4,})-\d{3}")
_BIDS = re.compile(r"(?:.*/)?(sub-[A-Za-z]*\d[A-Za-z0-9]*)_[^/]*")  # then its session, run, ...
_MSD_CASE = re.compile(r"BRATS_\d{3}")
_ENDINGS_2023 = {"t2f", "t1n", "t1c", "t2w"}


def readable(name: str) -> str:
    """The name of a file as text for tables and pictures: what is no UTF-8 on the disk is taken for Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")
    return name


def file_stem(path: str | Path) -> str:
    """The file name without `.nii.gz`, `.nii`, `.png` or the like, `readable`."""
    name = readable(Path(path).name)
    return Path(name[:-3] if name.lower().endswith(".gz") else name).stem


def patient_of(case: str) -> str:
    """The patient of a case, file or path: of a TCGA barcode the participant (the last one of a path, in capitals).

    `BraTS-GLI-00005-001` is a scan of `BraTS-GLI-00005`, BIDS's `sub-01_ses-2` one of `sub-01`; any other case is a
    patient.
    """
    barcodes = _TCGA.findall(case)
    match = _TIME_POINT.fullmatch(case) or _BIDS.fullmatch(case)
    return barcodes[-1].upper() if barcodes else match[1] if match else case


def sequence_name(text: str) -> str:
    """The one name of a sequence, whatever its spelling: `T1Gd`, `t1c` and `T1-CE` are `t1ce`.

    A sequence that is not known here (`swi`, `adc`) keeps its own name in lower case.
    """
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    return _BY_SPELLING.get(plain, plain)


def sequence_names(texts: Sequence[str], where: str = "sequences") -> list[str]:
    """The names of several sequences, in their order.

    Raises:
        InputError: none, or two that mean the same.
    """
    names = [sequence_name(text) for text in texts]
    if not names or len(set(names)) != len(names) or "" in names:
        raise InputError(f"{where} is {list(texts)}; expected different sequence names, such as flair, t1, t1ce, t2.")
    return names


def split_stem(file: str | Path) -> tuple[str, str] | None:
    """Case and ending of a file: `BraTS-GLI-00005-000-t1c.nii.gz` -> (`BraTS-GLI-00005-000`, `t1c`).

    The ending is what follows the last `_` or `-`, or the one before where both together name a sequence (`T2_FLAIR`,
    `T1-CE`), and is returned as spelled. BIDS names the contrast agent apart: `sub-01_ce-gd_T1w` is (`sub-01`,
    `T1w_ce`). A file named by its ending alone (`flair.nii.gz`) belongs to the case of its folder. None where the
    ending is neither a known sequence nor `seg`.
    """
    match = _TWO_PARTS.fullmatch(file_stem(file))
    if match is None or sequence_name(match[2]) not in _SPELLINGS or sequence_name(match[3]) not in _SPELLINGS:
        match = _LAST_PART.fullmatch(file_stem(file))
    if match is None:
        return None
    head, ending = match[1] or "", match[2]
    if ending.lower() != "seg" and sequence_name(ending) not in _SPELLINGS:
        return None
    plain, contrast = _CONTRAST.subn("", head)
    if contrast and sequence_name(ending) == "t1":
        ending = f"{ending}_ce"
    return plain.lstrip("_") or readable(Path(file).parent.name), ending


def group_by_case(files: Iterable[str | Path]) -> dict[str, dict[str, str]]:
    """Files of one sequence each as case -> {sequence or "seg": path}; files with other endings are left out.

    Raises:
        InputError: two files of a case hold the same sequence.
    """
    cases: dict[str, dict[str, str]] = {}
    for file in sorted(map(str, files)):
        parts = split_stem(file)
        if parts is None:
            continue
        name = "seg" if parts[1].lower() == "seg" else sequence_name(parts[1])
        known = cases.setdefault(parts[0], {})
        if name in known:
            raise InputError(f"{file}: {known[name]} already is the {name} of case {parts[0]}; keep one of them.")
        known[name] = file
    return cases


def usual_convention(images: Sequence[str]) -> str:
    """The convention that goes with the file names of a case.

    It is brats2023 for t2f, t1n, t1c and t2w, msd for a single `BRATS_001.nii.gz`, and brats2018 for all others.
    """
    if len(images) == 1 and _MSD_CASE.fullmatch(file_stem(images[0])):
        return "msd"
    endings = {parts[1].lower() for parts in map(split_stem, images) if parts is not None}
    return "brats2023" if endings and endings <= _ENDINGS_2023 else "brats2018"
