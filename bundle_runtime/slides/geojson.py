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
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: feature {number} is no point or polygon of GeoJSON ({type(error).__name__}: {error}); "
                "export the annotations as GeoJSON from QuPath."
            ) from error
    return shapes


def _shapes_of(feature: Mapping[str, Any]) -> list[Shape]:
    geometry = feature["geometry"] if feature.get("type") == "Feature" else feature
    properties = feature.get("properties") or {}
    name = (properties.get("classification") or {}).get("name") or UNCLASSIFIED
    kind, coordinates = geometry["type"], geometry["coordinates"]
    if kind in ("Point", "MultiPoint"):
        return [Shape(name, [_ring([point])]) for point in ([coordinates] if kind == "Point" else coordinates)]
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"it is a {kind}")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    return [Shape(name, [_ring(ring) for ring in polygon]) for polygon in polygons]


def _ring(points: Sequence[Sequence[float]]) -> np.ndarray:
    ring = np.array([point[:2] for point in points], float).reshape(-1, 2)
    if not len(ring) or not np.isfinite(ring).all():
        raise ValueError("it has no coordinates, or some that are not numbers")
    return ring


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
    coordinates = []
    for number, ring in enumerate(rings):
        closed = np.vstack([ring, ring[:1]]) if (ring[0] != ring[-1]).any() else ring
        if (signed_area(closed) < 0) == (number == 0):
            closed = closed[::-1]
        coordinates.append([[round(float(x), 2), round(float(y), 2)] for x, y in closed])
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


def signed_area(ring: np.ndarray) -> float:
    """Area by the shoelace formula; positive where x turns towards y, counterclockwise if y grew upwards."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def write_features(path: str | Path, features: Sequence[Mapping[str, Any]]) -> Path:
    """Write a FeatureCollection, atomically."""
    return write_atomically(path, json.dumps({"type": "FeatureCollection", "features": list(features)}) + "\n")
