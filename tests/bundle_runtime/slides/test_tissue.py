import numpy as np
from bundle_runtime.slides.tissue import box_mean, find_tissue
from hypothesis import given, settings
from hypothesis import strategies as st
from slide_files import GLASS, PINK, with_tissue


def test_stained_pieces_are_found() -> None:
    overview = with_tissue(256, [(40, 60, 100, 80)])
    tissue = find_tissue(overview, (2560, 2560), mpp=0.5)
    truth = np.zeros((256, 256), bool)
    truth[40:140, 60:140] = True
    assert (tissue.mask != truth).mean() < 0.005
    assert tissue.scale == (10.0, 10.0)


def test_bare_glass_has_no_tissue() -> None:
    """Otsu's threshold alone always finds two groups."""
    rng = np.random.default_rng(0)
    glass = (np.array(GLASS) + rng.integers(-6, 7, (128, 128, 3))).clip(0, 255).astype(np.uint8)
    assert not find_tissue(glass, (1280, 1280), 0.5).mask.any()
    assert not find_tissue(np.full((64, 64, 3), 255, np.uint8), (640, 640), 0.5).mask.any()
    assert not find_tissue(np.zeros((64, 64, 3), np.uint8), (640, 640), 0.5).mask.any()


def test_a_slide_full_of_one_stain_is_all_tissue() -> None:
    assert find_tissue(np.full((64, 64, 3), PINK, np.uint8), (640, 640), 0.5).mask.all()


def test_ink_and_black_borders_are_no_tissue() -> None:
    overview = with_tissue(256, [(40, 60, 100, 80)])
    for number, colour in enumerate([(40, 70, 165), (30, 120, 60), (15, 12, 20)]):
        overview[200:230, 20 + 60 * number : 60 + 60 * number] = colour
    mask = find_tissue(overview, (2560, 2560), 0.5).mask
    assert mask[60:120, 80:120].all()
    assert not mask[195:].any()


def test_small_pieces_are_dropped_and_small_holes_filled() -> None:
    overview = with_tissue(256, [(40, 40, 120, 120), (220, 220, 6, 6)])
    overview[90:95, 90:95] = GLASS
    # A pixel is 5 micrometres: 0.05 square millimetres are 2,000 pixels.
    mask = find_tissue(overview, (2560, 2560), 0.5, min_area=0.05).mask
    assert mask[92, 92]
    assert not mask[215:, 215:].any()
    assert find_tissue(overview, (2560, 2560), 0.5, min_area=1e-5).mask[222, 222]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 99), row=st.integers(-5, 25), column=st.integers(-5, 35), size=st.integers(1, 12))
def test_box_means_are_those_of_a_padded_picture(seed: int, row: int, column: int, size: int) -> None:
    values = np.random.default_rng(seed).random((20, 30))
    padded = np.pad(values, 20)
    expected = padded[20 + row : 20 + row + size, 20 + column : 20 + column + size].mean()
    found = box_mean(values, np.array([float(row)]), np.array([float(column)]), np.array([size, size]))
    assert np.isclose(found[0], expected)
