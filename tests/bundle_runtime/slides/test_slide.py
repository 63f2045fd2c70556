from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slide_files import picture, pyramid

from bundle_runtime.slides.opening import open_slide
from bundle_runtime.slides.slide import mpp_of
from custom_components.errors import InputError


def test_resolution_from_magnification_or_micrometres() -> None:
    assert mpp_of(magnification=20) == 0.5
    assert mpp_of(mpp=0.25) == 0.25
    for wrong in ({}, {"magnification": 20, "mpp": 0.5}, {"mpp": 0}, {"magnification": "20x"}, {"mpp": True}):
        with pytest.raises(InputError):
            mpp_of(**wrong)  # type: ignore[arg-type]


def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path: Path) -> None:
    with open_slide(pyramid(tmp_path / "a.tif", picture(), steps=(1, 4, 16), mpp=0.25)) as slide:
        assert slide.level_for(0.25) == (slide.levels[0], 1.0)
        assert slide.level_for(0.26) == (slide.levels[0], 1.0)  # within 5 %
        assert slide.level_for(0.5) == (slide.levels[0], 2.0)
        assert slide.level_for(1.0) == (slide.levels[1], 1.0)
        assert slide.level_for(3.0)[0] is slide.levels[1]
        with pytest.raises(InputError, match="never scanned"):
            slide.level_for(0.2)


def test_a_tile_between_levels_is_scaled_without_aliasing(tmp_path: Path) -> None:
    pixels = picture()
    with open_slide(pyramid(tmp_path / "a.tif", pixels, mpp=0.25)) as slide:
        tile = slide.read_at(0.5, 100, 200, 32)
        assert slide.footprint(0.5, 32) == 64
    expected = Image.fromarray(pixels[100:164, 200:264]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(tile, np.asarray(expected))


@pytest.mark.parametrize("steps", [(1,), (1, 4)])
def test_an_overview_is_the_slide_in_small(
    tmp_path: Path, steps: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundle_runtime.slides.slide._BLOCK", 100)  # in pieces
    y, x = np.mgrid[:512, :640]
    smooth = np.stack([x * 255 // 640, y * 255 // 512, (x + y) * 255 // 1152], -1).astype(np.uint8)
    with open_slide(pyramid(tmp_path / "a.tif", smooth, steps=steps)) as slide:
        small = slide.overview(80)
    assert small.shape == (64, 80, 3)
    whole = np.asarray(Image.fromarray(smooth).resize((80, 64), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - whole).max() <= 4


def test_a_small_slide_is_its_own_overview(tmp_path: Path) -> None:
    with open_slide(pyramid(tmp_path / "a.tif", picture())) as slide:
        assert np.array_equal(slide.overview(4096), picture())
