import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from mae_tools.demo_data.nuclei import Nucleus, Section, draw_nucleus, noise, scatter, thin_out


def section(size: int = 48) -> Section:
    return Section.blank(np.random.default_rng(0), size, size)


def draw(onto: Section, *nuclei: Nucleus) -> None:
    for number, nucleus in enumerate(nuclei, start=1):
        draw_nucleus(onto, np.random.default_rng(number), nucleus, number)


@pytest.mark.parametrize(("length", "width"), [(6.0, 6.0), (9.0, 4.0)])
def test_the_area_is_that_of_the_ellipse(length: float, width: float) -> None:
    onto = section()
    draw(onto, Nucleus(24, 23, length, width, angle=0.7, irregular=0.0))
    assert (onto.instances == 1).sum() == pytest.approx(np.pi * length * width, rel=0.05)
    assert ndimage.center_of_mass(onto.instances) == pytest.approx((24, 23), abs=0.3)


def test_the_longer_axis_lies_at_the_angle() -> None:
    onto = section()
    draw(onto, Nucleus(24, 24, 12, 3, angle=np.pi / 2, irregular=0.0))
    rows, columns = np.nonzero(onto.instances)
    assert np.ptp(rows) > 3 * np.ptp(columns)


def test_chromatin_is_darker_than_the_ground_and_the_membrane_than_a_pale_inside() -> None:
    onto = section()
    draw(onto, Nucleus(24, 24, 10, 10, irregular=0.0, vesicular=1.0, clumps=0.0))
    assert onto.nuclear[24, 24] < onto.nuclear[24, 15:17].max()
    assert onto.nuclear[2, 2] == 0


def test_a_nucleus_lies_below_earlier_ones_and_overlap_is_darker() -> None:
    onto = section()
    draw(onto, Nucleus(24, 20, 7, 7, irregular=0, clumps=0), Nucleus(24, 27, 7, 7, irregular=0, clumps=0))
    assert onto.instances[24, 20] == 1
    assert onto.instances[24, 23] == 1  # inside both
    assert onto.instances[24, 32] == 2
    assert onto.nuclear[24, 23] > onto.nuclear[24, 18] * 1.1


def test_outside_nothing_is_drawn() -> None:
    onto = section()
    draw(onto, Nucleus(-40, 10, 5, 5), Nucleus(10, 90, 5, 5))
    assert not onto.instances.any()
    draw(onto, Nucleus(-2, 10, 5, 5))  # partly outside: cut at the border
    assert onto.instances[0].any()
    assert not onto.instances[8:].any()


def test_numbers_are_consecutive_and_each_nucleus_is_one_piece() -> None:
    onto = section()
    onto.instances[2:8, 2:8] = 5
    onto.instances[2:8, 12:15] = 5  # a part cut off by another nucleus
    onto.instances[20:30, 20:30] = 9
    onto.instances[40:42, 40:42] = 11  # a sliver
    result = onto.finish()
    assert result.dtype == np.uint16
    assert sorted(np.unique(result)) == [0, 1, 2]
    assert (result[2:8, 2:8] == 1).all()
    assert not result[2:8, 12:15].any()
    assert not result[40:42].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 60), st.floats(0.4, 1.2))
def test_thinning(seed: int, count: int, closeness: float) -> None:
    rng = np.random.default_rng(seed)
    centres, radii = rng.uniform(0, 60, (count, 2)), rng.uniform(2, 7, count)
    kept = thin_out(centres, radii, closeness)
    near = cdist(centres, centres) < closeness * (radii[:, None] + radii[None])
    for index in range(count):  # kept exactly if no earlier kept one is near
        assert kept[index] == (not (near[index, :index] & kept[:index]).any())


def test_places_and_noise() -> None:
    places = scatter(np.random.default_rng(0), 128, 128, 50, margin=0)
    assert places.shape == (50, 2)
    assert scatter(np.random.default_rng(0), 256, 256, 50, margin=0).shape == (200, 2)
    assert places.min() >= 0
    assert places.max() <= 128
    smooth, rough = (noise(np.random.default_rng(0), 64, 80, grain) for grain in (40, 4))
    assert smooth.shape == (64, 80)
    assert np.abs(np.diff(rough)).mean() > 3 * np.abs(np.diff(smooth)).mean()
