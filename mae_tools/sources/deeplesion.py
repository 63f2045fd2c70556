"""DeepLesion (Yan et al. 2018): CT slices with a marked lesion of one of eight types, 16-bit PNG of HU + 32768."""

from functools import partial
from pathlib import Path

import numpy as np
from bundle_runtime.data.schema import SECTIONS, Datalist, Item
from bundle_runtime.data.tables import Row, Table
from custom_components.errors import InputError
from PIL import Image
from tqdm import tqdm

from .lists import by_class, common_keys
from .pictures import PictureFinder, pictures_in, settle_missing
from .registry import Root, source
from .split import Found
from .unpack import Unpacked

# Coarse_lesion_type 1 to 8; -1 is not known, as for all of the published training list.
TYPES = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft_tissue", "pelvis")
_LISTS = {"1": "training", "2": "validation", "3": "test"}
_ZERO = 32768  # stored value of 0 HU


@source(split=by_class, fixed={"crossing": "refuse", "per_class": True})
def deeplesion(
    root: Root,
    csv: str | Path = "DL_info.csv",
    window: str | tuple[float, float] = "table",
    slices: str | Path | None = None,
    labelled: bool = True,
    drop_noisy: bool = True,
    partial_set: bool = False,
) -> Found | Datalist:
    """Write the key slices as 8-bit PNG in a window of HU, once, and their datalist, split by patient.

    Types are known for the published validation and test lists only, so these are put together and dealt anew by
    patient. A slice with lesions of several types has no single class and is left out.

    Args:
        root: the folder with the unpacked archives: `Images_png/000001_01_01/109.png`, or `.../000001_01_01_109.png`.
        csv: the table, a path in `root` or any other.
        window: "table" (the one that DICOM_windows gives for each slice) or the HU of black and white, such as
            `-175,275`. Read without it, the 16 bits would be stretched over the whole range of each slice.
        slices: folder for the 8-bit pictures, in `root` or any other (default: `key_slices_<window>`).
        labelled: false for pre-training: every key slice without its type, in the published lists.
        drop_noisy: leave out rows that the authors mark as possibly noisy.
        partial_set: leave out slices that are not there, and say how many; otherwise that is an error.

    Raises:
        InputError: the table or a slice is missing, a slice is not 16-bit, or a window that is none.
    """
    base = root.path
    limits = _limits(window)
    table = root.table(csv)
    rows = _key_slices(table, labelled, drop_noisy)
    said = window if isinstance(window, str) and limits is None else "_".join(f"{limit:g}" for limit in limits or ())
    unpacked = Unpacked(base, slices if slices is not None else f"key_slices_{said}", "slices")
    given = _unpack(root, table, rows, limits, unpacked, labelled, partial_set)
    if not labelled:
        return {**given, "modality": "CT", "description": f"{root.name}: key slices."}
    return Found([item for part in SECTIONS for item in given[part]], keys=common_keys("multi_class", TYPES, "CT"))


def _limits(window: str | tuple[float, float]) -> tuple[float, float] | None:
    """Black and white in HU, or None where the table says them.

    Raises:
        InputError: neither "table" nor two rising numbers.
    """
    if window == "table":
        return None
    try:
        low, high = (float(value) for value in (window.split(",") if isinstance(window, str) else window))
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise InputError(f"window is {window!r}; expected table, or the HU of black and white such as -175,275.")
    return low, high


def _key_slices(table: Table, labelled: bool, drop_noisy: bool) -> dict[str, tuple[Row, str]]:
    """File name -> its first row and its type ("" if not asked for)."""
    name, kind = table.column("File_name"), table.column("Coarse_lesion_type")
    noisy = table.column("Possibly_noisy") if drop_noisy else ""
    types: dict[str, set[str]] = {}
    first: dict[str, Row] = {}
    for row in table.rows:
        if drop_noisy and row.cells[noisy] not in ("", "0"):
            continue
        cell = row.cells[kind].removesuffix(".0")
        if cell not in {"-1", "", *map(str, range(1, len(TYPES) + 1))}:
            raise InputError(f"{table.path}: line {row.line} has the lesion type {cell!r}; expected -1 or 1 to 8.")
        first.setdefault(row.cells[name], row)
        types.setdefault(row.cells[name], set()).add(cell)
    if not labelled:
        return {file: (row, "") for file, row in first.items()}
    mixed = [file for file, found in types.items() if len(found) > 1]
    kept = {
        file: (row, next(iter(types[file])))
        for file, row in first.items()
        if len(types[file]) == 1 and not types[file] & {"-1", ""}
    }
    print(f"{len(kept)} of {len(first)} key slices have one known type; {len(mixed)} show several and are left out.")
    if not kept:
        raise InputError(f"{table.path}: no key slice has a known type; pass --labelled false for pre-training.")
    return kept


def _unpack(
    root: Root,
    table: Table,
    rows: dict[str, tuple[Row, str]],
    limits: tuple[float, float] | None,
    unpacked: Unpacked,
    labelled: bool,
    partial_set: bool,
) -> dict[str, list[Item]]:
    """The items of the published lists, their pictures written.

    Raises:
        InputError: a slice is missing, unless `partial_set`.
    """
    patient, part = table.column("Patient_index"), table.column("Train_Val_Test")
    windows = table.column("DICOM_windows") if limits is None else ""
    base = root.path
    files = [file for file in root.files() if not file.startswith("key_slices_")]
    finder = PictureFinder(pictures_in(files, base, None))
    given: dict[str, list[Item]] = {part: [] for part in SECTIONS}
    missing = []
    for name, (row, kind) in tqdm(rows.items(), desc="window", unit="slice"):
        series, _, number = name.rpartition("_")
        found = finder.find(name) or finder.find(f"{series}/{number}")
        if len(found) != 1:
            missing.append(name)
            continue
        low, high = limits if limits is not None else _row_window(table, row, windows)
        source = base / found[0]
        root.used.add(found[0])
        path = unpacked.add(name, partial(_windowed, source, low, high), source)
        item: Item = {"image": path, "patient_id": row.cells[patient]}
        if labelled:
            item["label"] = int(kind) - 1
        if row.cells[part] not in _LISTS:
            raise InputError(f"{table.path}: line {row.line} names the list {row.cells[part]!r}; expected 1, 2 or 3.")
        given[_LISTS[row.cells[part]]].append(item)
    settle_missing(missing, len(rows), base, partial_set, "key slices", "partial_set")
    return given


def _row_window(table: Table, row: Row, column: str) -> tuple[float, float]:
    """The window of a row, such as `-175, 275`; of several the first."""
    try:
        low, high = (float(value) for value in row.cells[column].strip("[]").split(",")[:2])
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise InputError(
            f"{table.path}: line {row.line} has the window {row.cells[column]!r}; expected black and white such as "
            "-175, 275, or give --window."
        )
    return low, high


def _windowed(source: Path, low: float, high: float) -> np.ndarray:
    """uint8 (H, W) of a 16-bit slice: `low` HU and below is black, `high` and above white.

    Raises:
        InputError: not a 16-bit grey picture.
    """
    try:
        with Image.open(source) as image:
            mode, stored = image.mode, np.asarray(image)
    except OSError as error:
        raise InputError(f"{source}: cannot be read as a picture ({error}); unpack it again.") from error
    if stored.ndim != 2 or stored.dtype == np.uint8:
        raise InputError(f"{source}: is a picture of mode {mode}, expected 16-bit grey (HU + {_ZERO}).")
    values = (stored.astype(np.float32) - _ZERO - low) / (high - low)
    return np.rint(255 * values.clip(0, 1)).astype(np.uint8)
