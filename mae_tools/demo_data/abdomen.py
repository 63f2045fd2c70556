"""Synthetic torso CTs in Hounsfield units with five labelled organs.

No threshold solves it: organs share their grey values with each other and with unlabelled muscle, bowel, stomach,
heart, pancreas and vena cava; contrast phase, habitus, position, size, noise and storage orientation vary by case.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from tqdm import tqdm

from bundle_runtime.data.datalist import write
from custom_components.errors import InputError

from .shapes import Canvas, scan, smooth_noise, stored

ABDOMEN_CLASS_NAMES = ("background", "liver", "spleen", "right kidney", "left kidney", "aorta")

_LIVER, _SPLEEN, _RIGHT_KIDNEY, _LEFT_KIDNEY, _AORTA = range(1, 6)
_FAT, _MUSCLE, _BONE = -100.0, 55.0, 190.0

# Mean Hounsfield units by contrast phase: none, arterial, portal venous.
_PHASES: tuple[dict[str, float], ...] = (
    {"liver": 58, "spleen": 50, "cortex": 36, "medulla": 32, "aorta": 42, "cava": 40, "pancreas": 42, "wall": 38},
    {"liver": 66, "spleen": 88, "cortex": 125, "medulla": 62, "aorta": 190, "cava": 60, "pancreas": 85, "wall": 70},
    {"liver": 100, "spleen": 108, "cortex": 130, "medulla": 112, "aorta": 130, "cava": 115, "pancreas": 88, "wall": 75},
)
_ORIENTATIONS = ("LAS", "LPS", "RAS")


def make_abdomen(
    folder: str | Path, cases: int = 16, seed: int = 0, shape: tuple[int, int, int] = (96, 80, 72)
) -> dict[str, Any]:
    """Draw the data set: `images/`, `labels/` and `datalist.json` (of 16 cases 8 train, 3 validate, 5 test).

    Args:
        folder: where to write; existing files of the same name are replaced.
        cases: how many, at least 3.
        seed: decides everything; the first cases do not depend on how many follow.
        shape: voxels in RAS order; the field of view stays near 345 x 290 x 290 mm.

    Returns:
        The datalist.

    Raises:
        InputError: fewer than 3 cases.
    """
    if cases < 3:
        raise InputError(f"cases is {cases}, expected at least 3: one each for training, validation and test.")
    root = Path(folder)
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True, exist_ok=True)
    n_test, n_val = max(1, round(0.3 * cases)), max(1, round(0.2 * cases))
    entries = []
    for number in tqdm(range(cases), desc="draw synthetic CT", unit="case"):
        name = f"synthetic_ct_{number:03d}"
        for part, image in zip(("images", "labels"), abdomen_case(seed, number, shape), strict=True):
            nib.save(image, root / part / f"{name}.nii.gz")
        entries.append({"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz", "patient_id": name})
    datalist = {
        "class_names": list(ABDOMEN_CLASS_NAMES),
        "modality": "synthetic CT",
        "description": f"Drawn by a program (seed {seed}); no patient was scanned.",
        "training": entries[: cases - n_val - n_test],
        "validation": entries[cases - n_val - n_test : cases - n_test],
        "test": entries[cases - n_test :],
    }
    write(root / "datalist.json", datalist)
    return datalist


def abdomen_case(
    seed: int, number: int, shape: tuple[int, int, int] = (96, 80, 72)
) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """One case as int16 image in HU and uint8 label, stored in an orientation of its own; decided by the arguments."""
    rng = np.random.default_rng([seed, number])
    # Slices are thicker than pixels, as in most abdominal CT; about (3.6, 3.6, 4.0) mm at the default shape.
    spacing = np.array([345, 290, 290]) / shape * rng.uniform(0.95, 1.05, 3)[[0, 0, 2]]
    canvas = draw_torso(rng, shape, tuple(spacing))
    intensity = scan(rng, canvas.intensity, blur=rng.uniform(0.45, 0.7), noise=rng.uniform(12, 24))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2 + rng.uniform(-40, 40, 3)
    axes = _ORIENTATIONS[int(rng.integers(len(_ORIENTATIONS)))]
    image = stored(np.clip(np.rint(intensity), -1024, 3071).astype(np.int16), affine, axes, "synthetic CT, no patient")
    label = stored(canvas.label, affine, axes, "synthetic label, no patient")
    return image, label


def draw_torso(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Canvas:
    """Paint a torso from the outside in, in Hounsfield units without noise; later structures cover earlier ones."""
    canvas = Canvas.blank(rng, shape, spacing, fill=-1000.0, bend=rng.uniform(4, 9))
    half = np.array([rng.uniform(132, 155), rng.uniform(86, 112)])  # body, half width and half depth
    fat = rng.uniform(9, 26)
    phase = {name: value + rng.normal(0, 5) for name, value in _PHASES[int(rng.integers(len(_PHASES)))].items()}
    cavity = _draw_wall(canvas, rng, half, fat)
    inner = half - fat - 12  # half width and half depth of the cavity
    front = -inner[1] + 38  # y of the front of the spine
    # Everything scales with the cavity, whose usual half width is 115 mm and half depth 72 mm.
    size = np.array([inner[0] / 115, inner[1] / 72, rng.uniform(0.93, 1.07)])
    _draw_bowel(canvas, rng, cavity, size, phase)
    _draw_lungs(canvas, rng, cavity, size)
    _draw_solid_organs(canvas, rng, cavity, size, phase)
    _draw_kidneys(canvas, rng, size, front, phase)
    _draw_spine_and_vessels(canvas, rng, size, front, phase)
    return canvas


def _draw_wall(canvas: Canvas, rng: np.random.Generator, half: np.ndarray, fat: float) -> np.ndarray:
    """Table, skin, fat, muscle, ribs and the fat of the cavity; returns the cavity as a solid."""
    x, y, z = canvas.points
    canvas.paint(np.abs(y + half[1] + 11 - 0.0004 * x**2) - 3, -30.0)
    rounded = 2.4  # between an ellipse and a box

    def shell(depth: float) -> np.ndarray:
        a, b = half - depth
        return (np.abs(x / a) ** rounded + np.abs(y / b) ** rounded) ** (1 / rounded) - 1

    muscle = canvas.intensity.dtype.type(_MUSCLE) + 8 * smooth_noise(rng, canvas.label.shape, (9, 9, 9))
    canvas.paint(shell(0), 10.0)
    canvas.paint(shell(3), _FAT)
    canvas.paint(shell(fat), muscle)
    cavity = shell(fat + 12)
    canvas.paint(cavity, _FAT + 12 * smooth_noise(rng, canvas.label.shape, (12, 12, 12)))
    # Ribs: slanted bands of bone in the muscle of the upper trunk.
    level = (z - 0.45 * y + rng.uniform(0, 24)) % 26 - 13
    ribs = np.maximum.reduce([np.abs(level) - 5, 20 * shell(fat + 2), -20 * shell(fat + 10), 10 - z - 0.3 * y])
    canvas.paint(ribs, 260.0 + 60 * smooth_noise(rng, canvas.label.shape, (9, 9, 9)))
    return cavity


def _draw_lungs(canvas: Canvas, rng: np.random.Generator, cavity: np.ndarray, size: np.ndarray) -> None:
    """Lungs above the two domes of the diaphragm, and the heart between them."""
    x, y, z = canvas.points
    top = rng.uniform(92, 112) * size[2]
    bend = np.square((np.abs(x) - 62 * size[0]) / 58) + np.square((y + 6) / 62)
    dome = top - 12 * (x < 0) - 34 * bend
    lung = np.maximum(dome - z, 60 * (cavity + 0.03))
    canvas.paint(lung, rng.uniform(-870, -780) + 60 * smooth_noise(rng, canvas.label.shape, (16, 16, 16)))
    heart = canvas.ellipsoid((-22 * size[0], 14, top + 26), (46 * size[0], 38 * size[1], 34), (0, 30, 15))
    canvas.paint(np.maximum(heart, cavity), rng.uniform(40, 110))


def _draw_bowel(
    canvas: Canvas, rng: np.random.Generator, cavity: np.ndarray, size: np.ndarray, phase: dict[str, float]
) -> None:
    """Loops of small bowel and the colon on both sides: wall, then fluid, stool, contrast or gas."""
    drunk = rng.uniform(130, 220) if rng.random() < 0.3 else rng.uniform(10, 30)
    tubes = []
    for _ in range(16):
        start = np.array([rng.uniform(-75, 75), rng.uniform(-15, 52), rng.uniform(-150, -25)]) * size
        tubes.append(([start, *(start + np.cumsum(rng.uniform(-34, 34, (2, 3)), axis=0))], rng.uniform(9, 15), drunk))
    for side in (-1, 1):
        path = [(side * rng.uniform(82, 94) * size[0], rng.uniform(-22, 0), height) for height in (-160, -70, 0)]
        tubes.append((path, rng.uniform(15, 20), rng.uniform(20, 60)))
    for path, radius, content in tubes:
        tube = canvas.tube(path, radius)
        canvas.paint(np.maximum(tube, cavity), phase["wall"])
        filling = content + 25 * smooth_noise(rng, canvas.label.shape, (14, 14, 14))
        if rng.random() < 0.4:  # gas rises to the front
            filling = np.where(canvas.points[1] > path[1][1] + rng.uniform(-4, 8), np.float32(-750), filling)
        canvas.paint(np.maximum(tube + 0.25, cavity), filling)


def _draw_solid_organs(
    canvas: Canvas, rng: np.random.Generator, cavity: np.ndarray, size: np.ndarray, phase: dict[str, float]
) -> None:
    """Pancreas, stomach, spleen, liver and gallbladder."""
    x, y, z = canvas.points
    shape = canvas.label.shape

    def at(*centre: float) -> np.ndarray:
        return (np.array(centre) + rng.normal(0, 3.5, 3)) * size

    def radii(*lengths: float) -> np.ndarray:
        return np.array(lengths) * size * rng.uniform(0.9, 1.1, 3)

    def tilt(*angles: float) -> np.ndarray:
        return np.array(angles) + rng.normal(0, 6, 3)

    pancreas = canvas.tube([at(38, 6, -12), at(12, 12, 2), at(-28, 4, 12), at(-66, -14, 26)], [15, 9, 9, 8])
    canvas.paint(pancreas + 0.35 * smooth_noise(rng, shape, (22, 22, 22)), phase["pancreas"])

    centre, lengths, angles = at(-48, 26, 46), radii(42, 28, 46), tilt(0, 25, 0)
    stomach = np.maximum(canvas.ellipsoid(centre, lengths, angles), cavity)
    canvas.paint(stomach, phase["wall"])
    meal = rng.uniform(15, 45) + 40 * smooth_noise(rng, shape, (16, 16, 16))
    gas = y > centre[1] + rng.uniform(-5, 20)
    canvas.paint(stomach + 0.14, np.where(gas, np.float32(-850), meal))

    spleen_at, spleen_turn = at(-84, -28, 40), tilt(-20, 12, 22)
    spleen = np.maximum(canvas.ellipsoid(spleen_at, radii(25, 40, 50), spleen_turn), cavity + 0.02)
    hollow = canvas.ellipsoid(spleen_at + np.array([36, 12, -6]) * size, radii(27, 34, 46), spleen_turn)
    texture = 6 * smooth_noise(rng, shape, (20, 20, 20))
    canvas.paint(np.maximum(spleen, -hollow), phase["spleen"] + texture, _SPLEEN)

    right = canvas.ellipsoid(at(56, 4, 40), radii(66, 72, 68), tilt(0, -12, 0))
    left = canvas.ellipsoid(at(8, 36, 52), radii(62, 30, 28), tilt(0, -14, 8))
    # The visceral face: the liver ends in a plane that rises to the left and to the back.
    below = (-6 * size[2] + rng.normal(0, 6) - z + 0.35 * (62 - x) - 0.5 * y) / 60
    ripple = 0.08 * smooth_noise(rng, shape, (8, 8, 8))
    liver = np.maximum.reduce([np.minimum(right, left) + ripple, below, cavity + 0.02, -stomach])
    vessels = np.abs(smooth_noise(rng, shape, (13, 13, 13))) < 0.045
    canvas.paint(liver, phase["liver"] + texture + np.where(vessels, phase["cava"] - phase["liver"], 0), _LIVER)

    bladder = canvas.ellipsoid(at(40, 42, 2), radii(14, 15, 26), tilt(25, 0, 0))
    canvas.paint(bladder, rng.uniform(5, 18))


def _draw_kidneys(
    canvas: Canvas, rng: np.random.Generator, size: np.ndarray, front: float, phase: dict[str, float]
) -> None:
    """Both kidneys beside the spine in a cushion of fat: cortex, medulla, and a fatty sinus that is no label."""
    for side, label, height in ((1, _RIGHT_KIDNEY, -26), (-1, _LEFT_KIDNEY, -12)):
        centre = np.array([side * 58 * size[0], front - 10, height * size[2]]) + rng.normal(0, 4, 3)
        radii = np.array([25 * size[0], 23, 48 * size[2]]) * rng.uniform(0.88, 1.12, 3)
        angles = np.array([0, -side * 14, side * 28]) + rng.normal(0, 6, 3)
        kidney = canvas.ellipsoid(centre, radii, angles) + 0.07 * smooth_noise(rng, canvas.label.shape, (9, 9, 9))
        sinus = canvas.ellipsoid(centre - np.array([side * 16 * size[0], -4, 0]), 0.45 * radii, angles)
        canvas.paint(canvas.ellipsoid(centre, radii + 7, angles), _FAT)
        canvas.paint(kidney, phase["cortex"], label)
        canvas.paint(kidney + 0.3, phase["medulla"], label)
        canvas.paint(sinus, -60.0)


def _draw_spine_and_vessels(
    canvas: Canvas, rng: np.random.Generator, size: np.ndarray, front: float, phase: dict[str, float]
) -> None:
    """Psoas and back muscles, vertebrae with discs and canal, vena cava, and the aorta in front and to the left."""
    x, y, z = canvas.points
    long = np.inf
    marbled = _MUSCLE - 25 * (smooth_noise(rng, canvas.label.shape, (16, 16, 10)) > 0.55)
    for side in (-1, 1):
        canvas.paint(canvas.ellipsoid((side * 34, front - 42, 0), (24, 17, long)), marbled)
        psoas = canvas.tube([(side * 27, front - 12, 10), (side * 36, front - 6, -170)], [7, 21])
        canvas.paint(psoas, marbled)
        iliac = canvas.ellipsoid((side * 86 * size[0], front - 14, -160), (30, 44, 48), (0, side * 25, 0))
        canvas.paint(np.maximum(iliac, -iliac - 0.22), 320.0)
    body = canvas.ellipsoid((0, front - 17, 0), (22, 17, long))
    spongy = _BONE - 40 + rng.uniform(-25, 40) + 20 * smooth_noise(rng, canvas.label.shape, (14, 14, 18))
    canvas.paint(body, 330.0)
    canvas.paint(body + 0.18, spongy)
    canvas.paint(np.maximum(body, np.abs((z + rng.uniform(0, 34)) % 36 - 18) - 4), 85.0)
    canvas.paint(np.maximum(np.abs(x) - 26 + 0.5 * (front - 40 - y), np.abs(y - front + 44) - 8), 240.0)
    canvas.paint(np.maximum(np.abs(x) - 4, np.abs(y - front + 56) - 12), 280.0)
    canvas.paint(canvas.ellipsoid((0, front - 41, 0), (9, 8, long)), 30.0)

    heights = (-170, -85, 0, 85, 170)
    cava = [(rng.normal(19, 2), front + rng.normal(4, 2) + 0.05 * max(height, 0), height) for height in heights]
    canvas.paint(canvas.tube(cava, rng.uniform(9, 12)), phase["cava"])
    aorta = [(rng.normal(-9, 2), front + rng.normal(9, 2), height) for height in heights]
    radius = rng.uniform(10, 13)
    canvas.paint(canvas.tube(aorta, [radius - 2.5, radius - 2, radius - 1, radius, radius]), phase["aorta"], _AORTA)
