import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from bundle_runtime.slides.geojson import point_feature, polygon_feature, read_shapes, write_features
from custom_components.errors import InputError
from rfc7946 import check_rfc7946

SQUARE = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
HOLE = np.array([[2.0, 2], [4, 2], [4, 4], [2, 4]])


@pytest.mark.parametrize("turned", [False, True])
def test_written_features_are_valid_and_come_back(tmp_path: Path, turned: bool) -> None:
    rings = [ring[::-1] if turned else ring for ring in (SQUARE, HOLE)]
    features = [
        polygon_feature(rings, "tumour", (200, 0, 0), {"Mean probability": 0.5, "nothing": float("nan")}),
        point_feature(3.0, 4.5, "tumour", (200, 0, 0), {"Probability": 0.9}),
    ]
    path = write_features(tmp_path / "a.geojson", features)
    content = json.loads(path.read_text())
    check_rfc7946(content)
    assert content["features"][0]["properties"]["measurements"] == {"Mean probability": 0.5}
    polygon, point = read_shapes(path)
    assert [shapely.Polygon(ring).area for ring in polygon.rings] == [100, 4]
    assert point.is_point
    assert point.rings[0].tolist() == [[3.0, 4.5]]
    assert polygon.name == "tumour"


def test_the_same_result_has_the_same_ids() -> None:
    assert point_feature(1, 2, "a", (0, 0, 0), {}) == point_feature(1, 2, "a", (0, 0, 0), {})
    assert point_feature(1, 2, "a", (0, 0, 0), {})["id"] != point_feature(1, 3, "a", (0, 0, 0), {})["id"]


def test_other_writers(tmp_path: Path) -> None:
    """Multi-part geometries, a list of features, a bare geometry, no class."""
    ring = [*SQUARE.tolist(), SQUARE[0].tolist()]
    multi = {
        "type": "Feature",
        "geometry": {"type": "MultiPolygon", "coordinates": [[ring], [ring]]},
        "properties": None,
    }
    points = {"type": "Feature", "geometry": {"type": "MultiPoint", "coordinates": [[1, 2, 0], [3, 4, 0]]},
              "properties": {"classification": {"name": "x"}}}  # fmt: skip
    for content, names in (
        ([multi, points], ["unclassified", "unclassified", "x", "x"]),
        ({"type": "Polygon", "coordinates": [ring]}, ["unclassified"]),
        ({"type": "FeatureCollection", "features": []}, []),
    ):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content), encoding="utf-8-sig")  # editors of Windows put a mark in front
        assert [shape.name for shape in read_shapes(path)] == names


def test_what_crosses_itself_is_made_valid(tmp_path: Path) -> None:
    """As a hand that draws freely does; what covers no area is nothing."""
    path = tmp_path / "a.json"
    bow = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
    speck = [[5, 5], [5, 5], [5, 5], [5, 5]]
    path.write_text(json.dumps([{"type": "Polygon", "coordinates": [ring]} for ring in (bow, speck)]))
    shapes = read_shapes(path)
    assert [shapely.Polygon(shape.rings[0]).area for shape in shapes] == [25, 25]
    assert all(shapely.Polygon(*shape.rings).is_valid for shape in shapes)


def test_the_same_ring_is_the_same_text() -> None:
    rings = [np.roll(SQUARE, turn, axis=0)[::step] for turn in range(4) for step in (1, -1)]
    features = [polygon_feature([ring], "tumour", (0, 0, 0), {}) for ring in rings]
    assert all(feature == features[0] for feature in features)
    assert features[0]["geometry"]["coordinates"] == [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]


@pytest.mark.parametrize(
    "text",
    ["{", "3", '{"type": "LineString", "coordinates": [[0, 0], [1, 1]]}', '{"type": "Polygon", "coordinates": [[]]}',
     '{"features": [{"type": "Feature", "geometry": null}]}', '{"type": "Point", "coordinates": ["a", "b"]}'],
)  # fmt: skip
def test_what_is_no_annotation(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.geojson"):
        read_shapes(path)
