"""From class maps to objects."""

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.transforms.instance_split import split_instances
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label as connected_components

MAPS = arrays(np.int32, st.tuples(st.integers(1, 16), st.integers(1, 16)), elements=st.integers(0, 2))


def discs(*centres: tuple[int, int, int], shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.any([(rows - r) ** 2 + (columns - c) ** 2 < radius**2 for r, c, radius in centres], axis=0).astype(int)


def test_a_watershed_parts_discs_that_touch() -> None:
    classes = discs((30, 25, 12), (30, 45, 12))
    assert split_instances(classes, "components").max() == 1
    objects = split_instances(classes, "watershed")
    assert objects.max() == 2
    assert objects[30, 25] != objects[30, 45]
    assert np.bincount(objects.ravel())[1:].min() > 350


def test_one_disc_stays_one() -> None:
    assert split_instances(discs((30, 40, 20)), "watershed").max() == 1


def test_small_objects_are_left_out() -> None:
    classes = discs((15, 15, 2), (40, 50, 9))
    assert split_instances(classes, "components", min_size=20).max() == 1
    assert split_instances(classes, "components", min_size=20)[40, 50] == 1


@given(classes=MAPS, method=st.sampled_from(["watershed", "components"]), min_size=st.integers(0, 6))
@settings(max_examples=150, deadline=None)
def test_what_holds_for_every_map(classes: np.ndarray, method: str, min_size: int) -> None:
    objects = split_instances(classes, method, min_size, min_distance=2)
    numbers, sizes = np.unique(objects[objects > 0], return_counts=True)
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    assert not objects[classes == 0].any()
    assert (sizes >= min_size).all()
    for number in numbers:
        assert len(np.unique(classes[objects == number])) == 1
    if min_size <= 1:
        assert ((objects > 0) == (classes > 0)).all()
    if method == "components" and min_size <= 1:
        assert (objects == connected_components(classes, connectivity=2)).all()


@pytest.mark.parametrize("settings_", [{"method": "cut"}, {"min_size": -1}, {"min_distance": 0}])
def test_wrong_settings_are_refused(settings_: dict[str, object]) -> None:
    with pytest.raises(InputError):
        split_instances(np.zeros((3, 3), int), **settings_)
