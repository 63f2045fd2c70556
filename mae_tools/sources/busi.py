"""BUSI (Al-Dhabyani et al. 2020): 780 ultrasound pictures of the breast with one or more masks beside each."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from bundle_runtime.data.find import files_below, some
from custom_components.errors import InputError

from .pictures import own_patient
from .registry import source
from .segmented import write_masks_list
from .split import existing_folder
from .unpack import Unpacked

_FOLDERS = ("benign", "malignant", "normal")
_MASK = re.compile(r"(.+\(\d+\))_mask(?:_\d+)?\.png")
CLASSES = ("background", "lesion")


@source
def busi(
    root: str | Path,
    out: str | Path | None = None,
    masks: str | Path = "merged_masks",
    with_normal: bool = True,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    parity: bool = False,
) -> dict[str, Any]:
    """Write the datalist for segmentation of lesions; masks of a picture with several lesions are merged, once.

    For the three classes use `class_folder` with `exclude='*_mask*'`. The release names no patients.

    Args:
        root: the folder that holds benign, malignant and normal.
        out: the datalist to write (default: `<root>/datalist_masks.json`).
        masks: folder for the masks (0 and 1), in `root` or any other.
        with_normal: keep the pictures without a lesion, whose mask is empty.
        val_fraction: share of the pictures that selects.
        test_fraction: share that is read once, at the end.
        seed: deals the pictures.
        parity: what is tested also selects.

    Raises:
        InputError: a folder is missing, a picture has no mask, or a mask has another size.
    """
    base = existing_folder(root)
    absent = [name for name in _FOLDERS if not (base / name).is_dir()]
    if absent:
        raise InputError(f"{base} holds no folder {some(absent)}; give the one that holds {', '.join(_FOLDERS)}.")
    unpacked = Unpacked(base, masks, "masks")
    entries = []
    for name in _FOLDERS if with_normal else _FOLDERS[:2]:
        files = [f"{name}/{file}" for file in files_below(base / name, levels=0) if file.lower().endswith(".png")]
        drawn: dict[str, list[str]] = {}
        for file in files:
            if match := _MASK.fullmatch(file):
                drawn.setdefault(match[1], []).append(file)
        for file in tqdm([file for file in files if not _MASK.fullmatch(file)], desc=name, unit="picture"):
            if own_patient(file) not in drawn:
                raise InputError(f"{base / file}: there is no {Path(file).stem}_mask.png; unpack the release again.")
            parts = [base / part for part in drawn[own_patient(file)]]
            label = unpacked.add(file, partial(merged, base / file, parts), parts[0])
            entries.append({"image": file, "label": label, "patient_id": own_patient(file)})
    fractions = (val_fraction, test_fraction)
    target = out if out is not None else base / "datalist_masks.json"
    return write_masks_list(base, target, entries, None, CLASSES, "classes", "ultrasound", *fractions, seed, parity)


def merged(picture: Path, masks: list[Path]) -> np.ndarray:
    """Whether any of the masks covers a pixel, uint8 (H, W) of 0 and 1.

    Raises:
        InputError: a file cannot be read, or a mask has another size than the picture.
    """
    result = None
    for path in [picture, *masks]:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L")) > 127
        except OSError as error:
            raise InputError(f"{path}: cannot be read as a picture ({error}); unpack the release again.") from error
        if result is None:  # the picture itself says the size only
            result = np.zeros(pixels.shape, bool)
        elif pixels.shape != result.shape:
            size, expected = (" x ".join(map(str, shape)) for shape in (pixels.shape, result.shape))
            raise InputError(f"{path}: is {size} pixels, and {picture.name} {expected}; expected the same size.")
        else:
            result |= pixels
    assert result is not None
    return result.astype(np.uint8)
