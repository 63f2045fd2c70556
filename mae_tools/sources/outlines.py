"""Outlines of annotation tools, GeoJSON (QuPath), COCO and LabelMe, drawn as the masks of pictures."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from bundle_runtime.data.find import files_below, some
from bundle_runtime.data.image_file import read_picture
from bundle_runtime.data.schema import SECTIONS
from bundle_runtime.slides.geojson import UNCLASSIFIED, polygons, read_features, rings_of
from custom_components.errors import InputError
from skimage.draw import polygon
from tqdm import tqdm

from .pictures import PictureFinder, excluder
from .registry import Root
from .unpack import Unpacked

_SUFFIXES = (".json", ".geojson")
_CIRCLE = 16  # segments of a quarter
_MOST = np.iinfo(np.uint16).max


class Outline(NamedTuple):
    """One object.

    Attributes:
        name: its class.
        shape: its polygons, x and y in pixels from the upper left corner of the picture.
    """

    name: str
    shape: shapely.Geometry


class Sheet(NamedTuple):
    """The outlines of one picture.

    Attributes:
        file: that says them.
        pictures: what it calls the picture; the first that is there counts.
        size: height and width of the picture, where the file says it.
        outlines: the objects.
        left_out: how many outlines have no area: points, lines, fewer than three corners.
        kinds: the classes that the file tells, drawn or not.
        cells: how many of QuPath have an outline of their nucleus too, which is not taken.
    """

    file: Path
    pictures: list[str]
    size: tuple[int, int] | None
    outlines: list[Outline]
    left_out: int
    kinds: frozenset[str]
    cells: int = 0


def read_sheets(place: Path) -> list[Sheet]:
    """Everything that a file, or the files of a folder with its subfolders, outline; the file's content tells its kind.

    Raises:
        InputError: there is none, or one that cannot be read.
    """
    if not place.exists():
        raise InputError(f"{place}: does not exist; name a file or a folder of GeoJSON, COCO or LabelMe.")
    files = [place] if place.is_file() else [place / name for name in files_below(place)]
    base = place.parent if place.is_file() else place
    listed = [file for file in files if file.suffix.lower() in _SUFFIXES]
    found = [sheet for file in listed for sheet in _sheets(file, file.relative_to(base).with_suffix("").as_posix())]
    if not found:
        raise InputError(f"{place}: holds no outlines ({', '.join(_SUFFIXES)}) of GeoJSON, COCO or LabelMe.")
    return found


def _sheets(file: Path, name: str) -> list[Sheet]:
    """What one file outlines; of `name`, its path, the picture is called where one picture has the file for itself."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error}); export the outlines again.") from error
    keys: set[str] = set(content) if isinstance(content, dict) else set()
    try:
        if keys >= {"images", "annotations"}:
            return _coco(file, content)
        if "shapes" in keys:
            return [_labelme(file, name, content)]
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise InputError(f"{file}: is damaged ({type(error).__name__}: {error}); export the outlines again.") from error
    if keys >= set(SECTIONS):
        return []  # a datalist
    if isinstance(content, dict) and not keys & {"features", "geometry", "coordinates", "geometries"}:
        raise InputError(f"{file}: holds {some(sorted(keys), 5)}, which is neither GeoJSON nor COCO nor LabelMe.")
    outlines: list[Outline] = []
    left_out, kinds = 0, set[str]()
    for kind, geometry in read_features(file, content):
        left_out += _add(outlines, kind, geometry)
        kinds.add(kind)
    listed = content if isinstance(content, list) else content.get("features", [])
    cells = sum(bool(entry.get("nucleusGeometry")) for entry in listed)
    return [Sheet(file, [name, file.stem], None, outlines, left_out, frozenset(kinds), cells)]


def _coco(file: Path, content: dict[str, Any]) -> list[Sheet]:
    names = {entry["id"]: str(entry["name"]) for entry in content.get("categories", [])}
    sheets = {
        entry["id"]: Sheet(
            file, [str(entry["file_name"])], _size(entry, "height", "width"), [], 0, frozenset(names.values())
        )
        for entry in content["images"]
    }
    for entry in content["annotations"]:
        drawn = entry.get("segmentation")
        if isinstance(drawn, dict):
            raise InputError(f"{file}: annotation {entry.get('id')} holds run lengths; export its outline as polygons.")
        if entry["image_id"] not in sheets or entry.get("category_id") not in names:
            raise InputError(f"{file}: annotation {entry.get('id')} is of an image or category that the file lacks.")
        parts = [_polygon(np.reshape(part, (-1, 2))) for part in drawn or []]
        sheet = sheets[entry["image_id"]]
        missing = _add(sheet.outlines, names[entry["category_id"]], shapely.union_all(parts))
        sheets[entry["image_id"]] = sheet._replace(left_out=sheet.left_out + missing)
    return list(sheets.values())


