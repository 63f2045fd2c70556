"""Where a volume lies: the transforms of its header, and whether two files of an item are on one grid."""

from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError

from ..data.volume import UnusableFile, corner_shift, millimetres
from .check_report import CaseReport

GRID_TOLERANCE = 0.1  # voxels between the corners of two files of an item; rounding in headers stays far below


def check_header(report: CaseReport, file: str, image: Any) -> None:
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


def check_same_grid(report: CaseReport, file: str, image: Any, first: Any, name: str) -> bool:
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
