from collections.abc import Sequence

import numpy as np
import pytest
import shapely
from bundle_runtime.slides.objects import Seen, merged, objects_in
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import disk
from skimage.measure import label

SIZE = 128  # of the slide
SIDE, STRIDE = 64, 32  # of windows


def look(classes: np.ndarray, side: int = SIDE, stride: int = STRIDE, scale: float = 1.0) -> tuple[list[Seen], list]:
    """What windows over a class map show, each for itself; a level-0 pixel is `1 / scale` of the map."""
    seen: list[Seen] = []
    windows = []
    for row in range(0, len(classes) - side + 1, stride):
        for column in range(0, len(classes) - side + 1, stride):
            part = classes[row : row + side, column : column + side]
            corner = (row * scale, column * scale)
            size = (round(len(classes) * scale),) * 2
            seen += objects_in(
                label(part, connectivity=2), part, np.full(part.shape, 0.75), corner, scale, size, len(windows), 3
            )
            box = shapely.box(corner[1], corner[0], corner[1] + side * scale, corner[0] + side * scale)
            windows.append(box)
    return seen, windows


def drawn(discs: Sequence[tuple[int, int, int]]) -> np.ndarray:
    classes = np.zeros((SIZE, SIZE), int)
    for kind, (row, column, radius) in enumerate(discs):
        classes[disk((row, column), radius, shape=classes.shape)] = kind % 2 + 1
    return classes


@pytest.mark.parametrize("place", [(20, 20), (64, 64), (63, 40), (32, 96), (96, 96), (33, 65), (5, 5), (122, 64)])
def test_an_object_anywhere_appears_once_and_whole(place: tuple[int, int]) -> None:
    classes = drawn([(*place, 9)])
    seen, windows = look(classes)
    (one,) = merged(seen, np.array(windows))
    assert one.outline.is_valid
    assert one.outline.area == np.count_nonzero(classes)
    assert one.probability == 0.75
    assert one.kind == 1


CELLS = st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(2, 6))


@settings(max_examples=20, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=20, unique_by=lambda cell: cell[:2]))
def test_as_many_objects_as_were_drawn_each_with_its_own_pixels(cells: list[tuple[int, int, int]]) -> None:
    classes = drawn([(16 * row + 8, 16 * column + 8, radius) for row, column, radius in cells])
    seen, windows = look(classes)
    found = merged(seen, np.array(windows))
    assert len(found) == len(cells)
    assert sum(one.outline.area for one in found) == np.count_nonzero(classes)
    assert all(one.outline.is_valid and one.outline.geom_type == "Polygon" for one in found)
    for kind in (1, 2):
        assert sum(one.outline.area for one in found if one.kind == kind) == np.count_nonzero(classes == kind)


def test_an_object_larger_than_any_window_is_joined_from_its_parts() -> None:
    classes = drawn([(64, 64, 50)])
    seen, windows = look(classes)
    (one,) = merged(seen, np.array(windows))
    assert one.outline.area == np.count_nonzero(classes)


def test_a_ring_around_windows_keeps_its_hole() -> None:
    classes = drawn([(64, 64, 50)])
    classes[disk((64, 64), 40)] = 0
    seen, windows = look(classes)
    (one,) = merged(seen, np.array(windows))
    assert len(one.outline.interiors) == 1
    assert one.outline.area == np.count_nonzero(classes)


def test_the_window_that_sees_deepest_decides_where_two_disagree() -> None:
    windows = np.array([shapely.box(0, 0, 64, 64), shapely.box(32, 0, 96, 64)])
    shallow = Seen(shapely.box(40, 20, 60, 40), 1, 0.5, 0, 4.0)
    deep = Seen(shapely.box(41, 20, 61, 40), 2, 0.9, 1, 9.0)
    assert merged([shallow, deep], windows) == [deep]
    cut = shallow._replace(outline=shapely.box(40, 20, 64, 40), depth=0.0)
    assert merged([cut, deep._replace(depth=1.0)], windows) == [deep._replace(depth=1.0)]


def test_two_objects_that_one_window_parts_and_the_other_does_not() -> None:
    windows = np.array([shapely.box(0, 0, 64, 64), shapely.box(32, 0, 96, 64)])
    halves = [Seen(shapely.box(40, 20, 45, 40), 1, 0.9, 0, 19.0), Seen(shapely.box(45, 20, 50, 40), 1, 0.9, 0, 14.0)]
    both = Seen(shapely.box(40, 20, 50, 40), 1, 0.5, 1, 8.0)
    assert merged([*halves, both], windows) == halves


def test_neighbours_that_touch_stay_two() -> None:
    windows = np.array([shapely.box(0, 0, 64, 64), shapely.box(32, 0, 96, 64)])
    left, right = Seen(shapely.box(40, 20, 45, 40), 1, 0.9, 0, 19.0), Seen(shapely.box(45, 20, 50, 40), 1, 0.9, 1, 8.0)
    assert merged([left, right], windows) == [left, right]


def test_no_object_and_no_window() -> None:
    assert merged([], np.array([])) == []


def test_outlines_are_in_pixels_of_level_0() -> None:
    classes = drawn([(64, 40, 9)])
    seen, windows = look(classes, scale=2.5)
    (one,) = merged(seen, np.array(windows))
    assert np.allclose(one.outline.centroid.coords[0], (2.5 * 40.5, 2.5 * 64.5))
    assert one.outline.area == pytest.approx(2.5**2 * np.count_nonzero(classes))


def test_parts_that_meet_at_a_corner_are_two_and_specks_are_left_out() -> None:
    classes = np.zeros((16, 16), int)
    classes[2:5, 2:5] = classes[5:8, 5:8] = classes[8, 8] = 1
    seen = objects_in(label(classes, connectivity=2), classes, classes * 1.0, (0, 0), 1.0, (16, 16), 0, 3)
    assert [one.outline.area for one in seen] == [9, 9]
    assert all(one.depth == np.inf for one in seen)  # nothing is cut where the slide ends


def test_depth_counts_to_the_borders_behind_which_the_slide_goes_on() -> None:
    objects = np.zeros((16, 16), int)
    objects[0:4, 3:6] = 1
    (one,) = objects_in(objects, objects, objects * 1.0, (16, 16), 1.0, (64, 64), 5, 1)
    assert (one.depth, one.tile) == (0, 5)
    (one,) = objects_in(objects, objects, objects * 1.0, (0, 16), 1.0, (64, 64), 5, 1)
    assert one.depth == 3
