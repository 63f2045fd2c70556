"""Single objects, such as nuclei, on a whole slide: outlines from overlapping windows, each object once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from scipy.ndimage import find_objects
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .geojson import pieces

_SAME = 0.5  # share of the smaller of two outlines, within what both windows show, that the other one covers
_COMPLETE = 0.5  # share of an object that a window must show to speak for it


class Seen(NamedTuple):
    """An object as one window shows it.

    Attributes:
        outline: polygon, x and y at level 0.
        kind: its class.
        probability: of that class, mean over its pixels.
        tile: number of the window.
        depth: pixels of the window from its nearest border, beyond which the slide goes on; 0: it is cut there.
    """

    outline: shapely.Polygon
    kind: int
    probability: float
    tile: int
    depth: float


def objects_in(
    objects: np.ndarray,
    classes: np.ndarray,
    probability: np.ndarray,
    corner: tuple[float, float],
    scale: float,
    size: tuple[int, int],
    tile: int,
    min_size: int,
) -> list[Seen]:
    """The objects of one window; parts that touch at a corner alone are objects of their own.

    Args:
        objects: (S, S) their numbers, 0 is none.
        classes: (S, S) class of each pixel; an object has one.
        probability: (S, S) of that class.
        corner: row and column of the window at level 0.
        scale: pixels of level 0 along a pixel of the window.
        size: height and width of level 0.
        tile: number of the window.
        min_size: smaller parts are left out, pixels.
    """
    far = np.inf
    side = len(objects) * scale
    # Where the slide ends nothing is cut.
    before = [0.0 if start > 0 else -far for start in corner]
    behind = [float(len(objects)) if start + side < length else far for start, length in zip(corner, size, strict=True)]
    found = []
    for number, box in enumerate(find_objects(objects), start=1):
        if box is None:
            continue
        inside = objects[box] == number
        rows, columns = box
        depth = min(
            rows.start - before[0], columns.start - before[1], behind[0] - rows.stop, behind[1] - columns.stop
        )  # fmt: skip
        kind, mean = int(classes[box][inside][0]), float(probability[box][inside].mean())
        origin = np.array([columns.start, rows.start])
        for part in pieces(inside):
            if part.area >= min_size:
                placed = shapely.transform(part, lambda points, at=origin: (points + at) * scale + corner[::-1])
                found.append(Seen(placed, kind, mean, tile, float(depth)))
    return found


def merged(seen: Sequence[Seen], windows: np.ndarray) -> list[Seen]:
    """Every object once, although overlapping windows show it more than once, whole or cut.

    Two outlines are of one object where, within what both windows show, each other's smaller one is covered by half.
    Of one object the window that shows it whole, and furthest from its border, decides; where none does, as for a gland
    larger than a window, its parts are joined, and the largest tells the class.

    Args:
        seen: objects of all windows of a slide.
        windows: polygons (N,) of the windows at level 0, by their number.
    """
    if not seen:
        return []
    outlines, tiles = np.array([one.outline for one in seen], object), np.array([one.tile for one in seen])
    first, second = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    other = tiles[first] < tiles[second]
    first, second = first[other], second[other]
    parts = [
        shapely.area(shapely.intersection(outlines[mine], windows[tiles[theirs]]))
        for mine, theirs in ((first, second), (second, first))
    ]
    shared = shapely.area(shapely.intersection(outlines[first], outlines[second]))
    same = (shared > 0) & (shared >= _SAME * np.minimum(*parts))
    links = coo_array((np.ones(same.sum()), (first[same], second[same])), shape=(len(seen), len(seen)))
    groups = connected_components(links, directed=False)[1]
    order = np.argsort(groups, kind="stable")
    found = []
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        found += _one_version([seen[number] for number in members])
    return found


def _one_version(members: Sequence[Seen]) -> list[Seen]:
    if len(members) == 1:
        return list(members)
    whole = shapely.union_all([one.outline for one in members])
    versions = [[one for one in members if one.tile == tile] for tile in sorted({one.tile for one in members})]
    complete = [
        version
        for version in versions
        if min(one.depth for one in version) > 0 and sum(one.outline.area for one in version) >= _COMPLETE * whole.area
    ]
    if complete:
        return max(complete, key=lambda version: min(one.depth for one in version))
    largest = max(members, key=lambda one: one.outline.area)
    return [largest._replace(outline=part) for part in shapely.get_parts(whole) if part.geom_type == "Polygon"]
