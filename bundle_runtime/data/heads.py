"""What the file names of brain MRI releases say."""

import re
from collections.abc import Sequence

from .sequences import file_stem, split_stem

_ENDINGS_2023 = {"t2f", "t1n", "t1c", "t2w"}


_TIME_POINT = re.compile(r"(BraTS-[A-Za-z]+-\d{4,})-\d{3}")


_MSD_CASE = re.compile(r"BRATS_\d{3}")


def patient_of(case: str) -> str:
    """The patient of a case: `BraTS-GLI-00005-001` is a scan of `BraTS-GLI-00005`; any other case is a patient."""
    match = _TIME_POINT.fullmatch(case)
    return match[1] if match else case


def usual_convention(images: Sequence[str]) -> str:
    """The convention that goes with the file names of a case.

    It is brats2023 for t2f, t1n, t1c and t2w, msd for a single `BRATS_001.nii.gz`, and brats2018 for all others.
    """
    if len(images) == 1 and _MSD_CASE.fullmatch(file_stem(images[0])):
        return "msd"
    endings = {parts[1].lower() for parts in map(split_stem, images) if parts is not None}
    return "brats2023" if endings and endings <= _ENDINGS_2023 else "brats2018"
