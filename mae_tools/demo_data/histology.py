"""A synthetic set of H&E tiles: four tissue classes from many slides, and tiles with a mask of every nucleus."""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .shapes import need, noise, save_picture, shuffled, write_lists
from .tissue import KINDS, MICRONS_PER_PIXEL, Stain, paint_tissue

HISTOLOGY_CLASSES = tuple(KINDS)
_PER_SLIDE = 4  # tiles of a slide, and each patient has one slide; with masks one, so that many patients are tested
_NUCLEI_PATIENTS = 100_000  # their numbers begin here, so that no patient is in both sets


def make_histology(
    folder: str | Path, cases: int = 600, seed: int = 0, size: int = 80,
    nuclei_cases: int = 60, nuclei_size: int = 96,
) -> dict[str, Any]:  # fmt: skip
    """Draw the data set and return its datalist, split by patient: half trains, a fifth selects and 30 % are tested.

    `tiles/*.png` with `datalist.json` is for classification, `nuclei/images` and `nuclei/masks` (16-bit PNG, one number
    a nucleus) with `nuclei/datalist.json` for segmentation. The sets share no patient.

    Args:
        folder: where to write.
        cases: how many tiles, at least 32, four a patient.
        seed: decides everything; the first tiles do not depend on how many follow.
        size: of a tile in pixels, at least 48.
        nuclei_cases: how many tiles with masks, at least 16, one a patient; 0 for none.
        nuclei_size: of such a tile in pixels, at least 48.

    Raises:
        InputError: too few tiles to have three lists, or too small ones.
    """
    need(cases, 32)
    need(nuclei_cases or 16, 16, "nuclei_cases")
    need(min(size, nuclei_size), 48, "size")
    root = Path(folder)
    said: dict[str, Any] = {"modality": "synthetic H&E"}
    if nuclei_cases:
        entries = _tiles(root / "nuclei", seed, _NUCLEI_PATIENTS, nuclei_cases, nuclei_size, masks=True)
        names = ["background", "nucleus"]
        write_lists(root / "nuclei" / "datalist.json", entries, seed, class_names=names, mask_kind="instance", **said)
    entries = _tiles(root, seed, 0, cases, size, masks=False)
    said |= {"task": "multi_class", "mpp": MICRONS_PER_PIXEL}
    return write_lists(root / "datalist.json", entries, seed, class_names=list(HISTOLOGY_CLASSES), **said)


def _tiles(root: Path, seed: int, first_patient: int, cases: int, size: int, masks: bool) -> list[dict[str, Any]]:
    """Draw tiles patient by patient, each in the stain of its slide; returns the items of a datalist."""
    entries = []
    for index in tqdm(range(cases), desc="draw synthetic tiles", unit="tile"):
        patient, number = divmod(index, 1 if masks else _PER_SLIDE)
        label = shuffled(seed + first_patient, index, len(HISTOLOGY_CLASSES))
        stain = Stain.draw(np.random.default_rng([seed, first_patient + patient]))
        rng = np.random.default_rng([seed, first_patient + patient, number])
        rgb, instances = paint_tissue(rng, size, size, HISTOLOGY_CLASSES[label], stain)
        if not masks:  # the class is that of most of a tile, not of all of it
            other = HISTOLOGY_CLASSES[(label + rng.integers(1, len(HISTOLOGY_CLASSES))) % len(HISTOLOGY_CLASSES)]
            beside, _ = paint_tissue(rng, size, size, other, stain)
            field = noise(rng, (size, size), size / 4)
            rgb = np.where(field[..., None] > np.quantile(field, rng.uniform(0.35, 0.45)), rgb, beside)
        owner = f"{'nuclei' if masks else 'patient'}_{patient:03d}"
        entry = {"image": f"{'images' if masks else 'tiles'}/{owner}_{number}.png", "patient_id": owner}
        save_picture(root / entry["image"], rgb)
        if masks:
            save_picture(root / "masks" / f"{owner}_{number}.png", instances)
        entries.append({**entry, "label": f"masks/{owner}_{number}.png" if masks else label})
    return entries
