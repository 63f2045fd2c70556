import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk

from mae_tools.demo_data.film import Exposure, Film, bent, write_text


def film(turn: float = 0.0, stretch: float = 1.0, size: tuple[int, int] = (96, 80)) -> Film:
    return Film.blank(size, side=160, centre=(3, -5), turn=turn, stretch=stretch)


@given(st.floats(-20, 20), st.floats(0.9, 1.1), st.integers(40, 90), st.integers(40, 90))
def test_pixels_and_millimetres_are_inverse(turn: float, stretch: float, height: int, width: int) -> None:
    made = film(turn, stretch, (height, width))
    points = np.stack([made.x, made.y, np.ones_like(made.x)], -1) @ made.inverse.T
    rows, columns = np.mgrid[:height, :width]
    np.testing.assert_allclose(points[..., 0], columns, atol=1e-3)
    np.testing.assert_allclose(points[..., 1], rows, atol=1e-3)


def test_the_middle_and_the_side() -> None:
    made = film(size=(81, 81))
    assert (made.x[40, 40], made.y[40, 40]) == pytest.approx((3, -5), abs=1e-4)
    assert made.pixel == pytest.approx(160 / 81)
    assert made.x[40, 80] - made.x[40, 0] == pytest.approx(80 * made.pixel, rel=1e-4)
    assert made.x.dtype == made.y.dtype == made.air.dtype == np.float32


def test_an_ellipse_is_where_skimage_draws_it() -> None:
    made = film(size=(81, 81))
    shape = made.ellipse((3, -5), (40, 40))
    expected = np.zeros((81, 81), bool)
    expected[disk((40, 40), 40 / made.pixel)] = True
    assert np.mean((shape > 0) != expected) < 0.005
    assert shape.max() == pytest.approx(40, abs=0.1)
    long = made.ellipse((3, -5), (50, 10), turn=90) > 0
    assert long.any(axis=1).sum() > 4 * long.any(axis=0).sum()
    assert shape.dtype == np.float32


def test_soft_edges_take_as_wide_as_asked() -> None:
    made = film(size=(81, 81))
    share = made.soft(made.x - 3, 20)[40]
    assert (share[0], share[-1], share[40]) == pytest.approx((0, 1, 0.5), abs=1e-3)
    assert np.count_nonzero((share > 0.001) & (share < 0.999)) == pytest.approx(20 / made.pixel, abs=2)
    assert (np.diff(share) >= 0).all()


@given(st.floats(-20, 20), st.floats(2, 12))
def test_a_stroke_is_a_rod_along_its_path(turn: float, radius: float) -> None:
    made = film(turn)
    target = np.zeros_like(made.air)
    made.stroke(target, [(-30, -20), (30, 20)], radius)
    along = np.array([60, 40]) / np.hypot(60, 40)
    distance = np.abs(along[0] * (made.y + 20) - along[1] * (made.x + 30))
    share = (along[0] * (made.x + 30) + along[1] * (made.y + 20)) / np.hypot(60, 40)
    assert target.max() <= 1.1
    assert (target[distance > 1.2 * radius + 1.5 * made.pixel] == 0).all()
    middle = (distance < 0.3) & (share > 0) & (share < 1)
    assert target[middle].min() > 0.9


def test_a_thin_stroke_gets_faint_and_one_outside_draws_nothing() -> None:
    made = film()
    thick, thin, outside = (np.zeros_like(made.air) for _ in range(3))
    made.stroke(thick, [(-30, 0), (30, 0)], 4)
    made.stroke(thin, [(-30, 0), (30, 0)], 0.4)
    made.stroke(outside, [(500, 0), (600, 0)], 4)
    assert 0 < thin.max() < 0.5 < thick.max()
    assert not outside.any()


def test_fill_takes_air_away() -> None:
    made = film()
    made.air += 0.8
    made.fill(made.soft(made.x, 10))
    assert made.air.max() == pytest.approx(0.8)
    assert made.air.min() == 0


def test_bent_starts_and_ends_where_it_should() -> None:
    curve = bent((0, 0), (10, 0), 3, 5)
    np.testing.assert_allclose(curve[[0, 2, 4]], [[0, 0], [5, 3], [10, 0]], atol=1e-12)


@pytest.mark.parametrize("portable", [False, True])
def test_exposure_keeps_the_order_of_grey_values(portable: bool) -> None:
    """A denser part of the body is never darker, whatever the dose: an X-ray's grey order means something."""
    made = film(size=(90, 90))
    absorbed = np.repeat(np.repeat(np.linspace(0, 1.4, 3, dtype=np.float32), 30)[None], 90, axis=0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        exposure = Exposure.draw(rng, portable)
        exposure.slope = (0.0, 0.0)
        value = exposure.develop(rng, made, absorbed)
        means = [value[:, start : start + 10].mean() for start in (10, 40, 70)]
        assert means[0] < means[1] < means[2]
        assert value.dtype == np.float32
        assert value.min() >= 0 and value.max() <= 1.1  # noqa: PT018


def test_text_is_white_and_where_it_should_be() -> None:
    value = np.full((200, 100), 0.2, np.float32)
    write_text(value, "L", (0.25, 0.75), 0.1)
    rows, columns = np.nonzero(value > 0.5)
    assert (rows.mean() / 200, columns.mean() / 100) == pytest.approx((0.75, 0.25), abs=0.05)
    assert 8 < np.ptp(rows) < 24
    assert value.max() <= 0.951
