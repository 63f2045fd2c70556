"""A volume read to its last byte, whatever its format, and the small geometry that the checks of it need."""

import gzip
import itertools
import logging
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import nibabel as nib
import numpy as np
from custom_components.errors import InputError
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError

from ..failures import unreadable
from .find import NIFTI, THROUGH_ITK
from .verify import edges, edges_of, sentence

_GZIP = b"\x1f\x8b"
_SKEWED = 0.1  # degrees
GRID_TOLERANCE = 0.1  # voxels between the corners of two files of an item; rounding in headers stays far below
_HEADER_BYTES = 1 << 16
_UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("um", "\u00b5m", "micron", "micrometer", "micrometre"), 0.001),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1000.0),
}
_SPACE_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # millimetres of unknown, metre, millimetre, micrometre


class UnusableError(Exception):
    """A file that cannot be looked at any further; the message says why."""


def read_volume(file: str, prints: dict[str, str] | None = None) -> tuple[Any, np.ndarray]:
    """Read a volume completely, opening its file or files once.

    Args:
        file: a NIfTI, NRRD or MetaImage file; a folder that holds one DICOM series, or one file of a series.
        prints: gets the file's `verify.edges`.

    Returns:
        The nibabel image, for its grid, in millimetres whatever its header is in (of a file that is not NIfTI an equal
        one), and the voxels (X, Y, Z) or (X, Y, Z, C): as stored, or float where the file scales them; of DICOM in the
        units of the modality.

    Raises:
        UnusableError: missing, truncated, of another format, not numbers, neither 3-D nor 4-D, spacing not positive, an
            unknown unit of length.
    """
    try:
        if file.lower().endswith(NIFTI):
            image, data = _read_nifti(file, prints)
        elif file.lower().endswith(THROUGH_ITK):
            image, data = _read_through_itk(file, prints)
        else:
            from ..dicom.series import read_series  # most runs need no DICOM

            image, data = read_series(file, prints)
    except IsADirectoryError:
        raise UnusableError("is a folder, expected a file") from None
    except FileNotFoundError:
        raise UnusableError("the file does not exist; correct the path in the datalist or pass dataset_dir") from None
    except InputError as error:
        raise UnusableError(sentence(error, file)) from error
    except ImageFileError as error:
        raise UnusableError(f"is not a readable NIfTI file ({str(error).splitlines()[0]})") from error
    except (EOFError, OSError, ValueError, zlib.error, HeaderDataError, OverflowError, MemoryError) as error:
        if (said := unreadable(error)) is not None:
            raise UnusableError(f"cannot be read ({said})") from error
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UnusableError(f"is truncated or damaged ({reason[0]}); copy or convert it again") from error
    if data.dtype.kind not in "iuf":
        raise UnusableError(f"has voxels of type {data.dtype}, expected numbers (an RGB or complex image?)")
    if data.ndim not in (3, 4) or 0 in data.shape:
        raise UnusableError(f"has shape {data.shape}, expected a 3-D volume")
    return image, data


def _read_nifti(file: str, prints: dict[str, str] | None) -> tuple[Any, np.ndarray]:
    stored = Path(file).read_bytes()
    if prints is not None:
        prints[file] = edges(stored)
    # All of it, and not lazily by nibabel, which would stop before the checksum at the end of the file.
    content = gzip.decompress(stored) if stored[:2] == _GZIP else stored
    with _told_of(file):
        image: Any = _kind(content).from_bytes(content)
    # From the bytes, because nibabel silently turns a spacing of 0 into 1 and drops its sign.
    raw = np.frombuffer(content, image.header.template_dtype.newbyteorder(image.header.endianness), count=1)
    spacing = raw["pixdim"][0, 1:4]
    data = np.asanyarray(image.dataobj)
    if data.ndim > 2 and not (np.isfinite(spacing) & (spacing > 0)).all():
        found = tuple(float(value) for value in spacing)
        raise UnusableError(f"has spacing {found} mm, expected positive numbers; fix the header")
    return _in_millimetres(image), data


@contextmanager
def _told_of(file: str) -> Iterator[None]:
    """What nibabel mends in a header, and prints, goes with the name of the file."""

    def named(record: logging.LogRecord) -> bool:
        if record.thread == get_ident():  # others read at the same time
            record.msg = f"warning: {file}: its header was mended: {record.msg}"
        return True

    logger = nib.imageglobals.logger
    logger.addFilter(named)
    try:
        yield
    finally:
        logger.removeFilter(named)


def _in_millimetres(image: Any) -> Any:
    unit = int(image.header["xyzt_units"]) & 7
    if unit not in _SPACE_UNITS:
        raise UnusableError(f"has the unknown unit of length {unit} in xyzt_units, expected 2 (mm); fix the header")
    factor = _SPACE_UNITS[unit]
    if factor == 1:
        return image
    header = image.header.copy()
    for key in ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z"):
        header[key] = header[key] * factor
    header["pixdim"][1:4] *= factor
    header["xyzt_units"] = int(header["xyzt_units"]) - unit + 2
    return type(image)(image.dataobj, header.get_best_affine(), header)


