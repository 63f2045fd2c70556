import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slide_files import damage, large, picture, pyramid

from bundle_runtime.slides.opening import open_slide
from bundle_runtime.slides.tiff_slide import TiffSlide
from custom_components.errors import InputError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pyramid(tmp_path_factory.mktemp("slide") / "a.tif", picture(), steps=(1, 4, 16))


def test_levels_and_resolution(file: Path) -> None:
    with open_slide(file) as slide:
        assert [(level.height, level.width, level.downsample) for level in slide.levels] == [
            (512, 640, 1.0),
            (128, 160, 4.0),
            (32, 40, 16.0),
        ]
        assert slide.mpp == pytest.approx(0.5)
        assert not slide.problems


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(-90, 520), column=st.integers(-90, 650), height=st.integers(1, 200), width=st.integers(1, 200))
def test_any_region_is_that_of_the_picture_and_white_outside(
    file: Path, row: int, column: int, height: int, width: int
) -> None:
    padded = np.full((1200, 1200, 3), 255, np.uint8)
    padded[200:712, 200:840] = picture()
    with open_slide(file) as slide:
        found = slide.read(slide.levels[0], row, column, height, width)
    expected = padded[200 + row : 200 + row + height, 200 + column : 200 + column + width]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("compression", ["none", "zlib", "lzw", "jpeg", "jpeg2000"])
def test_compressions_of_scanners(tmp_path: Path, compression: str) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), compression=compression)
    with open_slide(path) as slide:
        found = slide.read(slide.levels[0], 100, 100, 90, 90).astype(int)
    assert np.abs(found - picture()[100:190, 100:190]).max() <= (0 if compression in ("none", "zlib", "lzw") else 40)
    assert np.abs(found - picture()[100:190, 100:190]).mean() < 4


def test_strips_are_read_as_well(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), steps=(1,), tile=None, rowsperstrip=32)
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(slide.levels[0], 30, 5, 40, 60), picture()[30:70, 5:65])


def test_an_aperio_file(tmp_path: Path) -> None:
    """Its thumbnail in strips, its label of other proportions: no levels. MPP stands in the description."""
    path = tmp_path / "TCGA.svs"
    text = "Aperio Image Library v11.2.1\r\n46000x32914 (256x256) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
    with tifffile.TiffWriter(path) as writer:
        common = {"photometric": "rgb", "metadata": None}
        writer.write(picture(), tile=(64, 64), compression="jpeg", description=text, **common)
        writer.write(picture()[::8, ::8], description="thumbnail", **common)
        writer.write(picture()[::4, ::4], tile=(64, 64), compression="jpeg", **common)
        writer.write(picture(100, 100), description="label", **common)
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1.0, 4.0]
        assert slide.mpp == pytest.approx(0.499)
    path.write_bytes(path.read_bytes().replace(b"|MPP = 0.4990", b"|XXX = 0.4990"))
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.5)  # 20x


def test_an_ome_file_with_sub_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        meta = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        writer.write(picture(), tile=(64, 64), photometric="rgb", metadata=meta, subifds=1)
        writer.write(picture()[::4, ::4], tile=(64, 64), photometric="rgb", subfiletype=1)
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1.0, 4.0]
        assert slide.mpp == pytest.approx(0.25)


def test_kinds_of_pixels(tmp_path: Path) -> None:
    pixels = picture()
    deep = pyramid(tmp_path / "deep.tif", pixels.astype(np.uint16) * 257)
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    alpha[:100, :, 3] = 0  # not scanned
    clear = pyramid(tmp_path / "alpha.tif", alpha, extrasamples=["unassalpha"])
    ink = pyramid(tmp_path / "cmyk.tif", np.dstack([255 - pixels, np.zeros(pixels.shape[:2], np.uint8)]),
                  photometric="separated")  # fmt: skip
    for path, first_row in ((deep, 0), (clear, 100), (ink, 0)):
        with open_slide(path) as slide:
            found = slide.read(slide.levels[0], 0, 0, 512, 640)
        assert np.array_equal(found[first_row:], pixels[first_row:]), path
        assert (found[:first_row] == 255).all()


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (np.zeros((64, 64), np.uint8), r"1 channel"),
        (np.zeros((64, 64, 3), np.float32), r"type float32"),
    ],
)
def test_pictures_that_are_no_slide(tmp_path: Path, pixels: np.ndarray, match: str) -> None:
    kind = "minisblack" if pixels.ndim == 2 else "rgb"
    path = pyramid(tmp_path / "a.tif", pixels, steps=(1,), photometric=kind)
    with pytest.raises(InputError, match=match):
        open_slide(path)


