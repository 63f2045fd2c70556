"""NCT-CRC-HE-100K and CRC-VAL-HE-7K (Kather et al. 2019): H&E tiles of nine tissues, the second set for testing."""

from pathlib import Path

from bundle_runtime.data.find import some
from custom_components.errors import InputError

from .lists import by_class, common_keys, refuse_counts
from .pictures import is_picture, own_patient
from .registry import Root, source
from .split import Found

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


@source(split=by_class, fixed={"test_fraction": 0, "train_fraction": None, "per_class": True}, val_fraction=0.1)
def nct_crc(
    root: Root, drop_background: bool = False, training: str = _SETS[0], test: str = _SETS[1], counts: bool = True
) -> Found:
    """Write the datalist of the two sets, each a folder a class: validation is taken out of the larger, 7K is tested.

    The names of the tiles tell no slide or patient, so tiles of one slide train and select; only the test set, which
    is of other patients, is independent.

    Args:
        root: the folder that holds both.
        drop_background: leave out BACK, as SD-MAE does (eight classes, 89,434 and 6,333 tiles).
        training: the folder of the larger set; NCT-CRC-HE-100K-NONORM is that without stain normalisation.
        test: the folder of the smaller.
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
    return Found(
        given={"training": entries[0], "validation": [], "test": entries[1]},
        origin=f"{test} is tested",
        keys=common_keys("multi_class", names, "H&E"),
        said="{}, without BACK" if drop_background else "{}",
    )


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
    refuse_counts(base, problems)
