import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import separate_stains

from mae_tools.demo_data.stain import EOSIN, HAEMATOXYLIN, Stain, develop


def flat(value: float) -> np.ndarray:
    return np.full((24, 24), value, np.float32)


@given(st.floats(0, 1.5), st.floats(0, 1.5))
def test_the_law_of_beer_and_lambert(haematoxylin: float, eosin: float) -> None:
    stain = Stain(blur=0.3, noise=0)
    colour = develop(np.random.default_rng(0), flat(haematoxylin), flat(eosin), stain)[12, 12]
    density = haematoxylin * np.array(HAEMATOXYLIN) + eosin * np.array(EOSIN)
    assert colour == pytest.approx(np.array(stain.white) * np.exp(-density), abs=0.51)


def test_the_dyes_are_found_again_by_scikit_image() -> None:
    """Colour deconvolution (Ruifrok and Johnston) with the same vectors is the inverse."""
    rows = np.linspace(0, 1, 24, dtype=np.float32)[:, None] * np.ones((1, 24), np.float32)
    stain = Stain(white=(255.0, 255.0, 255.0), blur=0.01, noise=0)
    rgb = develop(np.random.default_rng(0), rows, 0.8 * rows.T, stain)
    dyes = np.array([HAEMATOXYLIN, EOSIN, np.cross(HAEMATOXYLIN, EOSIN)])
    found = separate_stains(rgb, np.linalg.inv(dyes)) * -np.log(1e-6)  # scikit-image divides by the log of its floor
    assert found[..., 0] == pytest.approx(rows, abs=0.06)
    assert found[..., 1] == pytest.approx(0.8 * rows.T, abs=0.06)


def test_slides_differ_and_glass_is_bright() -> None:
    stains = [Stain.draw(np.random.default_rng(seed)) for seed in range(40)]
    assert Stain.draw(np.random.default_rng(3)) == stains[3]
    strengths = np.array([np.linalg.norm(stain.haematoxylin) for stain in stains])
    assert strengths.min() < 0.8 < 1.2 < strengths.max()
    for stain in stains:
        red, _, blue = stain.haematoxylin
        assert red > blue > 0  # blue light passes: the dye looks blue-violet
        assert max(stain.eosin) == stain.eosin[1]  # eosin takes green: it looks pink
        assert develop(np.random.default_rng(0), flat(0), flat(0), stain).mean() > 215
