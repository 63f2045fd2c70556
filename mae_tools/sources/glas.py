"""GlaS (Sirinukunwattana et al. 2017): H&E of colon with every gland drawn, 85 training and 80 test pictures."""

import re
from pathlib import Path

from bundle_runtime.data.schema import Item
from bundle_runtime.data.tables import Table
from custom_components.errors import InputError

from .lists import by_class, refuse_counts
from .registry import Root, source
from .split import Found

_NAME = re.compile(r"(train|testA|testB)_(\d+)\.bmp")
_COUNTS = {"train": 85, "testA": 60, "testB": 20}
CLASSES = ("background", "gland")


@source(split=by_class, fixed={"test_fraction": 0, "train_fraction": None, "per_class": False})
def glas(root: Root, counts: bool = True) -> Found:
    """Write the datalist of `train_*.bmp`, `testA_*.bmp`, `testB_*.bmp` and their `*_anno.bmp` (a number a gland).

    Both test parts are tested; validation is taken out of training by patient, whom `Grade.csv` names.

    Args:
        root: the folder of the release; the files may lie anywhere below it.
        counts: check that there are 85, 60 and 20 pictures; false for a subset.

    Raises:
        InputError: pictures or masks are missing, or patients are in both lists.
    """
    keys = {"class_names": list(CLASSES), "mask_kind": "instance", "modality": "H&E"}
    return Found(given=_given(root, counts), origin="test parts A and B are tested", keys=keys)


def _given(root: Root, counts: bool) -> dict[str, list[Item]]:
    """The published lists.

    Raises:
        InputError: a mask is missing, Grade.csv lacks a picture, or there are not as many as published.
    """
    base = root.path
    files: dict[str, str] = {}
    for file in root.files():
        name = file.rpartition("/")[2]
        if files.setdefault(name, file) != file and _NAME.fullmatch(name):
            raise InputError(f"{base}: {files[name]} and {file} have the same name; keep one of them.")
    patients = _patients(base, files)
    given: dict[str, list[Item]] = {"training": [], "validation": [], "test": []}
    found = dict.fromkeys(_COUNTS, 0)
    for name in sorted(files):
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        stem = name.removesuffix(".bmp")
        mask = f"{stem}_anno.bmp"
        if mask not in files:
            raise InputError(f"{base / files[name]}: there is no {mask}; unpack the release again.")
        if patients and stem not in patients:
            raise InputError(f"{base / files['Grade.csv']}: names no patient for {stem}.")
        found[match[1]] += 1
        part = "training" if match[1] == "train" else "test"
        item = {"image": files[name], "label": files[mask], "patient_id": patients.get(stem, stem)}
        given[part].append(item)
    differing = [
        f"{count} pictures {part}_*.bmp, expected {_COUNTS[part]}"
        for part, count in found.items()
        if count != _COUNTS[part]
    ]
    refuse_counts(base, differing if counts or not given["training"] else [])
    return given


def _patients(base: Path, files: dict[str, str]) -> dict[str, str]:
    """Picture -> patient; {} without `Grade.csv`, which is said."""
    if "Grade.csv" not in files:
        print("Grade.csv is not there: every picture counts as a patient of its own.")
        return {}
    table = Table(base / files["Grade.csv"])
    return table.mapping(("name",), ("patient ID", "patient"))
