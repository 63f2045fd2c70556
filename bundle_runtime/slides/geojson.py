"""GeoJSON as QuPath writes and reads it: pixels of level 0, x to the right, y down; class, colour and measurements.

The structure is that of RFC 7946 (closed rings, the outer one first and of positive area in x and y, holes the other
way round); that coordinates are pixels and not degrees is the prior arrangement that its section 4 allows. Properties
are those that QuPath's documentation names: `objectType`, `classification` (`name`, `color`), `measurements`.
"""

import json
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import shapely
from custom_components.errors import InputError

from ..files import write_atomically

UNCLASSIFIED = "unclassified"


class Shape(NamedTuple):
    """Something that was marked on a slide.

    Attributes:
        name: its class.
        rings: float (n, 2), x and y: the outline and then its holes; a point is one ring of one row.
    """

    name: str
    rings: list[np.ndarray]

    @property
    def is_point(self) -> bool:
        """Whether it is a point."""
        return len(self.rings) == 1 and len(self.rings[0]) == 1


def read_shapes(path: str | Path) -> list[Shape]:
    """Points and polygons of a GeoJSON file; the parts of a multi-part geometry one by one.

    Raises:
        InputError: unreadable, not GeoJSON, or a geometry that is neither points nor polygons.
    """
    shapes: list[Shape] = []
    for name, geometry in read_features(path):
        for part in shapely.get_parts(geometry):
            if part.geom_type == "Point":
                shapes.append(Shape(name, [shapely.get_coordinates(part)]))
            else:
                shapes += [Shape(name, rings_of(piece)) for piece in shapely.get_parts(polygons(part))]
    return shapes


def read_features(path: str | Path, content: Any = None) -> list[tuple[str, shapely.Geometry]]:
    """Class and geometry of each feature of a GeoJSON file, x and y alone.

    Args:
        path: the file.
        content: what it holds, where that was read before.

    Raises:
        InputError: see `read_shapes`.
    """
    if content is None:
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: the annotation cannot be read as GeoJSON ({error}).") from error
    if isinstance(content, list):  # QuPath can write the features alone
        features = content
    elif isinstance(content, dict):
        features = content.get("features", [content])
    else:
        features = [None]
    found = []
    for number, feature in enumerate(features):
        try:
            found.append(_feature_of(feature))
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            raise InputError(
                f"{path}: feature {number} is no point or polygon of GeoJSON ({type(error).__name__}: {error}); "
                "export the annotations as GeoJSON from QuPath."
            ) from error
    return found


def _feature_of(feature: Mapping[str, Any]) -> tuple[str, shapely.Geometry]:
    geometry = feature["geometry"] if feature.get("type") == "Feature" else feature
    properties = feature.get("properties") or {}
    name = (properties.get("classification") or {}).get("name") or UNCLASSIFIED
    shape = shapely.force_2d(shapely.geometry.shape(geometry))
    parts = shapely.get_parts(shape)
    if not len(parts) or shapely.is_empty(parts).any() or not np.isfinite(shapely.get_coordinates(parts)).all():
        raise ValueError("it has no coordinates, or some that are not numbers")
    for part in parts:
        if part.geom_type not in ("Point", "Polygon"):
            raise ValueError(f"it is a {part.geom_type}")
    return name, shape


def polygons(shape: shapely.Geometry) -> shapely.MultiPolygon:
    """What of a geometry has an area; a polygon that crosses itself becomes several that do not."""
    parts = [
        piece if piece.is_valid else shapely.make_valid(piece, method="structure", keep_collapsed=False)
        for piece in shapely.get_parts(shape)
        if piece.geom_type == "Polygon"
    ]
    return shapely.MultiPolygon([piece for part in parts for piece in shapely.get_parts(part) if not piece.is_empty])


def rings_of(polygon: shapely.Polygon) -> list[np.ndarray]:
    """The closed rings of a polygon, float (n, 2): its outline, then its holes."""
    return [np.array(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]


def pieces(mask: np.ndarray) -> list[shapely.Polygon]:
    """Polygons of the cells of a mask, one of those that touch at their sides; x and y, along the edges of the cells.

    Where two cells touch at a corner alone, two rings meet there; none passes a corner twice, which GEOS and QuPath
    refuse.

    Args:
        mask: bool (H, W).
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    after = np.nonzero(edges == -1)[1]
    return list(shapely.get_parts(shapely.union_all(shapely.box(first, rows, after, rows + 1)).simplify(0)))


def point_feature(
    x: float, y: float, name: str, colour: Sequence[int], measurements: Mapping[str, float]
) -> dict[str, Any]:
    """A detected point."""
    geometry = {"type": "Point", "coordinates": [round(x, 2), round(y, 2)]}
    return _feature(geometry, name, colour, measurements)


def polygon_feature(
    rings: Sequence[np.ndarray],
    name: str,
    colour: Sequence[int],
    measurements: Mapping[str, float],
    kind: str = "annotation",
) -> dict[str, Any]:
    """A region: its outline, then its holes.

    Args:
        rings: (n, 2) x and y each, open or closed; turned round where RFC 7946 wants it.
        name: the class.
        colour: red, green, blue, 0 to 255.
        measurements: by name.
        kind: QuPath's type of object; of "detection" it holds millions, of "annotation" it does not.
    """
    polygon = shapely.orient_polygons(shapely.Polygon(rings[0], rings[1:]))
    coordinates = [_from_the_top(ring) for ring in rings_of(polygon)]
    return _feature({"type": "Polygon", "coordinates": coordinates}, name, colour, measurements, kind)


def _feature(
    geometry: dict[str, Any],
    name: str,
    colour: Sequence[int],
    measurements: Mapping[str, float],
    kind: str = "annotation",
) -> dict[str, Any]:
    finite = {key: float(value) for key, value in measurements.items() if math.isfinite(value)}
    text = json.dumps([geometry, name, finite])
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, text)),  # QuPath wants a UUID; the same result gets the same
        "geometry": geometry,
        "properties": {
            "objectType": kind,
            "classification": {"name": name, "color": [int(part) for part in colour[:3]]},
            "measurements": finite,
        },
    }


def _from_the_top(ring: np.ndarray) -> list[list[float]]:
    """Coordinates, closed, from the topmost (then leftmost) point on: the same ring is the same text."""
    points = np.round(ring[:-1], 2)
    points = np.roll(points, -np.lexsort(points.T)[0], axis=0)
    return [*points.tolist(), points[0].tolist()]


def write_features(path: str | Path, features: Iterable[Mapping[str, Any]]) -> Path:
    """Write a FeatureCollection, atomically, feature by feature: a slide may hold a million."""

    def write(stream: BinaryIO) -> None:
        stream.write(b'{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features):
            stream.write((", " * bool(number) + json.dumps(feature)).encode())
        stream.write(b"]}\n")

    return write_atomically(path, write)
