"""From painted voxels to a file as a scanner would have left it."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from bundle_runtime.files import write_atomically
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.ndimage import gaussian_filter

ORIENTATIONS = ("LAS", "LPS", "RAS", "PSR")


def placed(rng: np.random.Generator, shape: tuple[int, ...], spacing: np.ndarray) -> tuple[np.ndarray, str]:
    """An affine near the scanner's middle, and the order in which the axes lie on disk."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2 + rng.uniform(-20, 20, 3)
    return affine, ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))]


def scan(rng: np.random.Generator, intensity: np.ndarray, blur: float, noise: float) -> np.ndarray:
    """Partial volume (`blur`, voxels) and correlated noise (`noise`, standard deviation)."""
    grain = gaussian_filter(rng.standard_normal(intensity.shape), 0.7)
    return gaussian_filter(intensity, blur) + noise * grain / grain.std()


def stored(voxels: np.ndarray, affine: np.ndarray, axes: str) -> nib.Nifti1Image:
    """A NIfTI image of voxels in RAS order (x to the patient's right, y to the front, z to the head), in mm."""
    image = nib.Nifti1Image(voxels, affine)
    image = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(axes)))
    image = nib.Nifti1Image(np.ascontiguousarray(image.dataobj), image.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"synthetic, no patient"
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    return image


def save_volume(path: Path, image: nib.Nifti1Image) -> None:
    """Write `.nii.gz` without a time stamp, so that equal voxels give equal bytes."""
    write_atomically(path, gzip.compress(image.to_bytes(), 6, mtime=0))
