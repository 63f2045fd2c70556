import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from slide_files import damage, picture, pyramid

from bundle_runtime.slides.opening import open_slide
from custom_components.errors import InputError

needs_openslide = pytest.mark.skipif(
    find_spec("openslide") is None,
    reason="OpenSlide (LGPL) is no dependency: pip install openslide-python openslide-bin",
)


@needs_openslide
def test_both_readers_agree(tmp_path: Path) -> None:
    """OpenSlide is the oracle; it knows a generic TIFF with tiles."""
    path = pyramid(tmp_path / "a.tif", picture(), steps=(1, 4))
    with open_slide(path, "tifffile") as ours, open_slide(path, "openslide") as theirs:
        assert [(level.height, level.width) for level in ours.levels] == [
            (level.height, level.width) for level in theirs.levels
        ]
        assert ours.mpp == pytest.approx(theirs.mpp)
        for level, other in zip(ours.levels, theirs.levels, strict=True):
            assert level.downsample == pytest.approx(other.downsample)
            region = (0, 40, 24, 100, 90)
            assert np.array_equal(ours.read(level, *region[1:]), theirs.read(other, *region[1:]))
        assert np.array_equal(ours.read_at(2.0, 96, 96, 30), theirs.read_at(2.0, 96, 96, 30))


@needs_openslide
def test_white_where_nothing_was_scanned(tmp_path: Path) -> None:
    with open_slide(pyramid(tmp_path / "a.tif", picture()), "openslide") as slide:
        found = slide.read(slide.levels[0], 480, 600, 64, 64)
    assert np.array_equal(found[:32, :40], picture()[480:, 600:])
    assert (found[32:] == 255).all()
    assert (found[:, 40:] == 255).all()


@needs_openslide
def test_a_resolution_that_is_missing_can_be_assumed(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), mpp=None)
    with open_slide(path, "openslide", assume_mpp=0.3) as slide:
        assert slide.mpp == 0.3
    with open_slide(path, "openslide") as slide:
        assert slide.mpp is None


@needs_openslide
def test_a_damaged_place_is_named(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), compression="jpeg")
    damage(path, 0, 11)
    with (
        open_slide(path, "openslide") as slide,
        pytest.raises(InputError, match=r"a\.tif: level 0 is damaged near row 70"),
    ):
        slide.read(slide.levels[0], 70, 70, 20, 20)


@needs_openslide
def test_a_file_that_openslide_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "a.ndpi"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a\.ndpi: OpenSlide cannot read it"):
        open_slide(path)


def test_without_openslide_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(InputError, match=r"a\.mrxs.*not installed.*pip install openslide-python"):
        open_slide(tmp_path / "a.mrxs")
