"""Pieces that synthetic volumes are drawn from: a warped grid, soft solids, smooth noise, scanner noise.

A solid is an array of signed values, below 0 inside and about 1 per radius outside. Coordinates are millimetres in RAS:
x grows to the patient's right, y to the front, z to the head.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.interpolate import make_interp_spline
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

Vector = Sequence[float] | np.ndarray


@dataclasses.dataclass
class Canvas:
    """Coordinates of every voxel and the two volumes that are painted on them.

    Attributes:
        points: (3, X, Y, Z), mm in RAS from the middle of the volume, bent by a smooth random deformation. Solids are
            computed in their precision: float64 leaves no voxel to the rounding of one machine or another.
        intensity: (X, Y, Z) float32.
        label: (X, Y, Z) uint8.
    """

    points: np.ndarray
    intensity: np.ndarray
    label: np.ndarray

    @classmethod
    def blank(
        cls,
        rng: np.random.Generator,
        shape: Sequence[int],
        spacing: Vector,
        fill: float,
        bend: float = 0.0,
        dtype: Any = np.float32,
    ) -> "Canvas":
        """A canvas of `shape` voxels of `spacing` mm, filled with one value and bent by up to about `bend` mm."""
        axes = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, spacing, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(dtype)
        for axis in range(3):
            points[axis] += bend * smooth_noise(rng, shape, (4, 4, 5), dtype)
        return cls(points, np.full(shape, fill, np.float32), np.zeros(shape, np.uint8))

    def paint(self, solid: np.ndarray, value: float | np.ndarray, label: int = 0) -> None:
        """Give the inside of a solid a value (or values, full size) and a label; 0 wipes what was drawn there."""
        inside = solid < 0
        self.intensity[inside] = value[inside] if isinstance(value, np.ndarray) else value
        self.label[inside] = label

    def ellipsoid(self, centre: Vector, radii: Vector, angles: Vector = (0, 0, 0)) -> np.ndarray:
        """An ellipsoid turned by `angles` degrees about x, y and z; an infinite radius makes it a cylinder."""
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T / np.reshape(radii, (3, 1))
        local = np.tensordot(turn.astype(self.points.dtype), self.points - _column(centre), axes=1)
        return np.sqrt(np.square(local).sum(axis=0)) - 1

    def tube(self, path: Sequence[Vector], radius: float | Sequence[float]) -> np.ndarray:
        """A tube along a polyline, its radius in mm given once or for each point."""
        widths = np.broadcast_to(np.asarray(radius, np.float32), (len(path),))
        solid = np.full(self.label.shape, np.inf, self.points.dtype)
        for start, end, first, last in zip(path[:-1], path[1:], widths[:-1], widths[1:], strict=True):
            along = np.subtract(end, start).astype(self.points.dtype)
            offset = self.points - _column(start)
            share = np.clip(np.tensordot(along, offset, axes=1) / float(along @ along), 0, 1)
            distance = np.sqrt(np.square(offset - along.reshape(3, 1, 1, 1) * share).sum(axis=0))
            np.minimum(solid, distance / (first + (last - first) * share) - 1, out=solid)
        return solid


def smooth_noise(
    rng: np.random.Generator, shape: Sequence[int], knots: Sequence[int], dtype: Any = np.float32
) -> np.ndarray:
    """Low-frequency noise, about -1 to 1: random values on `knots` points an axis, joined by cubic splines."""
    noise = rng.uniform(-1, 1, knots).astype(dtype)
    for n, k in zip(shape, knots, strict=True):
        # Contract the first axis and put the fine one last; after three rounds the order is x, y, z again.
        noise = np.tensordot(noise, _spline_weights(n, k).astype(dtype), axes=(0, 1))
    return np.ascontiguousarray(noise)


@functools.cache
def _spline_weights(fine: int, coarse: int) -> np.ndarray:
    """(fine, coarse) weights of a cubic spline through `coarse` points, read at `fine` places."""
    spline = make_interp_spline(np.arange(coarse), np.eye(coarse))
    return spline(np.linspace(0, coarse - 1, fine))


def depth(solid: np.ndarray) -> np.ndarray:
    """How far each voxel lies inside a solid, in voxels (below 0 outside), from the solid's value and slope there."""
    slope = np.sqrt(sum(np.square(along) for along in np.gradient(solid)))
    return -solid / np.maximum(slope, 1e-3 * slope.max())


def coverage(solid: np.ndarray) -> np.ndarray:
    """The share of each voxel that a solid fills, 0 to 1: what partial volume makes of its border."""
    return np.clip(0.5 + depth(solid), 0, 1)


def scan(rng: np.random.Generator, intensity: np.ndarray, blur: float, noise: float) -> np.ndarray:
    """What a scanner would make of it: partial volume (`blur`, voxels) and correlated noise (standard deviation)."""
    grain = gaussian_filter(rng.standard_normal(intensity.shape, dtype=intensity.dtype.type), 0.7)
    return gaussian_filter(intensity, blur) + noise * grain / grain.std()


def stored(voxels: np.ndarray, affine: np.ndarray, axes: str, note: str) -> nib.Nifti1Image:
    """A NIfTI image of RAS voxels whose axes on disk run as `axes` says; `note` goes into the header."""
    image = nib.Nifti1Image(voxels, affine)
    image = image.as_reoriented(ornt_transform(io_orientation(affine), axcodes2ornt(axes)))
    image = nib.Nifti1Image(np.ascontiguousarray(image.dataobj), image.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = note.encode()
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    return image


def _column(vector: Vector) -> np.ndarray:
    return np.asarray(vector, np.float32).reshape(3, 1, 1, 1)
