"""The rules of RFC 7946, which GeoJSON files keep."""

import uuid
from typing import Any

import numpy as np
import shapely


def check_rfc7946(collection: dict[str, Any]) -> None:
    """The rules of RFC 7946 that concern points and polygons, and what QuPath's documentation asks for."""
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        uuid.UUID(feature["id"])
        geometry, properties = feature["geometry"], feature["properties"]
        if geometry["type"] == "Point":
            assert len(geometry["coordinates"]) == 2
        else:
            assert geometry["type"] == "Polygon"
            for number, ring in enumerate(geometry["coordinates"]):
                assert len(ring) >= 4
                assert ring[0] == ring[-1]
                assert shapely.LinearRing(ring).is_ccw == (number == 0)  # right-hand rule, section 3.1.6
            assert shapely.geometry.shape(geometry).is_valid
        assert properties["objectType"] in ("annotation", "detection")
        colour = properties["classification"]["color"]
        assert len(colour) == 3
        assert all(isinstance(part, int) and 0 <= part <= 255 for part in colour)
        assert properties["classification"]["name"]
        assert all(np.isfinite(value) for value in properties["measurements"].values())