def turned_like(image: Any, voxels: np.ndarray, first: Any) -> tuple[Any, np.ndarray]:
    """An image and its voxels with the axes in the order and directions of another one; its place stays the same."""
    turn = ornt_transform(io_orientation(image.affine), io_orientation(first.affine))
    if np.isnan(turn).any() or (turn == [[0, 1], [1, 1], [2, 1]]).all():
        return image, voxels
    affine = image.affine @ inv_ornt_aff(turn, image.shape[:3])
    turned = np.ascontiguousarray(apply_orientation(voxels, turn))
    return type(image)(turned, affine, image.header), turned


def stored_shape(file: Path) -> tuple[int, ...]:
    """The shape that the header of a file states.

    Raises:
        UnusableError: it has no header that can be read.
    """
    try:
        with open(file, "rb") as stored:
            packed = stored.read(2) == _GZIP
            stored.seek(0)
            with gzip.open(stored) if packed else stored as stream:
                content = stream.read(nib.Nifti2Header.sizeof_hdr)
        header = _kind(content).header_class
        return tuple(header(content[: header.sizeof_hdr]).get_data_shape())
    except (ImageFileError, EOFError, OSError, ValueError, zlib.error, HeaderDataError) as error:
        raise UnusableError(f"has no header that can be read ({error})") from error


def _kind(content: bytes) -> Any:
    """The class of nibabel for the content of a `.nii` or `.nii.gz`."""
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(content[: nib.Nifti2Header.sizeof_hdr]):
            return kind
    raise ImageFileError("its first bytes are no NIfTI header" if content else "it is empty")


def _read_through_itk(file: str, prints: dict[str, str] | None) -> tuple[Any, np.ndarray]:
    from monai.data import ITKReader

    if prints is not None:
        prints[file] = edges_of(file)
    reader = ITKReader()
    try:
        data, meta = reader.get_data(reader.read(file))
    except RuntimeError as error:  # ITK tells the reason in the last of many lines
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UnusableError(f"cannot be read ({lines[-1]}); copy or convert it again") from error
    except TypeError as error:
        raise UnusableError("has voxels of a type that ITK does not read (int64?); store it as int32") from error
    if meta["affine"].shape != (4, 4):
        raise UnusableError(f"has shape {data.shape}, expected a 3-D volume")
    affine = np.array(meta["affine"])
    affine[:3] *= _stated_unit(file)  # which ITK does not look at
    return in_millimetres(nib.Nifti1Image(data, affine, dtype=data.dtype)), data


def _stated_unit(file: str) -> float:
    """Millimetres of the unit of length that an NRRD or MetaImage header states; 1 where it states none."""
    with open(file, "rb") as stream:
        head = re.split(rb"\r?\n\r?\n|ElementDataFile", stream.read(_HEADER_BYTES))[0].decode(errors="replace")
    stated = re.findall(r"^(?:space )?units:(.*)|^DistanceUnits *=(.*)", head, re.MULTILINE)
    words = re.findall(r"[^\s\"?]+", " ".join(itertools.chain(*stated)).lower())
    units = {_UNITS.get(word.removesuffix("s")) for word in words} or {1.0}
    unit = units.pop()
    if units or unit is None:
        raise UnusableError(f"has the unknown units of length {' '.join(words)}, expected mm; fix the header")
    return unit


def in_millimetres(image: Any) -> Any:
    """An image of another format with what a NIfTI header says beyond an affine: that it is the scanner's, in mm."""
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code=1)
    if skew(image.affine) < _SKEWED:  # a qform can only turn
        image.set_qform(image.affine, code=1)
    return image


def skew(affine: np.ndarray) -> float:
    """How far the axes of a grid are from right angles, in degrees: those of a tilted gantry are not at."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arcsin(np.clip(np.abs(axes.T @ axes - np.eye(3)).max(), 0, 1))))


def tilted(affine: np.ndarray) -> str:
    """What is to be said of a grid whose axes are more than a degree off right angles; "" where they are not."""
    if (tilt := skew(affine)) <= 1.0:
        return ""
    return (
        f"has axes {tilt:.1f} degrees off right angles (gantry tilt): volumes in ml are right, but the network sees "
        "skewed shapes; resample it onto a straight grid if that matters"
    )


def corner_shift(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between the corners of two grids, in units of the smallest voxel edge."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    apart = (one - other)[:3, :3] @ corners + (one - other)[:3, 3:]  # 3 x 8, mm
    return float(np.linalg.norm(apart, axis=0).max() / np.linalg.norm(other[:3, :3], axis=0).min())


def grid_difference(image: Any, first: Any, name: str) -> str:
    """What is wrong with an image that must lie on another's grid, within a tenth of a voxel; "" where it does.

    Args:
        image: a nibabel image.
        first: the other one.
        name: what that is called.
    """
    if image.shape[:3] != first.shape[:3]:
        return f"has shape {image.shape[:3]} but {name} has {first.shape[:3]}; resample one onto the other's grid"
    shift = corner_shift(image.affine, first.affine, first.shape[:3])
    if shift <= GRID_TOLERANCE:  # this way round NaN is refused too
        return ""
    return f"lies up to {shift:.3g} voxels away from {name} (their affines differ); they must be on one grid"