def _labelme(file: Path, called: str, content: dict[str, Any]) -> Sheet:
    objects: dict[Any, list[shapely.Geometry]] = {}
    for number, entry in enumerate(content["shapes"]):
        points = np.reshape(np.array(entry["points"], float), (-1, 2))
        kind = entry.get("shape_type") or "polygon"
        shape = shapely.Polygon()
        if kind == "polygon":
            shape = _polygon(points)
        elif kind == "rectangle":
            shape = shapely.box(*points.min(axis=0), *points.max(axis=0))
        elif kind == "circle":
            shape = shapely.Point(points[0]).buffer(math.dist(*points[:2]), quad_segs=_CIRCLE)
        elif kind not in ("point", "line", "linestrip", "points"):
            raise InputError(f"{file}: shape {number} is a {kind}; draw it as polygon, rectangle or circle.")
        group = entry.get("group_id")  # parts of one object share it
        objects.setdefault((entry["label"], number if group is None else f"group {group}"), []).append(shape)
    outlines: list[Outline] = []
    missing = sum(_add(outlines, str(name), shapely.union_all(parts)) for (name, _), parts in objects.items())
    said = str(content.get("imagePath") or "").replace("\\", "/").removeprefix("../")
    names = [called, file.stem, *([said] if said else [])]
    kinds = frozenset(str(name) for name, _ in objects)
    return Sheet(file, names, _size(content, "imageHeight", "imageWidth"), outlines, missing, kinds)


def _size(entry: dict[str, Any], height: str, width: str) -> tuple[int, int] | None:
    return (int(entry[height]), int(entry[width])) if entry.get(height) and entry.get(width) else None


def _polygon(points: np.ndarray) -> shapely.Geometry:
    """A polygon of corners (N, 2), closed or not; an empty one of fewer than three."""
    return polygons(shapely.Polygon(points)) if len(points) > 2 else shapely.Polygon()


def _add(outlines: list[Outline], name: str, shape: shapely.Geometry) -> bool:
    """Add an object, and return whether it is left out for want of an area."""
    shape = polygons(shape)
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise ValueError(f"an outline of {name!r} has corners that are not numbers")
    if shape.area > 0:
        outlines.append(Outline(name, shape))
    return shape.area <= 0


def draw(outlines: Sequence[Outline], height: int, width: int, values: dict[str, int] | None = None) -> np.ndarray:
    """Outlines as a mask, uint16 (H, W); the middle of the first pixel is at 0.5, and what lies outside is cut off.

    Args:
        outlines: of one picture.
        height: of it, in pixels.
        width: likewise.
        values: number of each class; smaller objects lie over larger ones. None numbers objects from 1 on in their
            order, without those that cover no pixel; what two share goes to the first.

    Raises:
        InputError: more objects than 16 bits can number.
    """
    mask = np.zeros((height, width), np.uint16)
    number = 0
    ordered = outlines if values is None else sorted(outlines, key=lambda one: -one.shape.area)
    for one in ordered:
        rows, columns = _within(one.shape, height, width)
        window = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        if not window.size:
            continue
        for part in shapely.get_parts(one.shape):
            filled = np.zeros_like(window)
            for hole, ring in enumerate(rings_of(part)):
                # Of the corners of a pixel only its middle counts.
                place = polygon(ring[:, 1] - 0.5 - rows.start, ring[:, 0] - 0.5 - columns.start, window.shape)
                filled[place] = not hole
            window |= filled
        part_of_mask = mask[rows, columns]
        if values is not None:
            part_of_mask[window] = values[one.name]
        elif (free := window & (part_of_mask == 0)).any():
            number += 1
            if number > _MOST:
                raise InputError(f"There are more than {_MOST} outlines, which is all that 16 bits can number.")
            part_of_mask[free] = number
    return mask


