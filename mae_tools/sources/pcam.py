"""PatchCamelyon (Veeling et al. 2018): 327,680 tiles of lymph nodes, 96 px, whether their middle shows tumour.

The HDF5 files are unpacked to PNG once: from then on they are pictures like any others, for the cache, the check and
the eye.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.data.schema import Item
from bundle_runtime.data.tables import Table
from custom_components.errors import InputError
from tqdm import tqdm

from .lists import by_class, common_keys
from .registry import Root, source
from .split import Found
from .unpack import Unpacked

_PARTS = {"training": "train", "validation": "valid", "test": "test"}
_TILES = {"training": 262144, "validation": 32768, "test": 32768}
_PER_FOLDER = 1000  # files; some file systems and every file manager slow down with 262,144 in one
_BLOCK = 512  # tiles read at a time
CLASSES = ("normal", "tumour")


_FIXED = {"val_fraction": 0, "test_fraction": 0, "train_fraction": None, "seed": 0, "per_class": True}


@source(split=by_class, fixed=_FIXED)
def pcam(root: Root, tiles: str | Path = "tiles", counts: bool = True, limit: int | None = None) -> Found:
    """Unpack `camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5` and write the datalist, lists as published.

    Where `..._meta.csv` lies beside them, tiles are told apart by slide (the patient of the datalist).

    Args:
        root: the folder that holds the files.
        tiles: folder for the PNG files, in `root` or any other; those that are there stay, so that an interrupted
            unpacking goes on.
        counts: check the number of tiles; false for a subset.
        limit: unpack only so many tiles of each list, evenly spread.

    Raises:
        InputError: a file is missing or damaged, or its sizes are not those expected.
    """
    base = root.path
    unpacked = Unpacked(base, tiles, "tiles", compress_level=1)
    lists: dict[str, list[Item]] = {}
    for part, word in _PARTS.items():
        stem = base / f"camelyonpatch_level_2_split_{word}"
        root.used.update(f"{stem.name}_{letter}.h5" for letter in "xy")
        lists[part] = _unpack(stem, word, unpacked, _TILES[part] if counts else None, limit)
    print(f"{unpacked.written} tiles unpacked to {unpacked.folder}; {sum(map(len, lists.values()))} in all.")
    return Found(given=lists, origin="lists as published", keys=common_keys("multi_class", CLASSES, "H&E"))


def _unpack(stem: Path, word: str, unpacked: Unpacked, expected: int | None, limit: int | None) -> list[Item]:
    """The items of one list, their tiles written."""
    import h5py  # only here: nobody else needs it

    x_path, y_path = Path(f"{stem}_x.h5"), Path(f"{stem}_y.h5")
    for path in (x_path, y_path):
        if not path.is_file():
            hint = "unpack the .gz file" if Path(f"{path}.gz").is_file() else "download it"
            raise InputError(f"{path}: there is no such file; {hint}.")
    try:
        with h5py.File(x_path, "r") as x_file, h5py.File(y_path, "r") as y_file:
            pixels, labels = x_file["x"], np.asarray(y_file["y"]).reshape(-1)
            _check_shapes(x_path, pixels.shape, pixels.dtype, labels, expected)
            slides = _slides(Path(f"{stem}_meta.csv"), len(labels))
            step = max(len(labels) // limit, 1) if limit else 1
            read = _Tiles(pixels, _BLOCK if step == 1 else 1)
            items: list[Item] = []
            for row in tqdm(range(0, len(labels), step)[:limit], desc=f"unpack {word}", unit="tile"):
                name = f"{word}/{row // _PER_FOLDER:03d}/{row:06d}.png"
                tile = unpacked.add(name, partial(read, row), x_path)
                owner = slides[row] if slides else f"{word}_{row:06d}"
                items.append({"image": tile, "label": int(labels[row]), "patient_id": owner})
            return items
    except (OSError, KeyError) as error:
        raise InputError(f"{x_path} or {y_path.name}: cannot be read as HDF5 ({error}); download it again.") from error


class _Tiles:
    """Tiles of an HDF5 array, read some at a time, and only where one is asked for."""

    def __init__(self, pixels: Any, at_once: int) -> None:
        self.pixels, self.at_once = pixels, at_once
        self.first, self.block = 0, np.empty((0, 0, 0, 3), np.uint8)

    def __call__(self, row: int) -> np.ndarray:
        """Tile `row`, uint8 (H, W, 3)."""
        if not self.first <= row < self.first + len(self.block):
            self.first, self.block = row, np.asarray(self.pixels[row : row + self.at_once])
        return self.block[row - self.first]


def _check_shapes(path: Path, shape: tuple[int, ...], kind: Any, labels: np.ndarray, expected: int | None) -> None:
    """Refuse other arrays than RGB tiles with a 0 or 1 each.

    Raises:
        InputError: naming what differs.
    """
    if len(shape) != 4 or shape[3] != 3 or kind != np.uint8:
        raise InputError(f"{path}: 'x' is {kind} {tuple(shape)}, expected uint8 (tiles, 96, 96, 3).")
    if len(labels) != shape[0] or not np.isin(labels, (0, 1)).all():
        raise InputError(
            f"{path}: holds {shape[0]} tiles, and the y file {len(labels)} labels; expected a 0 or 1 each."
        )
    if expected is not None and shape[0] != expected:
        raise InputError(f"{path}: holds {shape[0]} tiles, expected {expected}; pass --counts false for a subset.")


def _slides(path: Path, tiles: int) -> list[str]:
    """The slide of each tile; [] without the table, which is said.

    Raises:
        InputError: the table has another number of rows, or a row without a slide.
    """
    if not path.is_file():
        print(f"{path.name} is not there: every tile counts as a patient of its own, and intervals come out too small.")
        return []
    table = Table(path)
    column = table.column("wsi", "slide")
    slides = [row.cells[column] for row in table.rows]
    if len(slides) != tiles or "" in slides:
        raise InputError(f"{path}: names {len(slides)} slides for {tiles} tiles; expected one in each row.")
    return slides
