"""A synthetic set of H&E tiles: four tissue classes from many slides, and tiles with a mask of every nucleus.

The classes differ in architecture and nuclei. Colour does not tell them apart: every slide has a stain of its own, and
the mean density of both dyes is drawn for each tile whatever its class. Most tiles show a little of another tissue at
one side, as real ones do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from bundle_runtime.data.datalist import write
from custom_components.errors import InputError

from .nuclei import noise
from .patients import lists_in_order
from .stain import Stain
from .tissue import MICRONS_PER_PIXEL, paint_tissue
from .tissue_kinds import KINDS, soft

HISTOLOGY_CLASSES = tuple(KINDS)
NUCLEI_CLASSES = ("background", "nucleus")

_PER_SLIDE = 8
_NUCLEI_PER_SLIDE = 2
_NUCLEI_PATIENTS = 100_000  # their numbers begin here, so that no slide is in both sets
_BORDERS = 0.6  # share of the tiles with another tissue at one side


class _Tile(NamedTuple):
    """What a tile is of, and its name."""

    patient: str
    name: str
    kind: str
    seed: tuple[int, ...]
    slide_seed: tuple[int, ...]


def make_histology(
    folder: str | Path, cases: int = 400, seed: int = 0, size: int = 112, nuclei_cases: int = 40, nuclei_size: int = 144
) -> dict[str, Any]:
    """Draw the data set, split by patient: about half trains, a fifth selects and 30 % are tested.

    `tiles/<slide>/*.png` with `datalist.json` is for classification, `nuclei/images` and `nuclei/masks` (16-bit PNG,
    one number a nucleus) with `nuclei/datalist.json` for segmentation. The sets share no patient.

    Args:
        folder: where to write; existing files of the same name are replaced.
        cases: how many tiles, at least 64; a slide has eight, two a class, and a patient one or two slides.
        seed: decides everything; the first tiles do not depend on how many follow.
        size: of a tile in pixels.
        nuclei_cases: how many tiles with masks, at least 16, two a slide; 0 for none.
        nuclei_size: of such a tile in pixels.

    Returns:
        The datalist of the tile classes.

    Raises:
        InputError: too few tiles to have three lists, or too small ones.
    """
    if cases < 64:
        raise InputError(f"cases is {cases}, expected at least 64: three lists of whole patients, up to 16 tiles each.")
    if nuclei_cases < 16 and nuclei_cases != 0:
        raise InputError(f"nuclei_cases is {nuclei_cases}, expected 0 or at least 16.")
    if min(size, nuclei_size) < 48:
        raise InputError(f"size is {size} and nuclei_size {nuclei_size}, expected at least 48 pixels.")
    root = Path(folder)
    tiles = _tiles(seed, 0, _PER_SLIDE, cases)
    for tile in tqdm(tiles, desc="draw synthetic tiles", unit="tile"):
        _save(root / "tiles" / f"{tile.name}.png", paint_tile(tile.kind, tile.seed, tile.slide_seed, size))
    entries = [
        {
            "image": f"tiles/{tile.name}.png",
            "label": HISTOLOGY_CLASSES.index(tile.kind),
            "patient_id": tile.patient,
        }
        for tile in tiles
    ]
    datalist = {
        "task": "multi_class",
        "class_names": list(HISTOLOGY_CLASSES),
        "mpp": MICRONS_PER_PIXEL,
        **_described(seed),
        **lists_in_order(entries),
    }
    write(root / "datalist.json", datalist)
    if nuclei_cases:
        _make_nuclei(root / "nuclei", nuclei_cases, seed, nuclei_size)
    return datalist


def paint_tile(kind: str, seed: tuple[int, ...], slide_seed: tuple[int, ...], size: int) -> np.ndarray:
    """One tile, uint8 (size, size, 3): most of it is of its kind, and often a side of it of another."""
    rng = np.random.default_rng(seed)
    stain = Stain.draw(np.random.default_rng(slide_seed))
    tile = paint_tissue(rng, size, size, kind, stain)[0]
    if rng.random() < _BORDERS:
        other = str(rng.choice([name for name in KINDS if name != kind]))
        beside = paint_tissue(rng, size, size, other, stain)[0]
        turn = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        # At most about a quarter: the border runs at least an eighth of the side from the middle.
        depth = x * np.cos(turn) + y * np.sin(turn) - size * rng.uniform(0.14, 0.4) + 5 * noise(rng, size, size, 16)
        share = soft(depth / 2)[..., None]
        tile = np.rint(tile * (1 - share) + beside * share).astype(np.uint8)
    return tile


def _make_nuclei(root: Path, cases: int, seed: int, size: int) -> None:
    """Write tiles with a mask of every nucleus."""
    entries = []
    for tile in tqdm(_tiles(seed, _NUCLEI_PATIENTS, _NUCLEI_PER_SLIDE, cases), desc="draw nuclei", unit="tile"):
        stain = Stain.draw(np.random.default_rng(tile.slide_seed))
        rgb, instances = paint_tissue(np.random.default_rng(tile.seed), size, size, tile.kind, stain)
        name = tile.name.replace("/", "_")
        _save(root / "images" / f"{name}.png", rgb)
        _save(root / "masks" / f"{name}.png", instances)
        entries.append({"image": f"images/{name}.png", "label": f"masks/{name}.png", "patient_id": tile.patient})
    datalist = {
        "class_names": list(NUCLEI_CLASSES),
        "mask_kind": "instance",
        **_described(seed),
        **lists_in_order(entries),
    }
    write(root / "datalist.json", datalist)


def _tiles(seed: int, first_patient: int, per_slide: int, count: int) -> list[_Tile]:
    """What the first `count` tiles are, patient by patient."""
    made: list[_Tile] = []
    for slide, (patient, letter) in enumerate(_slides(seed, first_patient)):
        kinds = np.random.default_rng([seed, first_patient + slide, 1]).permutation(
            [HISTOLOGY_CLASSES[(slide * per_slide + index) % len(HISTOLOGY_CLASSES)] for index in range(per_slide)]
        )
        for index, kind in enumerate(kinds.tolist()):
            if len(made) == count:
                return made
            owner = f"patient_{patient:03d}" if first_patient == 0 else f"nuclei_{patient - first_patient:03d}"
            name = f"{owner}{letter}/{index}_{kind}"
            made.append(_Tile(owner, name, kind, (seed, patient, ord(letter), index), (seed, patient, ord(letter))))
    raise AssertionError("the slides never end")


def _slides(seed: int, first_patient: int) -> Iterator[tuple[int, str]]:
    """Patient and letter of one slide after the other: a patient has one or two."""
    patient = first_patient
    while True:
        for letter in "ab" if np.random.default_rng([seed, patient, 0]).random() < 0.4 else "a":
            yield patient, letter
        patient += 1


def _described(seed: int) -> dict[str, str]:
    return {"modality": "synthetic H&E", "description": f"Drawn by a program (seed {seed}); no patient gave tissue."}


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
