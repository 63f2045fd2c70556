"""GeoJSON as QuPath writes and reads it: pixels of level 0, x to the right, y down; class, colour and measurements.

The structure is that of RFC 7946 (closed rings, the outer one first and of positive area in x and y, holes the other
way round); that coordinates are pixels and not degrees is the prior arrangement that its section 4 allows. Properties
are those that QuPath's documentation names: `objectType`, `classification` (`name`, `color`), `measurements`.
"""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the annotation cannot be read as GeoJSON ({error}).") from error
    if isinstance(content, list):  # QuPath can write the features alone
        features = content
    elif isinstance(content, dict):
        features = content.get("features", [content])
    else:
        features = [None]
    shapes: list[Shape] = []
    for number, feature in enumerate(features):
        try:
            shapes += _shapes_of(feature)
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            raise InputError(
                f"{path}: feature {number} is no point or polygon of GeoJSON ({type(error).__name__}: {error}); "
                "export the annotations as GeoJSON from QuPath."
            ) from error
    return shapes


def _shapes_of(feature: Mapping[str, Any]) -> list[Shape]:
    geometry = feature["geometry"] if feature.get("type") == "Feature" else feature
    properties = feature.get("properties") or {}
    name = (properties.get("classification") or {}).get("name") or UNCLASSIFIED
    parts = shapely.get_parts(shapely.force_2d(shapely.geometry.shape(geometry)))
    if not len(parts) or shapely.is_empty(parts).any() or not np.isfinite(shapely.get_coordinates(parts)).all():
        raise ValueError("it has no coordinates, or some that are not numbers")
    shapes: list[Shape] = []
    for part in parts:
        if part.geom_type == "Point":
            shapes.append(Shape(name, [shapely.get_coordinates(part)]))
        elif part.geom_type == "Polygon":
            shapes += [Shape(name, _rings(polygon)) for polygon in _valid(part)]
        else:
            raise ValueError(f"it is a {part.geom_type}")
    return shapes


def _valid(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    """A polygon that crosses itself as several that do not; none where it covers no area."""
    if polygon.is_valid:
        return [polygon]
    parts = shapely.get_parts(shapely.make_valid(polygon, method="structure", keep_collapsed=False))
    return list(parts[~shapely.is_empty(parts)])


def _rings(polygon: shapely.Polygon) -> list[np.ndarray]:
    return [np.array(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]


def point_feature(
    x: float, y: float, name: str, colour: Sequence[int], measurements: Mapping[str, float]
) -> dict[str, Any]:
    """A detected point."""
    geometry = {"type": "Point", "coordinates": [round(x, 2), round(y, 2)]}
    return _feature(geometry, name, colour, measurements)


def polygon_feature(
    rings: Sequence[np.ndarray], name: str, colour: Sequence[int], measurements: Mapping[str, float]
) -> dict[str, Any]:
    """A region: its outline, then its holes.

    Args:
        rings: (n, 2) x and y each, open or closed; turned round where RFC 7946 wants it.
        name: the class.
        colour: red, green, blue, 0 to 255.
        measurements: by name.
    """
    polygon = shapely.orient_polygons(shapely.Polygon(rings[0], rings[1:]))
    coordinates = [_from_the_top(ring) for ring in (polygon.exterior, *polygon.interiors)]
    return _feature({"type": "Polygon", "coordinates": coordinates}, name, colour, measurements)


def _feature(
    geometry: dict[str, Any], name: str, colour: Sequence[int], measurements: Mapping[str, float]
) -> dict[str, Any]:
    finite = {key: float(value) for key, value in measurements.items() if math.isfinite(value)}
    text = json.dumps([geometry, name, finite])
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, text)),  # QuPath wants a UUID; the same result gets the same
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name, "color": [int(part) for part in colour[:3]]},
            "measurements": finite,
        },
    }


def _from_the_top(ring: shapely.LinearRing) -> list[list[float]]:
    """Coordinates, closed, from the topmost (then leftmost) point on: the same ring is the same text."""
    points = np.round(np.array(ring.coords)[:-1], 2)
    points = np.roll(points, -np.lexsort(points.T)[0], axis=0)
    return [*points.tolist(), points[0].tolist()]


def write_features(path: str | Path, features: Sequence[Mapping[str, Any]]) -> Path:
    """Write a FeatureCollection, atomically."""
    return write_atomically(path, json.dumps({"type": "FeatureCollection", "features": list(features)}) + "\n")
