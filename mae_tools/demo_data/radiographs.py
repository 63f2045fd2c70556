"""Synthetic frontal radiographs of the chest with six findings, one to three images a patient.

Neither brightness nor a fixed place gives a finding away: size, posture, breath, exposure, breasts and electrodes vary.
A finding is a relation between parts (a heart wide for its chest, fluid where lung is expected), and relations fill in
what is hidden of an image: they can be learnt from images that nobody read.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .shapes import blend, ellipse, grid, need, noise, save_picture, shuffled, soft, to_bytes, visits, write_lists

RADIOGRAPH_FINDINGS = ("Cardiomegaly", "Effusion", "Pneumothorax", "Consolidation", "Edema", "Emphysema")
_SIDES = np.array([-1, 1])


def make_radiographs(
    folder: str | Path, cases: int = 1000, seed: int = 0, size: tuple[int, int] = (80, 80)
) -> dict[str, Any]:
    """Draw the data set: `images/*.png` (8-bit grey) and `datalist.json`, split by patient (half train, 30 % test).

    Args:
        folder: where to write.
        cases: how many images, at least 15; a patient has one to three.
        seed: decides everything; the first images do not depend on how many follow.
        size: height and width in pixels, at least 32.

    Raises:
        InputError: fewer than 15 cases, or a picture too small to show anything.
    """
    need(cases, 15)
    need(min(size), 32, "size")
    root = Path(folder)
    entries = []
    for patient, visit in tqdm(visits(seed, cases), desc="draw synthetic radiographs", unit="image"):
        findings = patient_findings(seed, patient)
        name = f"images/synthetic_{patient:04d}_{visit}.png"
        save_picture(root / name, radiograph(seed, patient, visit, findings, size))
        label = [int(finding in findings) for finding in RADIOGRAPH_FINDINGS]
        entries.append({"image": name, "label": label, "patient_id": f"synthetic_{patient:04d}"})
    said = {"task": "multi_label", "class_names": list(RADIOGRAPH_FINDINGS), "modality": "synthetic X-ray"}
    return write_lists(root / "datalist.json", entries, seed, **said)


def patient_findings(seed: int, patient: int) -> set[str]:
    """What a patient has: each finding is there in one patient of every four, whatever the others."""
    return {name for n, name in enumerate(RADIOGRAPH_FINDINGS) if shuffled(seed + 7919 * n, patient, 4) == 0}


def radiograph(seed: int, patient: int, visit: int, findings: set[str], size: tuple[int, int] = (80, 80)) -> np.ndarray:
    """One image, uint8 (H, W), of which everything is decided by the arguments."""
    # What the findings draw must not change what else is drawn: they have a generator of their own.
    person, rng, own = (np.random.default_rng([seed, patient, *more]) for more in ((0,), (visit, 1), (visit, 2)))
    wide, tall = person.uniform(0.88, 1.08), person.uniform(0.9, 1.08)
    breasts = person.uniform(0.05, 0.16) * (person.random() < 0.5)
    turn, zoom, shift = rng.normal(0, 0.04), rng.uniform(0.9, 1.08), rng.normal(0, 0.04, 2)
    # Row and column run from -1 to 1, with the patient's own size, turned and moved.
    row, column = (p * zoom + s for p, s in zip(grid(size, 2 / min(size)), shift, strict=True))
    y, x = (row * np.cos(turn) + column * np.sin(turn)) / tall, (column * np.cos(turn) - row * np.sin(turn)) / wide
    edge = 3 / min(size)  # what a border is blurred over
    film = np.full(size, 0.04)

    def paint(depth: np.ndarray, value: Any, width: float = edge) -> None:
        blend(film, soft(depth, width), value)

    paint(ellipse((y, x), (0.75, 0), (1.5, 0.88)), 0.6)
    paint(ellipse((y, x), (-0.95, 0), (0.5, 0.22)), 0.6)
    lungs = _lungs(rng, y, x, "Emphysema" in findings)
    vessels = 0.02 * noise(rng, size, 0.1 * size[0]) + 0.015 * noise(rng, size, 0.04 * size[0])
    paint(np.maximum(*lungs), 0.24 + vessels)
    _lung_findings(own, film, lungs, vessels, y, x, findings, edge)
    ribs = np.sin(2 * np.pi * (3.4 * (y - 0.35 * x**2) + rng.random()))
    film += 0.035 * soft(ribs - 0.4, 0.5) * (film > 0.15)
    for side in _SIDES:
        film += breasts * soft(ellipse((y, x), (0.38, 0.42 * side), (0.32, 0.3)), 0.05)
    paint(ellipse((y, x), (0, 0), (3, 0.11)), 0.72, 0.1)  # spine and vessels
    heart = 0.27 * rng.uniform(0.92, 1.08) * (own.uniform(1.4, 1.65) if "Cardiomegaly" in findings else 1.0)
    paint(ellipse((y, x), (0.3, 0.55 * (heart - 0.1)), (0.26, heart), 0.35), 0.7, 3 * edge)
    for _ in range(int(rng.integers(0, 3))):  # electrodes: like a nodule, yet with a sharp bright ring and anywhere
        spot = ellipse((y, x), rng.uniform(-0.7, 0.7, 2), (0.06, 0.06))
        paint(np.minimum(spot, 0.03 - spot), 0.9)
    film = rng.uniform(0.02, 0.12) + rng.uniform(0.75, 1.1) * film.clip(0, 1) ** rng.uniform(0.7, 1.4)
    film += rng.uniform(0.003, 0.01) * rng.standard_normal(size)
    return to_bytes(255 * film)


def _lungs(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, wide: bool) -> list[np.ndarray]:
    """Depth within each lung, the left of the picture first; a dome cuts them off below."""
    breath = rng.uniform(-0.06, 0.08)
    low, curve = (0.66, 0.3) if wide else (0.5, 1.4)
    domes = [low + breath + 0.03 * side + curve * np.square(x - 0.38 * side) for side in _SIDES]
    sides = [ellipse((y, x), (0.0, 0.4 * side), (0.75, 0.31), -0.1 * side) for side in _SIDES]
    return [np.minimum(lung, dome - y) for lung, dome in zip(sides, domes, strict=True)]


def _lung_findings(
    rng: np.random.Generator, film: np.ndarray, lungs: list[np.ndarray], vessels: np.ndarray,
    y: np.ndarray, x: np.ndarray, findings: set[str], edge: float,
) -> None:  # fmt: skip
    """What is in a lung or around it; each finding chooses its own side."""

    if "Edema" in findings:  # a haze on both sides that fades outwards
        film += (
            rng.uniform(0.2, 0.28)
            * soft(0.3 - np.hypot(np.abs(x) - 0.2, y - 0.05), 0.4)
            * soft(np.maximum(*lungs), 0.1)
        )
    if "Consolidation" in findings:
        side, row = int(rng.integers(2)), rng.uniform(-0.45, 0.2)
        cloud = 0.22 - np.abs(y - row) + 0.04 * noise(rng, film.shape, 0.15 * film.shape[0])
        film += soft(np.minimum(cloud, lungs[side]), 0.1) * (0.24 + 4 * vessels)
    if "Pneumothorax" in findings:
        side = int(rng.integers(2))
        kept = ellipse((y, x), (0.08, 0.3 * _SIDES[side]), rng.uniform(0.66, 0.8) * np.array([0.72, 0.28]))
        blend(film, soft(np.minimum(lungs[side], -kept), edge), 0.12)
        film += 0.15 * soft(edge - np.abs(kept), edge) * soft(lungs[side], edge)
    if "Effusion" in findings:
        side = int(rng.integers(2))
        level = rng.uniform(0.05, 0.28) - 0.6 * np.abs(x - 0.25 * _SIDES[side])  # it climbs along the wall
        blend(film, soft(np.minimum(y - level, lungs[side] + 0.02), 3 * edge), 0.6)
