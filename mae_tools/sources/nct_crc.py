"""NCT-CRC-HE-100K and CRC-VAL-HE-7K (Kather et al. 2019): H&E tiles of nine tissues, the second set for testing."""

from pathlib import Path
from typing import Any

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from custom_components.errors import InputError

from .lists import common_keys, deal_lists
from .pictures import is_picture, own_patient
from .registry import Root, source

# Tiles of each class in the training and in the test set, as published.
_COUNTS = {
    "ADI": (10407, 1338),
    "BACK": (10566, 847),
    "DEB": (11512, 339),
    "LYM": (11557, 634),
    "MUC": (8896, 1035),
    "MUS": (13536, 592),
    "NORM": (8763, 741),
    "STR": (10446, 421),
    "TUM": (14317, 1233),
}
_SETS = ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")


@source
def nct_crc(
    root: Root,
    drop_background: bool = False,
    training: str = _SETS[0],
    test: str = _SETS[1],
    val_fraction: float = 0.1,
    seed: int = 0,
    parity: bool = False,
    counts: bool = True,
) -> dict[str, Any]:
    """Write the datalist of the two sets, each a folder a class: validation is taken out of the larger, 7K is tested.

    The names of the tiles tell no slide or patient, so tiles of one slide train and select; only the test set, which
    is of other patients, is independent.

    Args:
        root: the folder that holds both.
        drop_background: leave out BACK, as SD-MAE does (eight classes, 89,434 and 6,333 tiles).
        training: the folder of the larger set; NCT-CRC-HE-100K-NONORM is that without stain normalisation.
        test: the folder of the smaller.
        val_fraction: share of the tiles of each class that selects.
        seed: chooses them.
        parity: the papers' own use: the test set also selects.
        counts: check the tiles of each class against the published numbers; false for a subset.

    Raises:
        InputError: a folder is missing or unknown, or the counts differ.
    """
    base = root.path
    names = [name for name in _COUNTS if not (drop_background and name == "BACK")]
    found = [_tiles(root, folder) for folder in (training, test)]
    if counts:
        _check_counts(base, (training, test), found)
    entries = [
        [
            {"image": file, "label": names.index(name), "patient_id": own_patient(file)}
            for name in names
            for file in by_class[name]
        ]
        for by_class in found
    ]
    print("The tiles name no slide: tiles of one slide may train and select, so the validation score flatters.")
    given: dict[str, list[Item]] = {"training": entries[0], "validation": [], "test": entries[1]}
    lists, said = deal_lists([], given, val_fraction, 0, seed, True, parity, f"{test} is tested")
    datalist = {**common_keys("multi_class", names, "H&E"), **lists}
    datalist["description"] = f"{root.name}: {said}{', without BACK' if drop_background else ''}."
    return datalist


def _tiles(root: Root, folder: str) -> dict[str, list[str]]:
    """Class -> its tiles, as paths from the data folder.

    Raises:
        InputError: the folder or one of a class is missing, or there are others.
    """
    base, place = root.path, root.path / folder
    if not place.is_dir():
        inside = some(root.folders()) or "no folder"
        raise InputError(f"{base} holds {inside}; expected the folder {folder}, unpack it there or name it.")
    classes = root.folders(folder)
    if classes != sorted(_COUNTS):
        raise InputError(f"{place} holds the folders {some(classes, 12)}; expected {', '.join(_COUNTS)}.")
    return {name: list(filter(is_picture, root.files(f"{folder}/{name}"))) for name in classes}


def _check_counts(base: Path, folders: tuple[str, str], found: list[dict[str, list[str]]]) -> None:
    """Compare with the published numbers.

    Raises:
        InputError: the first class that differs, and how many do.
    """
    problems = [
        f"{folders[part]}/{name} holds {len(found[part][name])} tiles, expected {published[part]}"
        for part in range(2)
        for name, published in _COUNTS.items()
        if len(found[part][name]) != published[part]
    ]
    if problems:
        more = f" (and {len(problems) - 1} more classes differ)" if len(problems) > 1 else ""
        raise InputError(f"{base}: {problems[0]}{more}; unpack again, or pass --counts false for a subset.")
