"""Tiles with discs as nuclei, for whole runs of the segmentation stages."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def make_tiles(folder: Path, counts: tuple[int, int, int] = (6, 2, 3), side: int = 48) -> Path:
    """Write purple discs on pink, some of them touching, with instance masks (16 bits) and a datalist.

    Args:
        folder: gets `images`, `masks` and `datalist.json`.
        counts: tiles in training, validation and test.
        side: of the smallest tile, pixels; every third tile is larger.
    """
    rng = np.random.default_rng(0)
    lists: dict[str, list[dict[str, str]]] = {}
    number = 0
    for section, count in zip(("training", "validation", "test"), counts, strict=True):
        lists[section] = []
        for _ in range(count):
            lists[section].append(_tile(folder, number, side + 16 * (number % 3 == 0), rng))
            number += 1
    content = {"class_names": ["background", "nucleus"], "mask_kind": "instance", **lists}
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


def _tile(folder: Path, number: int, side: int, rng: np.random.Generator) -> dict[str, str]:
    rows, columns = np.indices((side, side))
    objects = np.zeros((side, side), np.uint16)
    for index in range(1, 8):
        row, column = rng.integers(0, side, 2)
        objects[(rows - row) ** 2 + (columns - column) ** 2 < rng.integers(4, 8) ** 2] = 250 + index
    pixels = np.where(objects[..., None] > 0, (90, 40, 130), (235, 190, 215)) + rng.normal(0, 8, (side, side, 3))
    for name, values in (("images", pixels.clip(0, 255).astype(np.uint8)), ("masks", objects)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / name / f"t{number}.png")
    return {"image": f"images/t{number}.png", "label": f"masks/t{number}.png", "patient_id": f"p{number}"}
