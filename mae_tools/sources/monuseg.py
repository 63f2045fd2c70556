"""MoNuSeg (Kumar et al. 2017, 2020): 1000 x 1000 H&E tiles of several organs, each nucleus outlined in an XML file."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import shapely
from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from bundle_runtime.data.sequences import patient_of
from custom_components.errors import InputError
from PIL import Image
from tqdm import tqdm

from .lists import by_class
from .outlines import Outline, draw
from .pictures import is_picture
from .registry import Root, source
from .split import Found
from .unpack import Unpacked

CLASSES = ("background", "nucleus")


@source(split=by_class, fixed={"train_fraction": None, "per_class": False})
def monuseg(root: Root, masks: str | Path = "instance_masks") -> Found:
    """Draw the outlines as instance masks (16-bit PNG, once) and write the datalist.

    Pictures and the XML files of the same name may lie in any folders below `root`; what lies in a folder with `test`
    in its name is the test list. Validation is taken out of training by patient, the first 12 letters of a TCGA name.

    Args:
        root: the folder that holds the training and the test data.
        masks: folder for the masks, in `root` or any other.

    Raises:
        InputError: a tile without outlines or the reverse, an unreadable or foreign file, or a patient in both lists.
    """
    base = root.path
    unpacked = Unpacked(base, masks, "masks")
    pairs = _pairs(root, unpacked.folder)
    given: dict[str, list[Item]] = {"training": [], "validation": [], "test": []}
    for tile, outlines in tqdm(pairs, desc="draw masks", unit="tile"):
        make = partial(_mask, base / tile, base / outlines)
        label = unpacked.add(f"{Path(tile).stem}.png", make, base / outlines)
        item = {"image": tile, "label": label, "patient_id": patient_of(Path(tile).stem)}
        tested = any("test" in folder.lower() for folder in Path(tile).parts[:-1])
        given["test" if tested else "training"].append(item)
    keys = {"class_names": list(CLASSES), "mask_kind": "instance", "modality": "H&E"}
    return Found(given["training"], given if given["test"] else None, "MoNuSeg's test list", keys)


def read_outlines(path: str | Path) -> list[Outline]:
    """The outlines of an Aperio ImageScope file, as they are drawn: one that crosses itself is left so.

    Raises:
        InputError: no XML, or a corner without numbers.
    """
    try:
        tree = ElementTree.parse(path)
        regions = [
            [(float(vertex.attrib["X"]), float(vertex.attrib["Y"])) for vertex in region.iter("Vertex")]
            for region in tree.iter("Region")
        ]
        if not all(np.isfinite(region).all() for region in regions):
            raise ValueError("a corner is no number")
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: the outlines cannot be read ({error!r}); expected an XML file of Aperio ImageScope."
        ) from error
    if next(tree.iter("Regions"), None) is None and not regions:
        tags = sorted({element.tag for element in tree.iter()})
        raise InputError(
            f"{path}: its elements are {some(tags, 5)}, expected Regions, as Aperio ImageScope writes them; export "
            "the outlines in its format, or as masks for the source tiles_masks."
        )
    return [Outline(CLASSES[1], shapely.Polygon([*region, region[0]])) for region in regions if len(region) > 2]


def _mask(tile: Path, outlines: Path) -> np.ndarray:
    try:
        with Image.open(tile) as image:
            width, height = image.size
    except OSError as error:
        raise InputError(f"{tile}: cannot be read as a picture ({error}).") from error
    found = read_outlines(outlines)
    mask = draw(found, height, width)
    if found and not mask.any():
        raise InputError(
            f"{outlines}: all {len(found)} outlines lie outside the {height} x {width} pixels of {tile.name}."
        )
    return mask


def _pairs(root: Root, made: Path) -> list[tuple[str, str]]:
    """Tiles and their outlines, as paths from the data folder.

    Raises:
        InputError: there is none, one without the other, or two tiles of a name.
    """
    base = root.path
    files = [file for file in root.files() if made not in (root.path.absolute() / file).parents]
    pictures = list(filter(is_picture, files))
    tiles = {Path(file).stem: file for file in pictures}
    outlines = {Path(file).stem: file for file in files if file.lower().endswith(".xml")}
    if not tiles or not outlines:
        kinds = Counter(Path(file).suffix or "no ending" for file in files)
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no file"
        raise InputError(
            f"{base} holds {len(tiles)} pictures and {len(outlines)} XML files ({found}); expected a picture and the "
            "outlines of Aperio ImageScope for each tile."
        )
    if len(pictures) > len(tiles):
        raise InputError(f"{base} holds {len(pictures)} pictures with {len(tiles)} names; keep one of each.")
    for one, other, what in ((tiles, outlines, "no XML file"), (outlines, tiles, "no picture")):
        alone = sorted(set(one) - set(other))
        if alone:
            raise InputError(f"{base}: {len(alone)} files have {what} of the same name: {some(alone)}.")
    return [(tiles[stem], outlines[stem]) for stem in sorted(tiles)]
