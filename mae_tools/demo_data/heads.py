"""Synthetic heads in four MRI sequences, skull-stripped, with a brain tumour whose nested parts are labelled.

No threshold solves it: old lesions look like oedema in FLAIR, vessels enhance like tumour, the core is as dark as
fluid, and scale and contrast vary. The parts follow from how they lie in each other.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from tqdm import tqdm

from .shapes import blend, ellipse, grid, need, noise, soft, write_lists
from .volumes import placed, save_volume, scan, stored

SEQUENCES = ("flair", "t1", "t1ce", "t2")
_CORE, _OEDEMA, _ENHANCING = 1, 2, 4  # the convention "brats2018"
_FIELD = np.array([168.0, 190.0, 148.0])  # mm that the volume spans
# Signal in each of SEQUENCES, white matter in T1 being 1.
_TISSUES = {
    "grey": (1.02, 0.72, 0.75, 1.02),
    "white": (0.80, 1.00, 1.00, 0.70),
    "fluid": (0.24, 0.32, 0.32, 2.05),
    "old lesion": (1.30, 0.80, 0.80, 1.30),
    "vessel": (0.60, 0.60, 1.60, 0.60),
    "oedema": (1.38, 0.78, 0.80, 1.32),
    "core": (0.75, 0.50, 0.50, 1.70),
    "rim": (1.15, 0.80, 1.60, 1.15),
}


def make_heads(
    folder: str | Path, cases: int = 40, seed: int = 0, shape: tuple[int, int, int] = (64, 72, 56)
) -> dict[str, Any]:
    """Draw a folder a case and `datalist.json`, which is returned; half of the cases train, 30 % are tested.

    Files are `<case>_flair.nii.gz` and so on, and `<case>_seg.nii.gz` in the convention "brats2018".

    Args:
        folder: where to write.
        cases: how many, at least 3; each is another patient.
        seed: decides everything; the first cases do not depend on how many follow.
        shape: voxels in RAS order; the field of view stays near 168 x 190 x 148 mm.

    Raises:
        InputError: fewer than 3 cases.
    """
    need(cases, 3)
    root = Path(folder)
    entries = []
    for number in tqdm(range(cases), desc="draw synthetic MRI", unit="case"):
        name = f"synthetic_mri_{number:03d}"
        files = {part: f"{name}/{name}_{part}.nii.gz" for part in (*SEQUENCES, "seg")}
        for part, image in head_case(seed, number, shape).items():
            save_volume(root / files[part], image)
        entries.append({"image": [files[part] for part in SEQUENCES], "label": files["seg"], "patient_id": name})
    said = {"modality": "synthetic MRI", "sequences": list(SEQUENCES), "label_convention": "brats2018"}
    return write_lists(root / "datalist.json", entries, seed, **said)


def head_case(seed: int, number: int, shape: tuple[int, int, int] = (64, 72, 56)) -> dict[str, nib.Nifti1Image]:
    """One case as int16 images and a uint8 label "seg", on one grid stored in an orientation of its own."""
    rng = np.random.default_rng([seed, number])
    spacing = _FIELD / shape * rng.uniform(0.97, 1.03, 3)[[0, 0, 2]]
    signal, label, brain = draw_head(rng, number, shape, spacing)
    affine, axes = placed(rng, shape, spacing)
    images = {}
    for name, painted in zip(SEQUENCES, signal, strict=True):
        coil = np.exp(rng.uniform(0.05, 0.12) * noise(rng, shape, 30))
        scanned = scan(rng, painted * coil, blur=rng.uniform(0.3, 0.6), noise=rng.uniform(0.03, 0.06))
        # 1 and not 0 within the brain: 0 is what skull stripping left out, the same voxels in every sequence.
        voxels = np.where(brain, np.rint(rng.uniform(180, 420) * scanned).clip(1, 32767), 0)
        images[name] = stored(voxels.astype(np.int16), affine, axes)
    return {**images, "seg": stored(label, affine, axes)}


def draw_head(
    rng: np.random.Generator, number: int, shape: tuple[int, int, int], spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal (4, X, Y, Z) without noise, label and mask of the brain; every fifth tumour has no enhancing part."""
    points = [p + rng.uniform(1, 3) * noise(rng, shape, 14) for p in grid(shape, spacing)]
    half = np.array([66.0, 80, 58]) * rng.uniform(0.92, 1.05, 3)
    deep = ellipse(points, (0, 0, 0), half)
    tissues = {name: np.multiply(values, rng.uniform(0.93, 1.07, 4)) for name, values in _TISSUES.items()}
    signal, label = np.zeros((4, *shape)), np.zeros(shape, np.uint8)

    def paint(share: np.ndarray, tissue: str) -> None:
        for sequence, value in zip(signal, tissues[tissue], strict=True):
            blend(sequence, share, value)

    folds = 4 * noise(rng, shape, 7)
    paint(np.ones(shape), "grey")
    paint(soft(deep - 7 + folds, 3), "white")
    paint(soft(1.5 - np.abs(points[0]), 2) * (points[2] > 5), "fluid")  # between the halves
    wide = rng.uniform(0.8, 1.7)
    for side in (-1, 1):
        paint(soft(ellipse(points, (side * 11, 2, 8), (6 * wide, 30, 10 * wide), side * 0.2), 2), "fluid")
        paint(soft(ellipse(points, (side * 24, 2, -2), (10, 18, 12)), 2), "grey")
    for tissue, count, size in (("old lesion", rng.integers(0, 5), 6.0), ("vessel", rng.integers(1, 6), 3.5)):
        for _ in range(count):
            place = rng.uniform(-0.6, 0.6, 3) * half
            paint(soft(ellipse(points, place, size * rng.uniform(0.7, 1.6, 3)), 2), tissue)
    for radius in (rng.uniform(13, 22), rng.uniform(6, 9))[: 1 + (rng.random() < 0.2)]:
        _draw_tumour(rng, points, half, radius, number % 5 != 2, deep, paint, label)
    label[deep <= 0] = 0
    return signal, label, deep > 0


def _draw_tumour(
    rng: np.random.Generator, points: list[np.ndarray], half: np.ndarray, radius: float, enhances: bool,
    deep: np.ndarray, paint: Any, label: np.ndarray,
) -> None:  # fmt: skip
    """Oedema around a core, whose outer part takes up contrast where it `enhances`; `paint` and `label` get it."""
    turn = rng.uniform(0, 2 * np.pi)
    centre = rng.uniform(0.35, 0.6) * half * np.array([np.cos(turn), np.sin(turn), rng.uniform(-0.6, 0.8)])
    knobbly = 0.16 * radius * noise(rng, label.shape, 8)
    core = ellipse(points, centre, radius * rng.uniform(0.8, 1.25, 3), rng.uniform(0, np.pi)) + knobbly
    within = deep - 2  # a tumour does not leave the brain
    swelling = rng.uniform(3, 18) * (1 + 0.4 * noise(rng, label.shape, 10))
    rim = np.minimum(core, rng.uniform(3.5, 6) * (1 + 0.3 * noise(rng, label.shape, 9)) - core)
    parts = [("oedema", core + swelling, _OEDEMA), ("core", core, _CORE), ("rim", rim, _ENHANCING)]
    for tissue, depth, number in parts if enhances else parts[:2]:
        depth = np.minimum(depth, within)
        paint(soft(depth, 2.5), tissue)
        label[depth > 0] = number
