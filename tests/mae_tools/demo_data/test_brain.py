import numpy as np
import pytest

from mae_tools.demo_data.brain import SEQUENCES, TISSUES, Head, Outline, draw_brain, mirrored, outline, skull_strip
from mae_tools.demo_data.shapes import Canvas

SHAPE = (48, 54, 42)
SPACING = (3.5, 3.5, 3.5)


@pytest.fixture(scope="module")
def canvas() -> Canvas:
    return Canvas.blank(np.random.default_rng(0), SHAPE, SPACING, fill=0.0, dtype=np.float64)


@pytest.fixture(scope="module")
def surfaces(canvas: Canvas) -> Outline:
    return outline(canvas, 3.5)


def head_on(canvas: Canvas) -> Head:
    tissues = {name: np.array(values) for name, values in TISSUES.items()}
    return Head(canvas.points, np.zeros((5, *SHAPE)), np.zeros(SHAPE, np.uint8), 3.5, tissues)


def test_a_brain_has_human_volumes(surfaces: Outline) -> None:
    millilitres = {name: (getattr(surfaces, name) > 0).sum() * 3.5**3 / 1000 for name in ("cerebrum", "cerebellum")}
    assert 900 < millilitres["cerebrum"] < 1400
    assert 100 < millilitres["cerebellum"] < 200


def test_the_outline_is_symmetric_and_stays_off_the_border(surfaces: Outline) -> None:
    for solid in (surfaces.cerebrum, surfaces.cerebellum, surfaces.stem):
        assert np.allclose(solid, solid[::-1])
    inside = np.maximum(surfaces.cerebrum, surfaces.cerebellum) > 0
    assert not inside[0].any()
    assert not inside[:, 0].any()
    assert not inside[:, -1].any()
    assert not inside[:, :, -1].any()


def test_skull_stripping_keeps_the_brain_and_little_more(surfaces: Outline) -> None:
    mask = skull_strip(surfaces, np.random.default_rng(0))
    brain = np.maximum.reduce([surfaces.cerebrum, surfaces.cerebellum, surfaces.stem])
    assert mask[brain > 2].all()
    assert not mask[brain < -12].any()
    assert (brain > 0).sum() < mask.sum() < 1.35 * (brain > 0).sum()


def test_mirrored_draws_on_both_sides(canvas: Canvas) -> None:
    ball = mirrored(canvas).ellipsoid((30, 0, 0), (10, 10, 10)) < 0
    assert np.array_equal(ball, ball[::-1])
    assert ball[canvas.points[0] > 0].sum() == ball[canvas.points[0] < 0].sum() > 0


def test_painting_a_part_paints_the_head(canvas: Canvas) -> None:
    head = head_on(canvas)
    part = head.near((20, 10, 5), margin=12)
    assert part.label.size < head.label.size / 10
    assert 25 < part.points[0].max() == -part.points[0].min() <= 32  # the mirror image is in it too
    part.blend(np.full(part.label.shape, 0.5), "vein")
    part.label[:] = 3
    assert (head.label == 3).sum() == part.label.size
    painted = head.intensity[:, head.label == 3]
    assert np.allclose(painted, 0.5 * np.reshape(TISSUES["vein"], (5, 1)))
    assert not head.intensity[:, head.label == 0].any()


def test_a_part_beyond_the_canvas_is_harmless(canvas: Canvas) -> None:
    head = head_on(canvas)
    part = head.near((0, 500, 0), margin=1)
    assert min(part.label.shape) >= 2
    assert not (part.ellipsoid((0, 500, 0), (1, 1, 1)) < 0).any()


def test_blending_is_a_weighted_mean(canvas: Canvas) -> None:
    head = head_on(canvas)
    head.blend(np.ones(SHAPE), "white")
    head.blend(np.full(SHAPE, 0.25), "csf")
    expected = 0.75 * np.array(TISSUES["white"]) + 0.25 * np.array(TISSUES["csf"])
    assert np.allclose(head.intensity[:, 3, 4, 5], expected)


def test_age_widens_fluid_and_adds_lesions(canvas: Canvas, surfaces: Outline) -> None:
    fluid, bright = [], []
    for age in (0.0, 1.0):
        head = head_on(canvas)
        draw_brain(head, np.random.default_rng(4), surfaces, age)
        cerebrum = surfaces.cerebrum > 0
        t2, flair = (head.intensity[SEQUENCES.index(name)][cerebrum] for name in ("t2", "flair"))
        fluid.append((t2 > 1.5).sum())
        bright.append((flair > 1.2).sum())
        assert np.isfinite(head.intensity).all()
        assert head.intensity.min() >= 0
    assert fluid[1] > 1.5 * fluid[0]
    assert bright[1] > bright[0]


def test_confounders_are_where_they_belong(canvas: Canvas, surfaces: Outline) -> None:
    """Vessels and plexus are bright in T1ce only; the two halves are folded differently."""
    head = head_on(canvas)
    draw_brain(head, np.random.default_rng(1), surfaces, 0.4)
    t1, t1ce = (head.intensity[SEQUENCES.index(name)] for name in ("t1", "t1ce"))
    enhancing = t1ce > 1.15
    assert enhancing.sum() * 3.5**3 / 1000 > 3
    assert t1.max() <= 1 + 1e-9
    x, y, z = canvas.points
    plexus = enhancing & (np.abs(np.abs(x) - 24) < 7) & (np.abs(y + 40) < 9) & (np.abs(z - 4) < 9)
    assert plexus[x > 0].any()
    assert plexus[x < 0].any()
    assert np.abs(t1 - t1[::-1]).mean() > 0.03
