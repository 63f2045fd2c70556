"""BUSI (Al-Dhabyani et al. 2020): 780 ultrasound pictures of the breast with one or more masks beside each."""

import re
from functools import partial
from pathlib import Path

import numpy as np
from bundle_runtime.data.find import some
from bundle_runtime.data.image_file import read_bytes
from bundle_runtime.data.mask_file import class_map, decode_mask
from custom_components.errors import InputError
from PIL import Image
from tqdm import tqdm

from .lists import by_class
from .pictures import is_picture, own_patient
from .registry import Root, source
from .split import Found
from .unpack import Unpacked

_FOLDERS = ("benign", "malignant", "normal")
_MASK = re.compile(r"(.+)_mask(?:_\d+)?")
_MASK_FOLDERS = {"mask", "masks", "label", "labels"}
CLASSES = ("background", "lesion")


@source(split=by_class, fixed={"crossing": "refuse", "per_class": False}, out_name="datalist_masks.json")
def busi(root: Root, masks: str | Path = "merged_masks", with_normal: bool = True) -> Found:
    """Write the datalist for segmentation of lesions; masks of a picture with several lesions are merged, once.

    Masks lie beside the pictures, as in the release, or in a folder mask or masks. For the three classes use
    `class_folder` with `exclude='*mask*'`. The release names no patients.

    Args:
        root: the folder that holds benign, malignant and normal.
        masks: folder for the masks (0 and 1), in `root` or any other.
        with_normal: keep the pictures without a lesion, whose mask is empty.

    Raises:
        InputError: a folder is missing, a picture has no mask, or a mask has another size.
    """
    base = root.path
    absent = [name for name in _FOLDERS if not (base / name).is_dir()]
    if absent:
        raise InputError(f"{base} holds no folder {some(absent)}; give the one that holds {', '.join(_FOLDERS)}.")
    unpacked = Unpacked(base, masks, "masks")
    entries = []
    for name in _FOLDERS if with_normal else _FOLDERS[:2]:
        for file, parts in tqdm(_drawn(root, name).items(), desc=name, unit="picture"):
            root.used.update(parts)
            label = unpacked.add(file, partial(merged, base / file, [base / part for part in parts]), base / parts[0])
            entries.append({"image": file, "label": label, "patient_id": own_patient(file)})
    return Found(entries, keys={"class_names": list(CLASSES), "mask_kind": "classes", "modality": "ultrasound"})


def _drawn(root: Root, name: str) -> dict[str, list[str]]:
    """Picture -> its masks, of one class.

    Raises:
        InputError: no picture, a picture without a mask, or a mask without a picture.
    """
    pictures: dict[str, str] = {}
    drawn: dict[str, list[str]] = {}
    for file in filter(is_picture, root.files(name)):
        *folders, last = own_patient(file).split("/")
        match = _MASK.fullmatch(last)
        if match or _MASK_FOLDERS & {folder.lower() for folder in folders}:
            drawn.setdefault(match[1] if match else last, []).append(file)
        elif pictures.setdefault(last, file) != file:
            raise InputError(f"{root.path}: {pictures[last]} and {file} have the same name; keep one of them.")
    if not pictures:
        raise InputError(f"{root.path / name}: holds no picture; unpack the release again.")
    for stem, file in pictures.items():
        if stem not in drawn:
            raise InputError(
                f"{root.path / file}: there is no {stem}_mask.png beside it or in a folder of masks; unpack the "
                "release again."
            )
    alone = [file for stem, files in drawn.items() if stem not in pictures for file in files]
    if alone:
        raise InputError(f"{root.path}: no picture goes with the mask(s) {some(alone, 3)}; unpack the release again.")
    return {file: drawn[stem] for stem, file in pictures.items()}


def merged(picture: Path, masks: list[Path]) -> np.ndarray:
    """Whether any of the masks covers a pixel, uint8 (H, W) of 0 and 1.

    Raises:
        InputError: a file cannot be read, or a mask is not binary or has another size than the picture.
    """
    try:
        with Image.open(picture) as image:
            result = np.zeros(image.size[::-1], np.uint8)
    except OSError as error:
        raise InputError(f"{picture}: cannot be read as a picture ({error}); unpack the release again.") from error
    for path in map(str, masks):
        drawn = class_map(decode_mask(path, read_bytes(path)), "binary", len(CLASSES), path)
        if drawn.shape != result.shape:
            size, expected = (" x ".join(map(str, shape)) for shape in (drawn.shape, result.shape))
            raise InputError(f"{path}: is {size} pixels, and {picture.name} {expected}; expected the same size.")
        result |= drawn
    return result
