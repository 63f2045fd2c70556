"""Synthetic heads in four MRI sequences, skull-stripped, with a brain tumour whose nested parts are labelled.

No threshold solves it: cortex, old lesions of the white matter and the coil's bias look like oedema in FLAIR, vessels
and choroid plexus enhance like tumour, the core is dark or bright, and scale and contrast vary by case and sequence.
"""

import dataclasses
import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from bundle_runtime.data.datalist import write
from bundle_runtime.files import write_atomically
from custom_components.errors import InputError

from .brain import SEQUENCES, TISSUES, Head, Outline, draw_brain, outline, skull_strip
from .shapes import Canvas, depth, scan, smooth_noise, stored

_CONVENTION = "brats2018"
_CORE, _OEDEMA, _ENHANCING = 1, 2, 4
_FIELD = np.array([168.0, 190.0, 148.0])  # mm that the volume spans
_ORIENTATIONS = ("LPS", "RAS", "LAS", "PSR")


@dataclasses.dataclass(frozen=True)
class Tumour:
    """What a tumour looks like.

    Attributes:
        radius: mean radius of its core in mm.
        enhances: whether it has a rim that takes up contrast.
        swelling: how far the oedema reaches beyond the core, mm.
        core: signal of the core, as `brain.TISSUES`.
        rim: signal of the enhancing part.
        oedema: signal of the oedema.
    """

    radius: float
    enhances: bool
    swelling: float
    core: np.ndarray
    rim: np.ndarray
    oedema: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, number: int) -> "Tumour":
        """A tumour at random; each fifth case does not enhance, each fourth has little oedema."""
        enhances, swollen = number % 5 != 2, number % 4 != 3
        wet = rng.uniform(0, 1)  # necrosis is fluid; a core that never enhanced is solid
        necrosis = [rng.uniform(0.4, 0.8) + 0.5 * (1 - wet), 0.6 - 0.15 * wet, 0.56 - 0.15 * wet, 1.5 + 0.4 * wet, 0]
        solid = rng.uniform((1.1, 0.54, 0.54, 1.5, 0), (1.45, 0.64, 0.66, 1.8, 0))
        return cls(
            radius=rng.uniform(10, 21) if enhances else rng.uniform(14, 22),
            enhances=enhances,
            swelling=rng.uniform(10, 24) if swollen else rng.uniform(2, 5),
            core=np.array(necrosis if enhances else solid),
            rim=rng.uniform((1.0, 0.72, 1.3, 1.0, 0), (1.35, 0.88, 1.9, 1.3, 0)),
            oedema=rng.uniform((1.2, 0.74, 0.76, 1.2, 0), (1.55, 0.84, 0.86, 1.45, 0)),
        )


def make_heads(
    folder: str | Path, cases: int = 16, seed: int = 0, shape: tuple[int, int, int] = (64, 72, 56)
) -> dict[str, Any]:
    """Draw the data set: a folder a case, and `datalist.json` (of 16 cases 8 train, 3 validate, 5 test).

    Files are `<case>_flair.nii.gz` and so on, and `<case>_seg.nii.gz` in the convention "brats2018".

    Args:
        folder: where to write; existing files of the same name are replaced.
        cases: how many, at least 3.
        seed: decides everything; the first cases do not depend on how many follow.
        shape: voxels in RAS order; the field of view stays near 168 x 190 x 148 mm.

    Returns:
        The datalist.

    Raises:
        InputError: fewer than 3 cases.
    """
    if cases < 3:
        raise InputError(f"cases is {cases}, expected at least 3: one each for training, validation and test.")
    root = Path(folder)
    n_test, n_val = max(1, round(0.3 * cases)), max(1, round(0.2 * cases))
    entries = []
    for number in tqdm(range(cases), desc="draw synthetic MRI", unit="case"):
        name = f"synthetic_mri_{number:03d}"
        files = {part: f"{name}/{name}_{part}.nii.gz" for part in (*SEQUENCES, "seg")}
        for part, image in head_case(seed, number, shape).items():
            write_atomically(root / files[part], gzip.compress(image.to_bytes(), 6, mtime=0))
        images = [files[part] for part in SEQUENCES]
        entries.append({"image": images, "label": files["seg"], "patient_id": name})
    datalist = {
        "modality": "synthetic MRI",
        "description": f"Drawn by a program (seed {seed}); no patient was scanned.",
        "sequences": list(SEQUENCES),
        "label_convention": _CONVENTION,
        "training": entries[: cases - n_test - n_val],
        "validation": entries[cases - n_test - n_val : cases - n_test],
        "test": entries[cases - n_test :],
    }
    write(root / "datalist.json", datalist)
    return datalist


