"""Synthetic close-ups of skin in which the class shows in the pattern of one lesion and in nothing else.

The background does not know the class: skin, hairs, and moles of the lesion's size and pigment without its structure.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .shapes import blend, ellipse, grid, need, noise, save_picture, shuffled, soft, to_bytes, visits, write_lists

# What gives a pattern: radius (0 in the middle, 1 at the border), angle, both turned axes, and a phase of 0 to 1.
Pattern = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]
_PATTERNS: dict[str, Pattern] = {
    "globules": lambda r, turn, u, v, phase: np.cos(9 * u + 6 * phase) * np.cos(9 * v),
    "rings": lambda r, turn, u, v, phase: np.cos(2 * np.pi * (1.7 * r + 0.2 * phase)),
    "streaks": lambda r, turn, u, v, phase: np.sin(2 * np.pi * (1.5 * u + phase) + 0.5 * np.sin(2 * v)),
    "spokes": lambda r, turn, u, v, phase: np.cos(6 * turn) * np.minimum(2.5 * r, 1),
    "halves": lambda r, turn, u, v, phase: np.tanh(6 * (u + 0.3 * (phase - 0.5) + 0.12 * np.sin(4 * v))),
}
LESION_CLASSES = tuple(_PATTERNS)
_PIGMENTS = np.array([[0.75, 1.25, 1.5], [1.6, 1.05, 0.85], [1.2, 1.15, 1.15], [0.5, 1.6, 1.4], [0.6, 0.95, 1.95]])


def make_lesions(folder: str | Path, cases: int = 600, seed: int = 0, size: int = 80) -> dict[str, Any]:
    """Draw the data set and return its datalist, split by patient: half trains, a fifth selects and 30 % are tested.

    `images/*.png` with `datalist.json` is for classification; `masks/*.png` (0 and 255) with `datalist_masks.json` is
    for the segmentation of the lesion.

    Args:
        folder: where to write.
        cases: how many images, at least 15; a patient has one to three.
        seed: decides everything; the first images do not depend on how many follow.
        size: height and width in pixels, at least 64.

    Raises:
        InputError: too few images, or too small ones to show a structure.
    """
    need(cases, 15)
    need(size, 64, "size")
    root = Path(folder)
    entries, masks = [], []
    for index, (patient, visit) in enumerate(tqdm(visits(seed, cases), desc="draw synthetic lesions", unit="image")):
        label = shuffled(seed, index, len(LESION_CLASSES))
        pixels, mask = lesion_image(seed, patient, visit, LESION_CLASSES[label], size)
        name = f"patient_{patient:03d}_{visit}.png"
        save_picture(root / "images" / name, pixels)
        save_picture(root / "masks" / name, np.where(mask, 255, 0).astype(np.uint8))
        shared = {"image": f"images/{name}", "patient_id": f"patient_{patient:03d}"}
        entries.append({**shared, "label": label})
        masks.append({**shared, "label": f"masks/{name}"})
    said: dict[str, Any] = {"modality": "synthetic photograph", "class_names": ["background", "lesion"]}
    write_lists(root / "datalist_masks.json", masks, seed, mask_kind="binary", **said)
    said["class_names"] = list(LESION_CLASSES)
    return write_lists(root / "datalist.json", entries, seed, task="multi_class", **said)


def lesion_image(seed: int, patient: int, visit: int, kind: str, size: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """One image, uint8 (size, size, 3), and where its lesion is, bool (size, size); outside, `kind` changes nothing."""
    rng = np.random.default_rng([seed, patient, visit])
    points, shape = grid((size, size)), (size, size)
    density = np.zeros((*shape, 3))
    spots = _spots(rng, size, 2)
    for centre, radius in spots[1:]:
        mole = _cover(rng, points, centre, radius)
        speckles = rng.uniform(0.45, 0.7) + 0.3 * noise(rng, shape, 0.5 * radius)
        density += (mole * speckles.clip(0.1))[..., None] * _PIGMENTS[rng.integers(5)]
    for _ in range(int(rng.integers(0, 6))):  # hairs
        hair = ellipse(points, rng.uniform(-size / 2, size / 2, 2), (size / 3, 0.8), rng.uniform(0, np.pi))
        density += 1.2 * soft(hair)[..., None]
    centre, radius = spots[0]
    cover = _cover(rng, points, centre, radius)
    u, v = ((p - c) / radius for p, c in zip(points, centre, strict=True))
    turn, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.35)
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    inside = cover > 0.5
    pattern = _PATTERNS[kind](np.hypot(u, v), np.arctan2(v, u), u, v, rng.random())
    pattern = (pattern - pattern[inside].mean()) / pattern[inside].std()  # no class is darker or stronger
    pigment = rng.uniform(0.5, 0.7) + strength * pattern
    blend(density, cover, pigment[..., None] * _PIGMENTS[rng.integers(5)])
    fair = np.random.default_rng([seed, patient]).uniform(0, 1)
    skin = fair * np.array([236.0, 200, 180]) + (1 - fair) * np.array([170.0, 118, 92])
    light = 1 + 0.05 * noise(rng, shape, size / 3) + 0.025 * noise(rng, shape, 5)
    pixels = skin * light[..., None] * np.exp(-density) + rng.normal(0, rng.uniform(1, 3.5), density.shape)
    return to_bytes(pixels), inside


def _cover(rng: np.random.Generator, points: list[np.ndarray], centre: np.ndarray, radius: float) -> np.ndarray:
    """How far each pixel belongs to a roundish spot, 0 to 1."""
    wobble = 0.08 * radius * noise(rng, points[0].shape, radius)
    return soft(ellipse(points, centre, radius * rng.uniform(0.88, 1.12, 2), rng.uniform(0, np.pi)) + wobble)


def _spots(rng: np.random.Generator, size: int, count: int) -> list[tuple[np.ndarray, float]]:
    """Middles and radii, in pixels, of up to `count` spots that do not touch."""
    spots: list[tuple[np.ndarray, float]] = []
    for _ in range(60):
        radius = size * rng.uniform(0.17, 0.23)
        centre = rng.uniform(-1, 1, 2) * (size / 2 - 1.15 * radius)
        if len(spots) < count and all(np.hypot(*(centre - c)) > 1.25 * (radius + r) for c, r in spots):
            spots.append((centre, radius))
    return spots
