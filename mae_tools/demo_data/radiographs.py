"""Synthetic frontal radiographs of the chest with six findings, several images a patient.

Neither brightness nor a fixed place gives a finding away: size, posture, breath, exposure, breasts, devices, letters
and margins vary by image, and each finding has harmless look-alikes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from bundle_runtime.data.datalist import write
from custom_components.errors import InputError

from .chest import AIR, Chest, Person, draw_bones, draw_chest
from .chest_findings import FINDINGS, draw_harmless
from .devices import cut_borders, draw_devices, print_markers
from .film import Exposure, Film
from .patients import lists_in_order

RADIOGRAPH_FINDINGS = tuple(FINDINGS)

# Share of the patients with each finding.
_PREVALENCE = {
    "Cardiomegaly": 0.24,
    "Effusion": 0.3,
    "Mass": 0.14,
    "Nodule": 0.2,
    "Pneumothorax": 0.15,
    "Consolidation": 0.26,
}
_PASSING = {"Effusion", "Pneumothorax", "Consolidation"}  # these may be gone in the next image, or new


def make_radiographs(
    folder: str | Path, cases: int = 1000, seed: int = 0, size: tuple[int, int] = (256, 256)
) -> dict[str, Any]:
    """Draw the data set: `images/*.png` (8-bit grey) and `datalist.json`, split by patient.

    About half of the images train, a fifth selects and 30 % are tested.

    Args:
        folder: where to write; existing files of the same name are replaced.
        cases: how many images, at least 9; a patient has one to three.
        seed: decides everything; the first images do not depend on how many follow.
        size: height and width in pixels.

    Returns:
        The datalist.

    Raises:
        InputError: fewer than 9 cases, or a picture too small to show anything.
    """
    if cases < 9:
        raise InputError(f"cases is {cases}, expected at least 9: up to three each for training, validation and test.")
    if min(size) < 32:
        raise InputError(f"size is {tuple(size)}, expected a height and a width of at least 32 pixels.")
    root = Path(folder)
    (root / "images").mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    progress = tqdm(total=cases, desc="draw synthetic radiographs", unit="image")
    patient = 0
    while len(entries) < cases:
        for visit, findings in enumerate(patient_findings(seed, patient)[: cases - len(entries)]):
            name = f"images/synthetic_{patient:04d}_{visit}.png"
            pixels = radiograph(seed, patient, visit, findings, size)
            Image.fromarray(pixels).save(root / name)
            label = [int(finding in findings) for finding in RADIOGRAPH_FINDINGS]
            entries.append({"image": name, "label": label, "patient_id": f"synthetic_{patient:04d}"})
            progress.update()
        patient += 1
    progress.close()
    datalist = {
        "task": "multi_label",
        "class_names": list(RADIOGRAPH_FINDINGS),
        "modality": "synthetic X-ray",
        "description": f"Drawn by a program (seed {seed}); no patient was exposed.",
        **lists_in_order(entries),
    }
    write(root / "datalist.json", datalist)
    return datalist


def patient_findings(seed: int, patient: int) -> list[set[str]]:
    """The findings in each of a patient's one to three images.

    They are spread more evenly over the patients than dice would, so that each finding occurs in each list of a small
    data set, too.
    """
    rng = np.random.default_rng([seed, patient, 0])
    current = {name for number, name in enumerate(FINDINGS) if _is_ill(seed, patient, number, _PREVALENCE[name])}
    if "Cardiomegaly" in current and rng.random() < 0.25:
        current.add("Effusion")
    images = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        images.append(set(current))
        for name in sorted(_PASSING):
            if rng.random() < (0.35 if name in current else 0.08):
                current ^= {name}
    return images


def _is_ill(seed: int, patient: int, number: int, prevalence: float) -> bool:
    """One patient of each stretch of 1 / `prevalence` patients has finding `number`; a random one."""
    stretches = {int(patient * prevalence), int((patient + 1) * prevalence)}
    chosen = [(s + np.random.default_rng([seed, number, s]).random()) / prevalence for s in stretches]
    return any(patient <= place < patient + 1 for place in chosen)


def radiograph(
    seed: int, patient: int, visit: int, findings: set[str], size: tuple[int, int] = (256, 256)
) -> np.ndarray:
    """One image, uint8 (H, W), of which everything is decided by the arguments."""
    person = Person.draw(np.random.default_rng([seed, patient, 1]))
    rng = np.random.default_rng([seed, patient, 2 + visit])
    enlarged = rng.uniform(1.17, 1.4) if "Cardiomegaly" in findings else 1.0
    chest = Chest.draw(rng, person, enlarged)
    film = Film.blank(
        size,
        side=rng.uniform(2.25, 2.75) * person.width,
        centre=(rng.normal(0, 8), rng.uniform(-38, -8)),
        turn=rng.normal(0, 3),
        stretch=rng.uniform(0.95, 1.05),
    )
    edges = draw_chest(film, rng, chest)
    draw_harmless(film, rng, chest, edges)
    for name, draw in FINDINGS.items():
        if draw is not None and name in findings:
            draw(film, rng, chest, edges)
    draw_bones(film, rng, chest, edges)
    draw_devices(film, rng, chest)
    value = Exposure.draw(rng, chest.portable).develop(rng, film, film.tissue - AIR * film.air)
    print_markers(value, rng)
    cut_borders(value, rng)
    return np.rint(255 * np.clip(value, 0, 1)).astype(np.uint8)