def head_case(seed: int, number: int, shape: tuple[int, int, int] = (64, 72, 56)) -> dict[str, nib.Nifti1Image]:
    """One case as int16 images and a uint8 label "seg", on one grid stored in an orientation of its own."""
    rng = np.random.default_rng([seed, number])
    spacing = _FIELD / shape * rng.uniform(0.97, 1.03, 3)[[0, 0, 2]]
    head, brain = draw_head(rng, number, shape, spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2 + rng.uniform(-15, 15, 3)
    axes = _ORIENTATIONS[int(rng.integers(len(_ORIENTATIONS)))]
    # What lies near the coils, at the surface, is brighter: 0.5 at the border of the brain, 0 deep inside.
    border = 1 - gaussian_filter(brain.astype(np.float64), 4 * np.array(shape) / 64)
    images = {
        name: stored(_scanned(rng, intensity, brain, border, name), affine, axes, "synthetic MRI, no patient")
        for name, intensity in zip(SEQUENCES, head.intensity, strict=False)
    }
    return {**images, "seg": stored(head.label, affine, axes, "synthetic label, no patient")}


def draw_head(
    rng: np.random.Generator, number: int, shape: tuple[int, int, int], spacing: np.ndarray
) -> tuple[Head, np.ndarray]:
    """Paint a brain and its tumour, without noise; also returns the mask of the brain."""
    size = rng.uniform(0.91, 1.02) * rng.uniform(0.97, 1.03, 3)  # of this brain, beside the standard one
    blank = Canvas.blank(rng, shape, spacing / size, fill=0.0, bend=rng.uniform(2, 4), dtype=np.float64)
    voxel = float(np.mean(spacing / size))
    surfaces = outline(blank, voxel)
    brain = skull_strip(surfaces, rng)
    tissues = {name: np.multiply(values, rng.uniform(0.95, 1.05, 5)) for name, values in TISSUES.items()}
    head = Head(blank.points, np.zeros((len(SEQUENCES) + 1, *shape)), blank.label, voxel, tissues)
    box = tuple(slice(max(hit.min() - 1, 0), hit.max() + 2) for hit in np.nonzero(brain))
    _draw_contents(rng, number, head.part(box), surfaces.part(box))
    head.label[~brain] = 0
    return head, brain


def _draw_contents(rng: np.random.Generator, number: int, head: Head, surfaces: Outline) -> None:
    """Brain and tumour, the one pushed aside by the other."""
    tumour = Tumour.draw(rng, number)
    centre = _place(rng, head, surfaces)
    pushed = dataclasses.replace(head, points=_pushed(head.points, centre, tumour, surfaces))
    draw_brain(pushed, rng, surfaces, age=rng.uniform(0, 1))
    bounds = _bounds(pushed, surfaces, centre)
    _draw_tumour(head, rng, bounds, centre, tumour)
    if rng.random() < 0.25:  # a second, smaller focus
        near = centre + rng.uniform(-30, 30, 3)
        second = dataclasses.replace(tumour, radius=rng.uniform(6, 9), swelling=tumour.swelling / 2)
        _draw_tumour(head, rng, bounds, near, second)


def _place(rng: np.random.Generator, head: Head, surfaces: Outline) -> np.ndarray:
    """Centre of the tumour, anywhere in the cerebrum but its middle and its outermost centimetre."""
    x, y, z = head.points
    possible = (surfaces.cerebrum > 13) & (np.abs(x) > 14) & (z > -28) & (np.abs(y) < 62)
    chosen = rng.choice(np.flatnonzero(possible))
    return head.points.reshape(3, -1)[:, chosen]


def _pushed(points: np.ndarray, centre: np.ndarray, tumour: Tumour, surfaces: Outline) -> np.ndarray:
    """Points at which to look up the brain, so that what lies around the tumour appears pushed away from it."""
    offset = points - centre.reshape(3, 1, 1, 1)
    reach = tumour.radius + 0.5 * tumour.swelling
    push = 0.45 * np.exp(-np.square(offset).sum(axis=0) / (2 * reach**2))
    return points - offset * push * np.clip(surfaces.cerebrum / 15, 0, 1)  # the skull does not give way


def _bounds(pushed: Head, surfaces: Outline, centre: np.ndarray) -> np.ndarray:
    """Depth in mm within what a tumour may reach: its half of the cerebrum, and the other through the deep core."""
    across = np.sign(centre[0]) * pushed.points[0] - 1
    bridge = -20 * pushed.ellipsoid((0, -6, 4), (30, 34, 20))
    return np.minimum(surfaces.cerebrum - 1.5, np.maximum(across, bridge))


def _draw_tumour(head: Head, rng: np.random.Generator, bounds: np.ndarray, centre: np.ndarray, tumour: Tumour) -> None:
    """Oedema that spreads through white matter, in it the core, in its outer part the rim that enhances."""
    shape = head.label.shape
    radii = tumour.radius * rng.uniform(0.75, 1.35, 3)
    knobbly = 0.4 * smooth_noise(rng, shape, (9, 10, 8), np.float64)
    knobbly += 0.2 * smooth_noise(rng, shape, (14, 16, 12), np.float64)
    core = head.ellipsoid(centre, radii, rng.uniform(-40, 40, 3)) + knobbly
    inside = np.minimum(depth(core) * head.voxel, bounds)  # mm

    spread = gaussian_filter(head.intensity[-1], 1.0)
    fingers = smooth_noise(rng, shape, (7, 8, 6), np.float64) + smooth_noise(rng, shape, (14, 16, 13), np.float64)
    reach = tumour.swelling * (0.9 + 0.5 * fingers) * spread
    soaked = np.clip(0.5 + np.minimum(inside + reach, bounds) / 5, 0, 1)
    soaked = gaussian_filter(soaked, 0.6) * np.clip(2.5 * head.intensity[-1], 0, 1)
    head.blend(soaked * rng.uniform(0.8, 1), tumour.oedema)
    head.label[soaked > 0.5] = _OEDEMA

    solid = np.clip(0.5 + inside / head.voxel, 0, 1)
    mottled = 1 + 0.12 * smooth_noise(rng, shape, (14, 15, 13), np.float64)
    head.blend(solid, tumour.core)
    head.intensity += solid * head.intensity * (mottled - 1)
    head.label[solid > 0.5] = _CORE
    if tumour.enhances:
        uneven = smooth_noise(rng, shape, (10, 11, 9), np.float64)
        thickness = rng.uniform(3.5, 6.5) * (1 + 0.7 * uneven)
        rim = solid * np.clip(0.5 + (thickness - inside) / head.voxel, 0, 1)
        head.blend(rim, tumour.rim)
        head.label[(solid > 0.5) & (rim > 0.5)] = _ENHANCING


def _scanned(
    rng: np.random.Generator, intensity: np.ndarray, brain: np.ndarray, border: np.ndarray, name: str
) -> np.ndarray:
    """What a scanner makes of one sequence: texture, bias of the coil, blur, noise, a scale of its own; int16."""
    texture = 1 + 0.03 * smooth_noise(rng, brain.shape, (16, 18, 14), np.float64)
    uneven, near = (rng.uniform(0.08, 0.16), rng.uniform(0.15, 0.6)) if name == "flair" else rng.uniform(0, (0.15, 0.5))
    bias = np.exp(uneven * smooth_noise(rng, brain.shape, (4, 4, 4), np.float64)) * (1 + near * border)
    blur = rng.uniform(0.45, 0.7) if name == "flair" else rng.uniform(0.3, 0.5)
    signal = scan(rng, intensity * texture * bias, blur, noise=rng.uniform(0.025, 0.05))
    scale = rng.uniform(180, 420)
    # 1 and not 0 within the brain: 0 is what skull stripping left out, the same voxels in every sequence.
    return np.where(brain, np.clip(np.rint(scale * signal), 1, 32767), 0).astype(np.int16)
