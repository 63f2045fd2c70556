"""Small NIfTI files, right or wrong on purpose, for the tests of the checks."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.verify import Problem

NAMES = ["background", "liver", "spleen"]


def save(
    path: Path,
    data: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    shape: tuple[int, ...] = (12, 10, 8),
    seed: int = 0,
) -> Path:
    """Write a volume (default: random int16) with 2 x 2 x 3 mm voxels in RAS."""
    if data is None:
        data = np.random.default_rng(seed).integers(-100, 200, shape).astype(np.int16)
    image = nib.Nifti1Image(data, np.diag([2.0, 2, 3, 1]) if affine is None else affine)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def label(*classes: int, shape: tuple[int, int, int] = (12, 10, 8), dtype: Any = np.uint8) -> np.ndarray:
    """Blocks of 4 x 4 x 4 voxels, one for each class, along the first axis."""
    data = np.zeros(shape, dtype)
    for index, value in enumerate(classes):
        data[4 * index : 4 * index + 4, 2:6, 2:6] = value
    return data


def pair(folder: Path, case: str = "a", image: dict[str, Any] | None = None, **drawn: Any) -> dict[str, Any]:
    """An item as `datalist.items` gives it, with both files written; `drawn` goes to the label's `save`."""
    drawn.setdefault("data", label(1, 2))
    item = {
        "image": str(save(folder / "img" / f"{case}.nii.gz", **(image or {}))),
        "label": str(save(folder / "lab" / f"{case}.nii.gz", **drawn)),
        "case": case,
        "patient_id": case,
        "unlabelled": [],
    }
    return {**item, "file": item["image"]}


def datalist(folder: Path, **sections: list[dict[str, Any]]) -> Path:
    """Write a datalist of such items."""
    kept = {"image", "label", "patient_id", "unlabelled"}
    content: dict[str, Any] = {
        section: [{key: value for key, value in item.items() if key in kept} for item in items]
        for section, items in sections.items()
    }
    path = folder / "datalist.json"
    path.write_text(json.dumps({**content, "class_names": NAMES}))
    return path


def problems(item: dict[str, Any], **expected: Any) -> list[Problem]:
    """What a run says of an item when it is loaded, by default with the class names of this file."""
    return LoadVolumesd(**{"class_names": NAMES, **expected}).look(item)[1].problems


def only(item: dict[str, Any], level: str, sentence: str, **expected: Any) -> None:
    """The item has exactly one problem, of this level, that names its file and matches the sentence."""
    found = problems(item, **expected)
    assert [problem.level for problem in found] == [level], found
    assert re.search(sentence, str(found[0])), str(found[0])
