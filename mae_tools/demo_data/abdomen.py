"""Synthetic torso CTs in Hounsfield units: smooth solids around a spine, five of them labelled.

No threshold solves it: organs share their grey values with each other and with stomach, bowel, muscle and vena cava.
Which is which follows from where a solid lies among the others, as a network can learn from scans without labels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from tqdm import tqdm

from .shapes import Points, blend, ellipse, grid, need, noise, soft, write_lists
from .volumes import placed, save_volume, scan, stored

ABDOMEN_CLASS_NAMES = ("background", "liver", "spleen", "right kidney", "left kidney", "aorta")
# Hounsfield units by contrast phase: none, arterial, portal venous.
_PHASES: tuple[dict[str, float], ...] = (
    {"liver": 58, "spleen": 50, "kidney": 36, "aorta": 42, "cava": 40, "bowel": 38},
    {"liver": 66, "spleen": 90, "kidney": 120, "aorta": 190, "cava": 60, "bowel": 75},
    {"liver": 102, "spleen": 108, "kidney": 125, "aorta": 130, "cava": 115, "bowel": 80},
)
_FAT, _MUSCLE, _BONE, _LUNG = -100.0, 55.0, 260.0, -820.0


def make_abdomen(
    folder: str | Path, cases: int = 40, seed: int = 0, shape: tuple[int, int, int] = (72, 60, 60)
) -> dict[str, Any]:
    """Draw `images/`, `labels/` and `datalist.json`, which is returned; half of the cases train, 30 % are tested.

    Args:
        folder: where to write.
        cases: how many, at least 3; each is another patient.
        seed: decides everything; the first cases do not depend on how many follow.
        shape: voxels in RAS order; the field of view stays near 345 x 290 x 290 mm.

    Raises:
        InputError: fewer than 3 cases.
    """
    need(cases, 3)
    root = Path(folder)
    entries = []
    for number in tqdm(range(cases), desc="draw synthetic CT", unit="case"):
        name = f"synthetic_ct_{number:03d}"
        files = {"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz"}
        for file, image in zip(files.values(), abdomen_case(seed, number, shape), strict=True):
            save_volume(root / file, image)
        entries.append({**files, "patient_id": name})
    said = {"class_names": list(ABDOMEN_CLASS_NAMES), "modality": "synthetic CT"}
    return write_lists(root / "datalist.json", entries, seed, **said)


def abdomen_case(
    seed: int, number: int, shape: tuple[int, int, int] = (72, 60, 60)
) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """One case as int16 image in HU and uint8 label, stored in an orientation of its own; decided by the arguments."""
    rng = np.random.default_rng([seed, number])
    # Slices are thicker than pixels, as in most abdominal CT; about (4.8, 4.8, 4.8) mm at the default shape.
    spacing = np.array([345, 290, 290]) / shape * rng.uniform(0.95, 1.05, 3)[[0, 0, 2]]
    intensity, label = draw_torso(rng, shape, spacing)
    intensity = scan(rng, intensity, blur=rng.uniform(0.45, 0.7), noise=rng.uniform(12, 24))
    affine, axes = placed(rng, shape, spacing)
    return stored(np.rint(intensity).clip(-1024, 3071).astype(np.int16), affine, axes), stored(label, affine, axes)


def draw_torso(rng: np.random.Generator, shape: tuple[int, int, int], spacing: np.ndarray) -> tuple[np.ndarray, ...]:
    """Hounsfield units without noise and the label, from the outside in; what comes later covers what was there."""
    points = [p + rng.uniform(2, 5) * noise(rng, shape, 24) for p in grid(shape, spacing)]
    half = np.array([rng.uniform(130, 156), rng.uniform(86, 112), np.inf])
    intensity, label = np.full(shape, -1000.0), np.zeros(shape, np.uint8)
    texture = 6 * noise(rng, shape, 6)

    def paint(depth: np.ndarray, value: float, number: int = 0) -> None:
        blend(intensity, soft(depth, 3.0), value + texture)
        label[depth > 0] = number

    fat = rng.uniform(9, 26)
    for margin, value in ((0, 10.0), (3, _FAT), (fat, _MUSCLE), (fat + 12, _FAT)):
        paint(ellipse(points, (0, 0, 0), half - margin), value)
    # Everything scales with the cavity, whose usual half width is 115 mm and half depth 72 mm.
    size = np.array([(half[0] - fat - 12) / 115, (half[1] - fat - 12) / 72, rng.uniform(0.93, 1.07)])
    phase = {name: value + rng.normal(0, 6) for name, value in _PHASES[int(rng.integers(3))].items()}
    for middle, usual, value, number, angle in _solids(rng, phase):
        centre, radii = (middle + rng.normal(0, 4, 3)) * size, usual * size * rng.uniform(0.9, 1.1, 3)
        paint(ellipse(points, centre, radii, angle), value, number)
    _draw_chest(points, rng, half - fat - 14, paint)
    return intensity, label


def _solids(rng: np.random.Generator, phase: dict[str, float]) -> list[tuple[Any, Any, float, int, float]]:
    """Centre and radii (mm of a usual body), HU, label and turn of each solid."""
    long, bowel, kidney = 1e4, phase["bowel"], phase["kidney"]
    loops: list[tuple[float, ...]] = []  # of bowel with fluid or gas, lower and in front
    for _ in range(9):
        place, radii = rng.uniform((-75, 0, -150), (75, 50, -30)), rng.uniform(16, 32, 3)
        inside = -700.0 if rng.random() < 0.3 else bowel + rng.uniform(-60, 20)
        loops += [(*place, *radii, bowel, 0, 0), (*place, *(0.7 * radii), inside, 0, 0)]
    rows = [
        *loops,
        (-42, 30, 30, 38, 26, 48, bowel if rng.random() < 0.5 else phase["spleen"], 0, 0.4),  # stomach
        (48, 6, 34, 62, 54, 58, phase["liver"], 1, -0.3),
        (0, 34, 42, 42, 24, 28, phase["liver"], 1, 0),
        (50, 42, 4, 14, 14, 24, rng.uniform(5, 18), 0, 0),  # gallbladder
        (-78, -24, 34, 24, 36, 42, phase["spleen"], 2, 0.35),
        *((58, -42, -26, *radii, value, label, 0.5) for radii, value, label in _kidney(kidney, 3)),
        *((-58, -42, -12, *radii, value, label, -0.5) for radii, value, label in _kidney(kidney, 4)),
        (32, -50, -90, 18, 20, 70, _MUSCLE, 0, 0),
        (-32, -50, -90, 18, 20, 70, _MUSCLE, 0, 0),
        (0, -52, 0, 22, 18, long, _BONE, 0, 0),
        (0, -52, 0, 18, 14, long, _BONE - 100, 0, 0),
        (18, -28, 0, 11, 10, long, phase["cava"], 0, 0),
        (-10, -24, 0, 12, 12, long, phase["aorta"], 5, 0),
    ]
    return [(np.array(row[:3], float), np.array(row[3:6], float), row[6], int(row[7]), row[8]) for row in rows]


def _kidney(value: float, label: int) -> list[tuple[tuple[int, int, int], float, int]]:
    """Radii, HU and label of the fat around a kidney, the kidney and its sinus."""
    return [((31, 29, 54), _FAT, 0), ((24, 22, 47), value, label), ((8, 8, 18), -60.0, 0)]


def _draw_chest(points: Points, rng: np.random.Generator, cavity: np.ndarray, paint: Callable[..., None]) -> None:
    """Lungs above two domes, as far as the cavity reaches, with the spine, the heart and both vessels between them."""
    x, y, z = points
    top = rng.uniform(88, 108)
    dome = top - 12 * (x < 0) - 34 * (np.square((np.abs(x) - 62) / 58) + np.square((y + 6) / 62))
    between = ellipse(points, (-6, -20, 0), (30, 52, np.inf))
    paint(np.minimum.reduce([z - dome, ellipse(points, (0, 0, 0), cavity), -between]), _LUNG)
