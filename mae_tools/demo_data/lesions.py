"""Synthetic close-ups of skin in which the class shows in one small lesion and in nothing else.

A lesion has its class's inner structure and pigment. The background is rich and drawn without knowing the class: skin
of some tone, folds, hairs, dots, bubbles, and moles of the lesion's size without structure, each with the pigment of a
random class. So a network that looks everywhere alike learns mostly background, and what of the lesion a masked
autoencoder hides decides what it can learn.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from bundle_runtime.data.datalist import write
from custom_components.errors import InputError

from .nuclei import noise
from .patients import lists_in_order
from .tissue_kinds import soft

_RADII = (0.12, 0.16)  # of a lesion and of a mole, as a share of the picture's side
_MOLES = (2, 3)
# Optical density of each class's pigment in red, green and blue; the sums are equal, so none is darker.
_PIGMENTS = np.array(
    [[0.75, 1.25, 1.5], [1.6, 1.05, 0.85], [1.2, 1.15, 1.15], [0.5, 1.6, 1.4], [0.6, 0.95, 1.95]], np.float32
)

Generator = np.random.Generator
# Each takes the radius (0 in the middle, 1 at the border), the angle, and both turned axes, and gives a pattern.
Pattern = Callable[[Generator, np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _globules(rng: Generator, r: np.ndarray, turn: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    del r, turn
    rows, columns = np.mgrid[-3:4, -3:4].reshape(2, -1).astype(float)
    places = 0.55 * np.stack([columns + rows / 2, rows * 0.87]) + rng.normal(0, 0.04, (2, rows.size))
    nearest = np.min([(u - x) ** 2 + (v - y) ** 2 for x, y in places.T], axis=0)
    return np.exp(-nearest / 0.16**2)


def _rings(rng: Generator, r: np.ndarray, turn: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    del turn, u, v
    return np.cos(2 * np.pi * (1.7 * r + rng.uniform(-0.1, 0.1)))


def _streaks(rng: Generator, r: np.ndarray, turn: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    del r, turn
    return np.sin(2 * np.pi * (1.5 * u + rng.uniform(0, 1)) + 0.5 * np.sin(2 * v))


def _spokes(rng: Generator, r: np.ndarray, turn: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    del rng, u, v
    return np.cos(6 * turn) * np.minimum(2.5 * r, 1)


def _halves(rng: Generator, r: np.ndarray, turn: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    del r, turn
    return np.tanh(6 * (u + rng.uniform(-0.15, 0.15) + 0.12 * np.sin(4 * v)))


_PATTERNS: dict[str, Pattern] = {
    "globules": _globules,
    "rings": _rings,
    "streaks": _streaks,
    "spokes": _spokes,
    "halves": _halves,
}
LESION_CLASSES = tuple(_PATTERNS)


def make_lesions(folder: str | Path, cases: int = 600, seed: int = 0, size: int = 112) -> dict[str, Any]:
    """Draw the data set, split by patient: about half trains, a fifth selects and 30 % are tested.

    `images/*.png` with `datalist.json` is for classification; `masks/*.png` (0 and 255) with `datalist_masks.json` is
    for the segmentation of the lesion.

    Args:
        folder: where to write; existing files of the same name are replaced.
        cases: how many images, at least 15; a patient has one to three.
        seed: decides everything; the first images do not depend on how many follow.
        size: height and width in pixels, at least 64.

    Returns:
        The datalist of the classes.

    Raises:
        InputError: too few images, or too small ones to show a structure.
    """
    if cases < 15:
        raise InputError(f"cases is {cases}, expected at least 15: up to three each for training, validation and test.")
    if size < 64:
        raise InputError(f"size is {size}, expected at least 64 pixels.")
    root = Path(folder)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for index, (patient, visit) in enumerate(tqdm(_visits(seed, cases), desc="draw synthetic lesions", unit="image")):
        label = _label(seed, index)
        pixels, mask = lesion_image(seed, patient, visit, LESION_CLASSES[label], size)
        name = f"patient_{patient:03d}_{visit}.png"
        Image.fromarray(pixels).save(root / "images" / name)
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(root / "masks" / name)
        shared = {"image": f"images/{name}", "patient_id": f"patient_{patient:03d}"}
        entries.append({**shared, "label": label})
        masks.append({**shared, "label": f"masks/{name}"})
    said = {"modality": "synthetic photograph", "description": f"Drawn by a program (seed {seed}); nobody's skin."}
    datalist = {"task": "multi_class", "class_names": list(LESION_CLASSES), **said, **lists_in_order(entries)}
    write(root / "datalist.json", datalist)
    names = ["background", "lesion"]
    write(root / "datalist_masks.json", {"class_names": names, "mask_kind": "binary", **said, **lists_in_order(masks)})
    return datalist


def lesion_image(seed: int, patient: int, visit: int, kind: str, size: int = 112) -> tuple[np.ndarray, np.ndarray]:
    """One image, of which everything is decided by the arguments.

    Images that differ in `kind` alone are equal outside of the lesion.

    Returns:
        uint8 (size, size, 3), RGB, and bool (size, size), where the lesion is.
    """
    rng = np.random.default_rng([seed, patient, visit])
    colour = _skin(np.random.default_rng([seed, patient]), rng, size)
    spots = _spots(rng, size, int(rng.integers(_MOLES[0], _MOLES[1] + 1)) + 1)
    density = np.zeros((size, size, 3), np.float32)
    for row, column, radius in spots[1:]:
        depth = _depth(rng, size, row, column, radius)[0]
        mole = soft(depth * radius) * (rng.uniform(0.45, 0.75) + 0.13 * noise(rng, size, size, 10))
        density += mole[..., None] * _PIGMENTS[rng.integers(len(_PIGMENTS))]
    row, column, radius = spots[0]
    depth, r, angle = _depth(rng, size, row, column, radius)
    cover = soft(depth * radius)
    darkness, contrast, tilt = rng.uniform(0.5, 0.7), rng.uniform(0.25, 0.35), rng.uniform(0, 2 * np.pi)
    # Its own generator: how much a structure draws from it must not change what is drawn later.
    own = np.random.default_rng([seed, patient, visit, 1])
    turn = angle - tilt
    pattern = _PATTERNS[kind](own, r, turn, r * np.cos(turn), r * np.sin(turn))
    inside = cover > 0.5
    pattern = (pattern - pattern[inside].mean()) / pattern[inside].std()  # no class is darker or stronger
    density += (cover * (darkness + contrast * pattern))[..., None] * _PIGMENTS[LESION_CLASSES.index(kind)]
    density += _clutter(rng, size, 1 - cover)[..., None] * _PIGMENTS[0]
    light = colour * np.exp(-density)
    light = gaussian_filter(light, (0.5, 0.5, 0)) + rng.normal(0, rng.uniform(1, 3.5), light.shape)
    return np.rint(light.clip(0, 255)).astype(np.uint8), inside


def _visits(seed: int, count: int) -> list[tuple[int, int]]:
    """Patient and number of each image: a patient has one to three."""
    made: list[tuple[int, int]] = []
    patient = 0
    while len(made) < count:
        images = int(np.random.default_rng([seed, patient, 1000]).choice([1, 1, 2, 3]))
        made += [(patient, visit) for visit in range(images)]
        patient += 1
    return made[:count]


def _label(seed: int, index: int) -> int:
    """Classes come in shuffled rounds, so that every list shows each of them."""
    turn, place = divmod(index, len(LESION_CLASSES))
    return int(np.random.default_rng([seed, turn, 2000]).permutation(len(LESION_CLASSES))[place])


def _skin(patient: Generator, rng: Generator, size: int) -> np.ndarray:
    """Skin of the patient's tone with uneven light and folds, float (size, size, 3)."""
    fair, dark = np.array([236.0, 200, 180]), np.array([170.0, 118, 92])
    share = patient.uniform(0, 1)
    tone = fair * (1 - share) + dark * share + patient.normal(0, 5, 3)
    light = 1 + 0.1 * noise(rng, size, size, size / 2) + 0.05 * noise(rng, size, size, 14)
    light -= 0.05 * np.exp(-np.square(noise(rng, size, size, 20) * 9))  # folds
    flush = 0.035 * noise(rng, size, size, 30)[..., None] * np.array([0.3, -1, -1])
    return (tone * (light[..., None] + flush)).astype(np.float32)


