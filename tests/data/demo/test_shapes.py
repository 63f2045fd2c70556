import numpy as np
import pytest

from custom_components.data.demo.shapes import Canvas, scan, smooth_noise


def canvas(bend: float = 0.0) -> Canvas:
    return Canvas.blank(np.random.default_rng(0), (41, 31, 21), (2.0, 2.0, 3.0), fill=-7.0, bend=bend)


def test_volume_of_an_ellipsoid_and_a_tube() -> None:
    blank = canvas()
    ball = (blank.ellipsoid((0, 0, 0), (20, 15, 18)) < 0).sum() * 12
    assert ball == pytest.approx(4 / 3 * np.pi * 20 * 15 * 18, rel=0.05)
    pipe = (blank.tube([(0, 0, -100), (0, 0, 0), (0, 0, 100)], 12) < 0).sum() * 12
    assert pipe == pytest.approx(np.pi * 144 * 63, rel=0.05)
    endless = blank.ellipsoid((0, 0, 0), (12, 12, np.inf)) < 0
    assert (endless == (blank.tube([(0, 0, -500), (0, 0, 500)], 12) < 0)).all()


def test_turning_moves_the_long_axis() -> None:
    turned = canvas().ellipsoid((0, 0, 0), (30, 5, 5), (0, 0, 90)) < 0
    extent = np.ptp(np.argwhere(turned), axis=0)
    assert extent[1] > 25
    assert extent[0] < 6


def test_painting_covers_and_wipes_labels() -> None:
    blank = canvas()
    blank.paint(blank.ellipsoid((0, 0, 0), (20, 20, 20)), 50.0, 3)
    blank.paint(blank.ellipsoid((0, 0, 0), (9, 9, 9)), np.full(blank.label.shape, 9.0, np.float32))
    assert blank.intensity[20, 15, 10] == 9
    assert blank.label[20, 15, 10] == 0
    assert set(np.unique(blank.label)) == {0, 3}
    assert blank.intensity[0, 0, 0] == -7


def test_noise_is_smooth_bounded_and_seeded() -> None:
    one, two = (smooth_noise(np.random.default_rng(1), (40, 30, 20), (4, 4, 5)) for _ in range(2))
    assert np.array_equal(one, two)
    assert one.shape == (40, 30, 20)
    assert one.dtype == np.float32
    assert np.abs(one).max() < 2.5
    assert np.abs(np.diff(one, axis=0)).max() < 0.6


def test_bending_moves_points_by_some_millimetres() -> None:
    moved = np.abs(canvas(bend=8).points - canvas().points)
    assert 2 < moved.max() < 20


def test_scan_adds_noise_of_the_stated_strength() -> None:
    noisy = scan(np.random.default_rng(0), np.zeros((40, 40, 40), np.float32), blur=0.5, noise=15)
    assert noisy.std() == pytest.approx(15, rel=0.01)
