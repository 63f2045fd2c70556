"""A NIfTI volume read to its last byte, and the small geometry that the checks of it need."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError

# Image rows, label rows (if any), height / width of a pixel.
Plane = tuple[np.ndarray, np.ndarray | None, float]


class UnusableFile(Exception):
    """A file that cannot be looked at any further; the message says why."""


def read_volume(file: str) -> tuple[Any, np.ndarray, int]:
    """Read a NIfTI file completely, checksum included.

    Returns:
        The image object, its voxels (X, Y, Z) or (X, Y, Z, C) as stored (float where the file scales them), and C or 1.

    Raises:
        UnusableFile: missing, truncated, not NIfTI, not numbers, neither 3-D nor 4-D, spacing not positive.
    """
    if Path(file).is_dir():
        raise UnusableFile("is a folder, expected a NIfTI file")
    try:
        kind = type(nib.load(file))
        if not issubclass(kind, nib.Nifti1Image):
            raise UnusableFile(f"is a {kind.__name__}, expected one NIfTI file (.nii or .nii.gz); convert it")
        # Read here and not lazily by nibabel, which would stop before the checksum at the end of the file.
        content = gzip.decompress(Path(file).read_bytes()) if file.endswith(".gz") else Path(file).read_bytes()
        image: Any = kind.from_bytes(content)
        scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
        data = image.get_fdata(caching="unchanged", dtype=np.float32) if scaled else np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise UnusableFile("the file does not exist; correct the path in the datalist or pass dataset_dir") from None
    except ImageFileError as error:
        raise UnusableFile(f"is not a readable NIfTI file ({str(error).splitlines()[0]})") from error
    except (EOFError, OSError, ValueError, zlib.error, HeaderDataError, OverflowError, MemoryError) as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UnusableFile(f"is truncated or damaged ({reason[0]}); copy or convert it again") from error
    if data.dtype.kind not in "iuf":
        raise UnusableFile(f"has voxels of type {data.dtype}, expected numbers (an RGB or complex image?)")
    if data.ndim not in (3, 4) or 0 in data.shape:
        raise UnusableFile(f"has shape {data.shape}, expected a 3-D volume")
    # From the bytes, because nibabel silently turns a spacing of 0 into 1 and drops its sign.
    raw = np.frombuffer(content, image.header.template_dtype.newbyteorder(image.header.endianness), count=1)
    stored = raw["pixdim"][0, 1:4]
    if not (np.isfinite(stored) & (stored > 0)).all():
        found = tuple(float(value) for value in stored)
        raise UnusableFile(f"has spacing {found} mm, expected positive numbers; fix the header")
    return image, data, data.shape[3] if data.ndim == 4 else 1


def middle_planes(image: Any, volume: np.ndarray, label: np.ndarray | None) -> list[Plane]:
    """Sagittal, coronal and axial plane as (image rows, label rows, height / width of a pixel), seen as on a light box.

    The planes pass through the middle of the labelled region, or of the volume where nothing is labelled.
    """
    to_lps = ornt_transform(io_orientation(image.affine), axcodes2ornt("LPS"))
    axes = np.argsort(io_orientation(image.affine)[:, 0])
    size = np.linalg.norm(image.affine[:3, :3], axis=0)[axes]
    volume = apply_orientation(volume, to_lps)
    centre = [n // 2 for n in volume.shape]
    if label is not None:
        label = apply_orientation(label, to_lps)
        where = np.nonzero(label)
        if len(where[0]):
            centre = [int(np.median(axis)) for axis in where]
    planes = []
    for axis in range(3):
        across, down = [other for other in range(3) if other != axis]
        outline = None if label is None else _cut(label, axis, centre[axis])
        planes.append((_cut(volume, axis, centre[axis]), outline, float(size[down] / size[across])))
    return planes


def _cut(volume: np.ndarray, axis: int, position: int) -> np.ndarray:
    """One plane of an LPS volume with rows downwards; superior is up in the sagittal and coronal plane."""
    plane = np.take(volume, position, axis).T
    return (plane[::-1] if axis < 2 else plane).copy()


def corner_shift(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between the corners of two grids, in units of the smallest voxel edge."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    apart = (one - other)[:3, :3] @ corners + (one - other)[:3, 3:]  # 3 x 8, mm
    return float(np.linalg.norm(apart, axis=0).max() / np.linalg.norm(other[:3, :3], axis=0).min())


def millimetres(lengths: Sequence[float] | np.ndarray) -> str:
    """`(1.5, 1.5, 2)` as `1.5 x 1.5 x 2 mm`."""
    return " x ".join(f"{value:.3g}" for value in lengths) + " mm"