def _spots(rng: Generator, size: int, count: int) -> list[tuple[float, float, float]]:
    """Row, column and radius of spots that keep a distance; the first is always placed."""
    made: list[tuple[float, float, float]] = []
    for _ in range(40):
        radius = rng.uniform(*_RADII) * size
        row, column = rng.uniform(1.3 * radius, size - 1.3 * radius, 2)
        if all(np.hypot(row - y, column - x) > 1.5 * (radius + other) for y, x, other in made) and len(made) < count:
            made.append((float(row), float(column), float(radius)))
    return made


def _depth(
    rng: Generator, size: int, row: float, column: float, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A round shape with an uneven border: depth below it in radii, distance from the middle in radii, and angle."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle = np.arctan2(y - row, x - column)
    border = np.ones_like(angle)
    for order in (2, 3, 4, 5):
        border += rng.normal(0, 0.1) / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    r = np.hypot(y - row, x - column) / radius / border.clip(0.8, 1.25)
    return 1 - r, r, angle


def _clutter(rng: Generator, size: int, free: np.ndarray) -> np.ndarray:
    """Hairs, dots and rims of bubbles beside the lesion: the elements of the structures, without meaning here."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    result = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(0, 6))):  # hairs
        turn, at, bend = rng.uniform(0, np.pi), rng.uniform(-0.6, 0.6) * size, rng.uniform(-0.004, 0.004)
        along = (x - size / 2) * np.cos(turn) + (y - size / 2) * np.sin(turn)
        across = (y - size / 2) * np.cos(turn) - (x - size / 2) * np.sin(turn)
        result += 0.7 * np.exp(-np.square((across - at - bend * along**2) / rng.uniform(0.5, 0.9)))
    for row, column in rng.uniform(0, size, (int(rng.integers(0, 25)), 2)):  # dots
        result += rng.uniform(0.2, 0.5) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / rng.uniform(1.5, 5))
    for row, column in rng.uniform(0, size, (int(rng.integers(0, 5)), 2)):  # bubbles of immersion oil
        rim = np.hypot(y - row, x - column) - rng.uniform(2.5, 9)
        result += rng.uniform(-0.35, 0.25) * np.exp(-np.square(rim / 0.9))
    return result * free