@pytest.mark.parametrize("keep", [0, 3, 60, 4000])
def test_a_broken_file_is_named(tmp_path: Path, file: Path, keep: int) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"broken\.tif.*(cannot be read|damaged|end)"):
        open_slide(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_slide(tmp_path / "none.tif")


def test_a_broken_level_is_named_and_the_finer_one_used(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), steps=(1, 4, 16))
    with tifffile.TiffFile(path) as file:
        middle = len(file.pages[1].dataoffsets) // 2
    damage(path, 1, middle)
    with open_slide(path) as slide:
        assert [level.index for level in slide.levels] == [0, 2]
        assert "level 1 cannot be decoded" in slide.problems[0]
        level, factor = slide.level_for(2.0)
        assert (level.index, factor) == (0, 4.0)


def test_a_broken_finest_level_refuses_the_slide(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture())
    with tifffile.TiffFile(path) as file:
        middle = len(file.pages[0].dataoffsets) // 2
    damage(path, 0, middle)
    with pytest.raises(InputError, match="level 0 cannot be decoded"):
        open_slide(path)


def test_a_slide_that_was_cut_off_says_what_to_do(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture())
    with tifffile.TiffFile(path) as file:
        last = max(file.pages[0].dataoffsets)
    path.write_bytes(path.read_bytes()[: last + 1])
    with pytest.raises(InputError, match="level 0 ends behind the end of the file, which was cut off; copy the slide"):
        open_slide(path)


def test_a_broken_tile_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture())
    damage(path, 0, 11)  # second row of 10, second column
    with open_slide(path) as slide:
        slide.read(slide.levels[0], 0, 0, 64, 640)
        with pytest.raises(InputError, match=r"level 0 is damaged at row 64, column 64"):
            slide.read(slide.levels[0], 50, 50, 64, 64)


def test_one_huge_strip_is_refused(tmp_path: Path) -> None:
    side = 5000
    path = tmp_path / "flat.tif"
    tifffile.imwrite(
        path, np.zeros((side, side, 3), np.uint8), photometric="rgb", rowsperstrip=side, compression="zlib"
    )
    with pytest.raises(InputError, match=r"pieces of 5000 x 5000 pixels.*tiled pyramid"):
        open_slide(path)


@pytest.mark.parametrize(
    ("resolution", "sentence"),
    [
        (None, "says neither micrometres a pixel nor magnification.*give --assume_mpp"),
        (25400 / 72, r"its 72 dpi \(353 micrometres a pixel\) is no microscope's.*give --assume_mpp"),
    ],
)
def test_a_slide_without_resolution_is_refused_by_name(tmp_path: Path, resolution: float | None, sentence: str) -> None:
    path = pyramid(tmp_path / "nameless.tif", picture(), mpp=resolution)
    with open_slide(path) as slide, pytest.raises(InputError, match=rf"nameless\.tif: {sentence}"):
        slide.level_for(0.5)
    with open_slide(path, assume_mpp=0.25) as slide:
        assert slide.level_for(1.0)[0].index == 1


_MEASURE = """
import json, resource, sys
from bundle_runtime.slides import open_slide
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
with open_slide(sys.argv[1]) as slide:
    tiles = 0
    for row in range(0, slide.height, 1024):
        for column in range(0, slide.width, 224):
            tiles += slide.read_at(0.5, row, column, 224).shape == (224, 224, 3)
    slide.overview(1024)
print(json.dumps([tiles, peak() - before]))
"""


def test_memory_stays_far_below_the_slide(tmp_path: Path) -> None:
    """Unlike MONAI's TiffFileWSIReader, which decodes the whole level for each region."""
    path = large(tmp_path / "large.tif")  # 192 MiB of pixels
    result = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True)
    tiles, grown = json.loads(result.stdout)
    assert tiles == 8 * 37
    assert grown < 130  # 64 MiB are kept on purpose


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundle_runtime.slides.tiff_slide.CACHE_BYTES", 3 * 64 * 64 * 3)
    with TiffSlide(pyramid(tmp_path / "a.tif", picture())) as slide:
        slide.read(slide.levels[0], 0, 0, 512, 640)
        assert sum(piece.nbytes for piece in slide._cache.values() if piece is not None) <= 3 * 64 * 64 * 3
