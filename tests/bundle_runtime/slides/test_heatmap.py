import io
import json

import numpy as np
import pytest
import shapely
import tifffile
from bundle_runtime.slides.geojson import polygon_feature
from bundle_runtime.slides.grid import Grid
from bundle_runtime.slides.heatmap import NOT_LOOKED_AT, HeatMap, outlines
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rfc7946 import check_rfc7946
from skimage.measure import label


def grid(rows: int = 6, columns: int = 8, side: float = 100.0, stride: float = 50.0) -> Grid:
    places = (
        np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2).astype(np.int32)
    )
    return Grid(0.5, 64, side, stride, (rows, columns), places, np.ones(len(places), np.float32))


def filled(values: np.ndarray, **options: float) -> HeatMap:
    heat = HeatMap(grid(*values.shape[1:], **options), len(values), mpp=0.5)
    heat.put(np.arange(values[0].size), values.reshape(len(values), -1).T, np.ones(values[0].size, np.uint8))
    return heat


@settings(max_examples=200, deadline=None)
@given(mask=hnp.arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_outlines_are_valid_and_enclose_exactly_the_cells(mask: np.ndarray) -> None:
    pieces = label(mask, connectivity=1)
    for number in range(1, pieces.max() + 1):
        piece = pieces == number
        rings = outlines(piece)
        polygon = shapely.Polygon(rings[0], rings[1:])
        assert polygon.is_valid
        assert polygon.area == piece.sum()
        rows, columns = np.indices(piece.shape) + 0.5
        assert np.array_equal(shapely.contains_xy(polygon, rows, columns), piece)
        for ring in rings:
            assert len(np.unique(ring, axis=0)) == len(ring)  # no corner twice
            steps = np.diff(np.vstack([ring, ring[:2]]), axis=0)
            assert ((steps == 0).sum(axis=1) == 1).all()  # along the edges of cells
            assert ((steps[1:] == 0) != (steps[:-1] == 0)).all()  # and a turn at each corner


@settings(max_examples=60, deadline=None)
@given(mask=hnp.arrays(bool, (6, 8)))
def test_regions_are_geojson_that_others_accept(mask: np.ndarray) -> None:
    regions, _ = filled(mask[None].astype(np.float32)).regions(mask.astype(float), 0.5, 0.0)
    features = [polygon_feature(region.rings, "tumour", (1, 2, 3), {"Area": region.area}) for region in regions]
    check_rfc7946(json.loads(json.dumps({"type": "FeatureCollection", "features": features})))
    areas = [shapely.geometry.shape(feature["geometry"]).area * 0.25 for feature in features]  # 0.5 micrometres a pixel
    assert areas == pytest.approx([region.area for region in regions])


def test_cells_that_touch_at_a_corner_give_two_rings() -> None:
    """An outline that passes this corner twice touches itself: invalid for GEOS and JTS (QuPath)."""
    mask = np.ones((4, 4), bool)
    mask[0, 0] = mask[1, 1] = False
    outer, hole = outlines(mask)
    assert (len(outer), len(hole)) == (6, 4)
    assert {tuple(corner) for corner in outer} & {tuple(corner) for corner in hole} == {(1, 1)}


def test_a_square_has_four_corners() -> None:
    (ring,) = outlines(np.ones((3, 4), bool))
    assert sorted(map(tuple, ring.tolist())) == [(0, 0), (0, 4), (3, 0), (3, 4)]


def test_cells_are_centred_on_their_tiles() -> None:
    """A tile of 100 at the origin, every 50: its cell spans 25 to 75."""
    values = np.zeros((1, 6, 8), np.float32)
    values[0, 2, 3] = 0.9
    heat = filled(values)
    total = heat.total(True)
    regions, numbers = heat.regions(total, 0.5, 0.0)
    (point,) = heat.points(total, 0.5, 100.0, numbers)
    assert (point.row, point.column) == (150.0, 200.0)
    assert (point.probability, point.region) == (pytest.approx(0.9), 1)
    (region,) = regions
    assert region.rings[0].min(axis=0).tolist() == [175.0, 125.0]
    assert region.rings[0].max(axis=0).tolist() == [225.0, 175.0]
    assert region.area == pytest.approx(25.0**2)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), cells=st.integers(0, 3))
def test_suppression_is_what_brute_force_finds(seed: int, cells: int) -> None:
    values = np.random.default_rng(seed).permutation(np.linspace(0.01, 0.99, 48)).reshape(1, 6, 8).astype(np.float32)
    heat = filled(values)
    found = heat.points(values[0], 0.3, cells * 25.0, np.zeros((6, 8), int))
    left, expected = values[0].copy(), []
    while left.max() > 0.3:
        row, column = np.unravel_index(left.argmax(), left.shape)
        expected.append((50.0 * row + 50, 50.0 * column + 50))
        left[max(row - cells, 0) : row + cells + 1, max(column - cells, 0) : column + cells + 1] = 0
    assert [(point.row, point.column) for point in found] == expected


def test_places_that_were_not_looked_at_are_nothing() -> None:
    heat = HeatMap(grid(), 1, 0.5)
    total = heat.total(True)
    assert np.isnan(total).all()
    assert (heat.classes == NOT_LOOKED_AT).all()
    regions, numbers = heat.regions(total, 0.0, 0.0)
    assert regions == []
    assert heat.points(total, 0.0, 10.0, numbers) == []


def test_several_targets() -> None:
    values = np.full((2, 2, 2), 0.1, np.float32)
    values[:, 0, 0] = 0.3, 0.6
    heat = filled(values)
    assert heat.total(exclusive=True)[0, 0] == pytest.approx(0.9)
    assert heat.total(exclusive=False)[0, 0] == pytest.approx(0.6)
    regions, numbers = heat.regions(heat.total(True), 0.5, 0.0)
    assert [region.target for region in regions] == [1]
    assert [point.target for point in heat.points(heat.total(True), 0.5, 0.0, numbers)] == [1]


def test_small_regions_are_dropped() -> None:
    values = np.zeros((1, 6, 8), np.float32)
    values[0, 0, 0] = values[0, 3:5, 3:6] = 0.8
    regions, numbers = filled(values).regions(values[0], 0.5, min_area=1000.0)  # a cell is 625 square micrometres
    assert [region.area for region in regions] == [6 * 625.0]
    assert numbers[0, 0] == 0
    assert numbers.max() == regions[0].number == 1


def test_the_map_says_where_it_lies() -> None:
    values = np.random.default_rng(0).random((1, 6, 8)).astype(np.float32)
    data = filled(values).tiff(values[0], {"slide": "s"})
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert np.array_equal(file.pages[0].asarray(), values[0])
        about = json.loads(file.pages[0].description)
    assert about == {
        "slide": "s",
        "cell_in_level_0_pixels": 50.0,
        "top_left_in_level_0_pixels": [25.0, 25.0],
        "level_0_micrometres_per_pixel": 0.5,
    }