def _within(shape: shapely.Geometry, height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns of a picture that a shape may touch."""
    left, top, right, bottom = shape.bounds
    rows = slice(min(max(math.floor(top), 0), height), min(max(math.ceil(bottom), 0), height))
    return rows, slice(min(max(math.floor(left), 0), width), min(max(math.ceil(right), 0), width))


def masks_of(
    root: Root, place: str | Path, folder: str | Path, pictures: Sequence[str], class_names: Sequence[str] | None
) -> tuple[dict[str, str], list[str], str]:
    """Draw the masks of pictures, as 16-bit PNG files.

    Args:
        root: the data folder.
        place: file or folder of the outlines, in it or anywhere.
        folder: for the masks, likewise.
        pictures: paths from the data folder.
        class_names: background first; None: the names that occur.

    Returns:
        Picture -> mask, the class names, and the kind of the masks.

    Raises:
        InputError: a picture without outlines or the reverse, two files for one picture, an unknown class, or outlines
            that belong to a picture of another size.
    """
    base = root.path
    where = base / place if (base / place).exists() else Path(place)
    sheets = _matched(read_sheets(where), pictures, excluder(root), where)
    drawn = [one.name for sheet in sheets.values() for one in sheet.outlines]
    left_out = sum(sheet.left_out for sheet in sheets.values())
    if left_out and not drawn:
        raise InputError(
            f"{where}: none of its {left_out} outlines has an area (points, lines or boxes alone); export polygons."
        )
    told = frozenset[str]().union(*(sheet.kinds for sheet in sheets.values()))
    names, values = _classes(drawn, told, class_names, where)
    unpacked = Unpacked(base, folder, "masks", renew=True)  # other class names make other masks
    made, outside = {}, 0
    for picture, sheet in tqdm(sorted(sheets.items()), desc="draw masks", unit="picture"):
        height, width = read_picture(base / picture).pixels.shape[1:]
        if sheet.size not in (None, (height, width)):
            raise InputError(
                f"{sheet.file}: says that {picture} has {sheet.size[0]} x {sheet.size[1]} pixels, and it has "
                f"{height} x {width}; export the outlines of this picture."
            )
        mask = draw(sheet.outlines, height, width, values)
        frame = shapely.box(0, 0, width, height)
        outside += sum(not one.shape.intersects(frame) for one in sheet.outlines)
        if sheet.outlines and not mask.any():
            raise InputError(
                f"{sheet.file}: all {len(sheet.outlines)} outlines lie outside the {height} x {width} pixels of "
                f"{picture}; they must count pixels of that picture."
            )
        made[picture] = unpacked.add(f"{Path(picture).with_suffix('')}.png", partial(np.copy, mask), sheet.file)
    for count, what in ((left_out, "have no area"), (outside, "lie outside")):
        if count:
            print(f"{count} outline(s) {what} and are left out.")
    if cells := sum(sheet.cells for sheet in sheets.values()):
        print(f"{cells} cell(s) of QuPath are drawn by the outline of the cell, not by that of the nucleus in it.")
    return made, names, "instance" if values is None else "classes"


def _matched(
    sheets: Iterable[Sheet], pictures: Sequence[str], hidden: Callable[[str], bool], where: Path
) -> dict[str, Sheet]:
    """Picture -> its outlines, but for those of pictures that are `hidden`."""
    finder, unknown = PictureFinder(pictures), list[str]()
    found: dict[str, Sheet] = {}
    for sheet in sheets:
        names = next((fitting for name in sheet.pictures if (fitting := finder.find(name)) or hidden(name)), None)
        if names is None:
            unknown.append(f"{sheet.pictures[-1]} ({sheet.file.name})")
        if not names:
            continue
        if len(names) > 1 or names[0] in found:
            other = f" as does {found[names[0]].file}" if names[0] in found else ""
            raise InputError(f"{sheet.file}: outlines {some(names)}{other}; every picture needs one set of outlines.")
        found[names[0]] = sheet
    alone = [picture for picture in pictures if picture not in found]
    for files, what in ((unknown, "pictures that are outlined are not there"), (alone, "pictures have no outlines")):
        if files:
            raise InputError(f"{where}: {len(files)} {what}: {some(files)}; add them, or leave them out (--exclude).")
    return found


def _classes(
    drawn: Sequence[str], told: Collection[str], given: Sequence[str] | None, where: Path
) -> tuple[list[str], dict[str, int] | None]:
    """Class names, background first, and the number of each; None where there is one, and objects are numbered.

    The only class that the files tell may be called otherwise; one of several is that class alone.
    """
    found = sorted(set(drawn))
    if given is None and UNCLASSIFIED in found:
        raise InputError(f"{where}: some outlines have no class; give --class_names, or classify them.")
    names = ["background", *(name for name in found if name != "background")] if given is None else list(given)
    if len(names) == 2 and len(found) <= 1 and (set(found) <= {names[1]} or len(told) == 1):
        if found and found[0] not in (names[1], UNCLASSIFIED):
            print(f"Outlines of class {found[0]} are taken for {names[1]}, the only class there is.")
        return names, None
    unknown = [name for name in found if name not in names]
    if unknown:
        raise InputError(f"{where}: outlines are of class {some(unknown)}, and class_names are {', '.join(names)}.")
    return names, {name: number for number, name in enumerate(names)}
