"""MoNuSeg (Kumar et al. 2017, 2020): 1000 x 1000 H&E tiles of several organs, each nucleus outlined in an XML file."""

import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.draw import polygon
from tqdm import tqdm

from bundle_runtime.data.find import files_below, some
from bundle_runtime.data.schema import Item
from custom_components.errors import InputError

from .registry import source
from .segmented import write_masks_list
from .split import existing_folder
from .unpack import Unpacked

_TCGA_PATIENT = "TCGA-XX-XXXX"
CLASSES = ("background", "nucleus")


@source
def monuseg(
    root: str | Path,
    out: str | Path | None = None,
    masks: str | Path = "instance_masks",
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    parity: bool = False,
) -> dict[str, Any]:
    """Draw the outlines as instance masks (16-bit PNG, once) and write the datalist.

    TIFF files and the XML files of the same name may lie in any folders below `root`; what lies in a folder with `test`
    in its name is the test list. Validation is taken out of training by patient, the first 12 letters of a TCGA name.

    Args:
        root: the folder that holds the training and the test data.
        out: the datalist to write (default: `<root>/datalist.json`).
        masks: folder for the masks, in `root` or any other.
        val_fraction: share of the training patients that selects.
        test_fraction: share of the patients that is tested where there is no test folder.
        seed: chooses them.
        parity: what is tested also selects.

    Raises:
        InputError: a tile without outlines or outlines without a tile, an unreadable file, or a patient in both lists.
    """
    base = existing_folder(root)
    pairs = _pairs(base)
    unpacked = Unpacked(base, masks, "masks")
    given: dict[str, list[Item]] = {"training": [], "validation": [], "test": []}
    for tile, outlines in tqdm(pairs, desc="draw masks", unit="tile"):
        make = partial(_mask, base / tile, base / outlines)
        label = unpacked.add(f"{Path(tile).stem}.png", make, base / outlines)
        item = {"image": tile, "label": label, "patient_id": Path(tile).stem[: len(_TCGA_PATIENT)]}
        tested = any("test" in folder.lower() for folder in Path(tile).parts[:-1])
        given["test" if tested else "training"].append(item)
    return write_masks_list(
        base,
        out,
        given["training"],
        given if given["test"] else None,
        CLASSES,
        "instance",
        "H&E",
        val_fraction,
        test_fraction,
        seed,
        parity,
        "MoNuSeg's test list",
    )


def read_outlines(path: str | Path) -> list[np.ndarray]:
    """The outlines of an Aperio ImageScope file, each float (N, 2): rows and columns of its corners in pixels.

    Raises:
        InputError: no XML, or a corner without numbers.
    """
    try:
        tree = ElementTree.parse(path)
        regions = [
            np.array([(float(vertex.attrib["Y"]), float(vertex.attrib["X"])) for vertex in region.iter("Vertex")])
            for region in tree.iter("Region")
        ]
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: the outlines cannot be read ({error!r}); expected an XML file of Aperio ImageScope."
        ) from error
    return [region for region in regions if len(region) > 2]


def draw_instances(outlines: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Outlines as a mask, uint16 (H, W), numbered from 1 on in their order; what two share goes to the first.

    An outline's coordinates count from the upper left corner of the picture, so the middle of the first pixel is 0.5.
    An outline without any pixel takes no number.

    Raises:
        InputError: more objects than 16 bits can number.
    """
    mask = np.zeros((height, width), np.uint16)
    number = 0
    for outline in outlines:
        rows, columns = polygon(outline[:, 0] - 0.5, outline[:, 1] - 0.5, (height, width))
        free = mask[rows, columns] == 0
        if free.any():
            number += 1
            if number > np.iinfo(np.uint16).max:
                raise InputError(f"There are more than {number - 1} outlines, which is all that 16 bits can number.")
            mask[rows[free], columns[free]] = number
    return mask


def _mask(tile: Path, outlines: Path) -> np.ndarray:
    try:
        with Image.open(tile) as image:
            width, height = image.size
    except OSError as error:
        raise InputError(f"{tile}: cannot be read as a picture ({error}).") from error
    found = read_outlines(outlines)
    mask = draw_instances(found, height, width)
    if found and not mask.any():
        raise InputError(
            f"{outlines}: all {len(found)} outlines lie outside the {height} x {width} pixels of {tile.name}."
        )
    return mask


def _pairs(base: Path) -> list[tuple[str, str]]:
    """Tiles and their outlines, as paths from the data folder.

    Raises:
        InputError: there is none, one without the other, or two tiles of a name.
    """
    files = files_below(base)
    tiles = {Path(file).stem: file for file in files if file.lower().endswith((".tif", ".tiff"))}
    outlines = {Path(file).stem: file for file in files if file.lower().endswith(".xml")}
    if not tiles or not outlines:
        raise InputError(f"{base} holds {len(tiles)} TIFF and {len(outlines)} XML files; expected tiles and outlines.")
    count = sum(file.lower().endswith((".tif", ".tiff")) for file in files)
    if count > len(tiles):
        raise InputError(f"{base} holds {count} TIFF files with {len(tiles)} names; keep one of each.")
    for one, other, what in ((tiles, outlines, "no XML file"), (outlines, tiles, "no TIFF file")):
        alone = sorted(set(one) - set(other))
        if alone:
            raise InputError(f"{base}: {len(alone)} files have {what} of the same name: {some(alone)}.")
    return [(tiles[stem], outlines[stem]) for stem in sorted(tiles)]
