import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mae_tools.demo_data.shapes import Canvas, coverage, depth, scan, smooth_noise, stored


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


def test_coverage_sums_to_the_volume_that_a_solid_has_between_the_voxels() -> None:
    fine = Canvas.blank(np.random.default_rng(0), (41, 31, 31), (2.0, 2.0, 2.0), fill=0.0, dtype=np.float64)
    for radius in (6.0, 9.0, 13.3):
        ball = fine.ellipsoid((0.3, -0.7, 0.4), (radius, radius, radius))
        share = coverage(ball)
        assert share.sum() * 8 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.04)
        assert ((share > 0.5) == (ball < 0)).all()
        assert ((share > 0) & (share < 1)).any()


def test_depth_is_the_distance_to_the_surface_in_voxels() -> None:
    fine = Canvas.blank(np.random.default_rng(0), (41, 31, 31), (2.0, 2.0, 2.0), fill=0.0, dtype=np.float64)
    distance = np.sqrt(np.square(fine.points).sum(axis=0))
    found = depth(fine.ellipsoid((0, 0, 0), (14, 14, 14)))
    near = np.abs(distance - 14) < 6
    assert np.abs(found - (14 - distance) / 2)[near].max() < 0.15


def test_precision_follows_the_canvas() -> None:
    for dtype in (np.float32, np.float64):
        drawn = Canvas.blank(np.random.default_rng(0), (9, 8, 7), (3, 3, 3), fill=0.0, bend=2.0, dtype=dtype)
        assert drawn.points.dtype == dtype
        assert drawn.ellipsoid((0, 0, 0), (5, 6, 7), (10, 0, 0)).dtype == dtype
        assert drawn.tube([(0, 0, -5), (0, 0, 5)], 3).dtype == dtype
        assert smooth_noise(np.random.default_rng(0), (9, 8, 7), (4, 4, 4), dtype).dtype == dtype
        assert scan(np.random.default_rng(0), np.zeros((9, 8, 7), dtype), 0.5, 1.0).dtype == dtype


@given(axes=st.sampled_from(["LPS", "RAS", "LAS", "PSR", "SAL"]), seed=st.integers(0, 1000))
def test_stored_voxels_keep_their_place_in_the_world(axes: str, seed: int) -> None:
    voxels = np.random.default_rng(seed).integers(0, 99, (5, 4, 3)).astype(np.int16)
    affine = np.array([[2.0, 0, 0, -7], [0, 3, 0, 5], [0, 0, 4, 1], [0, 0, 0, 1]])
    image = stored(voxels, affine, axes, "synthetic")
    assert "".join(nib.aff2axcodes(image.affine)) == axes
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    back = nib.as_closest_canonical(image)
    assert np.array_equal(np.asarray(back.dataobj), voxels)
    assert np.allclose(back.affine, affine)
