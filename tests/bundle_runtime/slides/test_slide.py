import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from bundle_runtime.slides.slide import Slide, mpp_of
from custom_components.errors import InputError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from slide_files import damage, dicom_slide, large, picture, pyramid


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pyramid(tmp_path_factory.mktemp("slide") / "a.tif", picture(), steps=(1, 4, 16))


def test_levels_and_resolution(file: Path) -> None:
    with Slide(file) as slide:
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
    with Slide(file) as slide:
        found = slide.read(slide.levels[0], row, column, height, width)
        small = slide.read(slide.levels[1], row // 4, column // 4, height, width)
    expected = padded[200 + row : 200 + row + height, 200 + column : 200 + column + width]
    assert np.array_equal(found, expected)
    coarse = np.full((600, 600, 3), 255, np.uint8)
    coarse[50:178, 50:210] = picture()[::4, ::4]
    top, left = 50 + row // 4, 50 + column // 4
    assert np.array_equal(small, coarse[top : top + height, left : left + width])


@pytest.mark.parametrize("compression", ["none", "zlib", "lzw", "jpeg"])
def test_compressions_of_tiled_tiffs(tmp_path: Path, compression: str) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), compression=compression)
    with Slide(path) as slide:
        found = slide.read(slide.levels[0], 100, 100, 90, 90).astype(int)
    assert np.abs(found - picture()[100:190, 100:190]).max() <= (40 if compression == "jpeg" else 0)
    assert np.abs(found - picture()[100:190, 100:190]).mean() < 4


@pytest.mark.parametrize(
    ("stated", "mpp"),
    [
        ("AppMag = 20|MPP = 0.4990", 0.499),
        ("AppMag = 20", 0.5),
        ("AppMag = 40|MPP = UNKNOWN", 0.25),
        ("AppMag = 20|MPP = .", 0.5),
        ("MPP = 0", None),
        ("MPP = ", None),
    ],
)
def test_an_aperio_file(tmp_path: Path, stated: str, mpp: float | None) -> None:
    """Its thumbnail and its label in strips are no levels. MPP stands in the description, else the magnification."""
    path = tmp_path / "TCGA.svs"
    text = f"Aperio Image Library v11.2.1\r\n46000x32914 (256x256) JPEG/RGB Q=70|{stated}"
    with tifffile.TiffWriter(path) as writer:
        common = {"photometric": "rgb", "metadata": None}
        writer.write(picture(), tile=(64, 64), compression="jpeg", description=text, **common)
        writer.write(picture()[::8, ::8], description="thumbnail", **common)
        writer.write(picture()[::4, ::4], tile=(64, 64), compression="jpeg", **common)
        writer.write(picture(100, 100), description="label", **common)
    with Slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1.0, 4.0]
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp))


def test_a_dicom_slide(tmp_path: Path) -> None:
    """Any of its files opens all levels; the label is none."""
    folder = dicom_slide(tmp_path / "case", picture())
    with Slide(folder / "1.dcm") as slide:
        assert [(level.height, level.downsample) for level in slide.levels] == [(512, 1.0), (128, 4.0)]
        assert slide.mpp == pytest.approx(0.5)
        assert np.array_equal(slide.read(slide.levels[0], 100, 90, 80, 70), picture()[100:180, 90:160])
        assert np.array_equal(slide.read_at(2.0, 200, 100, 30), picture()[200:320:4, 100:220:4])


def test_kinds_of_pixels(tmp_path: Path) -> None:
    """Of 16 bits the upper 8 are kept; what is transparent was not scanned and is white."""
    pixels = picture()
    deep = pyramid(tmp_path / "deep.tif", pixels.astype(np.uint16) * 257)
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    alpha[:100, :, 3] = 0
    clear = pyramid(tmp_path / "alpha.tif", alpha, extrasamples=["unassalpha"])
    ink = pyramid(tmp_path / "cmyk.tif", np.dstack([255 - pixels, np.zeros(pixels.shape[:2], np.uint8)]),
                  photometric="separated")  # fmt: skip
    for path, first_row in ((deep, 0), (clear, 100), (ink, 0)):
        with Slide(path) as slide:
            found = slide.read(slide.levels[0], 0, 0, 512, 640)
        assert np.array_equal(found[first_row:], pixels[first_row:]), path
        assert (found[:first_row] == 255).all()


@pytest.mark.parametrize(
    ("pixels", "match"),
    [
        (np.zeros((64, 64), np.uint8), r"has 1 channel\(s\) of type uint8.*_mask\.tif"),
        (np.zeros((64, 64, 3), np.float32), r"has 3 channel\(s\) of type float32, .*colours of 8 or 16 bits"),
    ],
)
def test_pictures_that_are_no_slide(tmp_path: Path, pixels: np.ndarray, match: str) -> None:
    kind = "minisblack" if pixels.ndim == 2 else "rgb"
    path = pyramid(tmp_path / "a.tif", pixels, steps=(1,), photometric=kind)
    with pytest.raises(InputError, match=match):
        Slide(path)


def test_an_ome_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        meta = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        writer.write(picture(), tile=(64, 64), photometric="rgb", metadata=meta, subifds=1)
        writer.write(picture()[::4, ::4], tile=(64, 64), photometric="rgb", subfiletype=1)
    with pytest.raises(InputError, match=r"a\.ome\.tif: is an OME-TIFF, .*vips tiffsave .*--assume_mpp"):
        Slide(path)


def test_what_openslide_does_not_read_says_what_to_do(tmp_path: Path) -> None:
    strips = pyramid(tmp_path / "strips.tif", picture(), steps=(1,), tile=None, rowsperstrip=32)
    jpeg2000 = pyramid(tmp_path / "jpeg2000.tif", picture(), compression="jpeg2000")
    photograph = tmp_path / "x.JPG"
    Image.fromarray(picture()).save(photograph)
    for path, match in (
        (strips, "is no whole slide that OpenSlide reads; make a tiled pyramid .*vips tiffsave"),
        (photograph, "is no whole slide that OpenSlide reads; make a tiled pyramid .*vips tiffsave"),
        (jpeg2000, r"OpenSlide cannot read it \(Unsupported TIFF compression.*vips tiffsave"),
    ):
        with pytest.raises(InputError, match=match):
            Slide(path)


@pytest.mark.parametrize("keep", [0, 3, 60, 4000])
@pytest.mark.parametrize("name", ["broken.tif", "broken.ndpi", "broken.dcm"])
def test_a_broken_file_is_named(tmp_path: Path, file: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    path.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"broken\.\w+: .*(OpenSlide (reads|cannot)|cannot be decoded)"):
        Slide(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Slide(tmp_path / "none.tif")


def test_a_broken_level_is_named_and_the_finer_one_used(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), steps=(1, 4, 16))
    damage(path, 1, 4)  # the middle of 2 x 3 tiles
    with Slide(path) as slide:
        assert [level.index for level in slide.levels] == [0, 2]
        assert "level 1 cannot be decoded" in slide.problems[0]
        level, factor = slide.level_for(2.0)
        assert (level.index, factor) == (0, 4.0)
        assert np.array_equal(slide.read(slide.levels[0], 0, 0, 64, 64), picture()[:64, :64])


def test_a_broken_finest_level_refuses_the_slide(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture())
    damage(path, 0, 4 * 10 + 5)
    with pytest.raises(InputError, match="level 0 cannot be decoded"):
        Slide(path)


def test_a_slide_that_was_cut_off_says_what_to_do(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(), steps=(1,))
    with tifffile.TiffFile(path) as file:
        last = max(file.pages[0].dataoffsets)
    path.write_bytes(path.read_bytes()[: last + 1])
    with pytest.raises(InputError, match=r"a\.tif: OpenSlide cannot read it \(.*Short read.*copy it again"):
        Slide(path)


def test_a_broken_tile_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture())
    damage(path, 0, 11)  # second row of 10, second column
    with Slide(path) as slide:
        slide.read(slide.levels[0], 0, 0, 64, 640)
        with pytest.raises(InputError, match=r"a\.tif: level 0 is damaged near row 50, column 50"):
            slide.read(slide.levels[0], 50, 50, 64, 64)


@pytest.mark.parametrize(
    ("resolution", "sentence"),
    [
        (None, "says neither micrometres a pixel nor magnification.*give --assume_mpp"),
        (25400 / 72, r"its 72 dpi \(353 micrometres a pixel\) is no microscope's.*give --assume_mpp"),
    ],
)
def test_a_slide_without_resolution_is_refused_by_name(tmp_path: Path, resolution: float | None, sentence: str) -> None:
    path = pyramid(tmp_path / "nameless.tif", picture(), mpp=resolution)
    with Slide(path) as slide, pytest.raises(InputError, match=rf"nameless\.tif: {sentence}"):
        slide.level_for(0.5)
    with Slide(path, assume_mpp=0.25) as slide:
        assert slide.level_for(1.0)[0].index == 1


_MEASURE = """
import json, resource, sys
from bundle_runtime.slides.slide import Slide
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
with Slide(sys.argv[1]) as slide:
    tiles = 0
    for row in range(0, slide.height, 1024):
        for column in range(0, slide.width, 224):
            tiles += slide.read_at(0.5, row, column, 224).shape == (224, 224, 3)
    slide.overview(1024)
print(json.dumps([tiles, peak() - before]))
"""


@pytest.mark.slow
def test_memory_stays_far_below_the_slide(tmp_path: Path) -> None:
    """Unlike MONAI's TiffFileWSIReader, which decodes the whole level for each region."""
    path = large(tmp_path / "large.tif")  # 192 MiB of pixels
    result = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True)
    tiles, grown = json.loads(result.stdout)
    assert tiles == 8 * 37
    assert grown < 130


def test_threads_may_read_one_slide(file: Path) -> None:
    places = [(row, column) for row in range(0, 400, 40) for column in range(0, 500, 50)]
    with Slide(file) as slide, ThreadPoolExecutor(8) as pool:
        tiles = list(pool.map(lambda place: slide.read(slide.levels[0], *place, 64, 64), places))
    for (row, column), tile in zip(places, tiles, strict=True):
        assert np.array_equal(tile, picture()[row : row + 64, column : column + 64])


def test_resolution_from_magnification_or_micrometres() -> None:
    assert mpp_of(magnification=20) == 0.5
    assert mpp_of(mpp=0.25) == 0.25
    for wrong in ({}, {"magnification": 20, "mpp": 0.5}, {"mpp": 0}, {"magnification": "20x"}, {"mpp": True}):
        with pytest.raises(InputError):
            mpp_of(**wrong)  # type: ignore[arg-type]


def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path: Path) -> None:
    with Slide(pyramid(tmp_path / "a.tif", picture(), steps=(1, 4, 16), mpp=0.25)) as slide:
        assert slide.level_for(0.25) == (slide.levels[0], 1.0)
        assert slide.level_for(0.26) == (slide.levels[0], 1.0)  # within 5 %
        assert slide.level_for(0.5) == (slide.levels[0], 2.0)
        assert slide.level_for(1.0) == (slide.levels[1], 1.0)
        assert slide.level_for(3.0)[0] is slide.levels[1]
        with pytest.raises(InputError, match="never scanned"):
            slide.level_for(0.2)


def test_a_tile_between_levels_is_scaled_without_aliasing(tmp_path: Path) -> None:
    pixels = picture()
    with Slide(pyramid(tmp_path / "a.tif", pixels, mpp=0.25)) as slide:
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
    with Slide(pyramid(tmp_path / "a.tif", smooth, steps=steps)) as slide:
        small = slide.overview(80)
    assert small.shape == (64, 80, 3)
    whole = np.asarray(Image.fromarray(smooth).resize((80, 64), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - whole).max() <= 4


@pytest.mark.parametrize(("longest", "side"), [(160, 160), (300, 160), (320, 160), (330, 330), (150, 150), (40, 40)])
def test_a_level_of_about_its_size_is_the_overview(
    file: Path, longest: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    inner = Slide.read
    monkeypatch.setattr(Slide, "read", lambda self, *place: read.append(place[0].index) or inner(self, *place))
    with Slide(file) as slide:
        small = slide.overview(longest)
    assert max(small.shape) == side
    assert set(read) == {{160: 1, 300: 1, 320: 1, 330: 0, 150: 1, 40: 2}[longest]}
    if side == 160:
        assert np.array_equal(small, picture()[::4, ::4])


def test_a_small_slide_is_its_own_overview(tmp_path: Path) -> None:
    with Slide(pyramid(tmp_path / "a.tif", picture())) as slide:
        assert np.array_equal(slide.overview(4096), picture())


def test_pixels_that_are_not_square_are_said(tmp_path: Path) -> None:
    for name, high in (("square", 20_000), ("oblong", 10_000)):
        path = pyramid(
            tmp_path / f"{name}.tif", picture(), mpp=None, resolution=(20_000, high), resolutionunit="CENTIMETER"
        )
        with Slide(path) as slide:
            assert slide.mpp == pytest.approx(0.5)
            assert [problem.removeprefix(f"{path}: ") for problem in slide.problems] == [
                "its pixels are 0.5 micrometres wide and 1 high, and are taken for squares of that width."
            ] * (name == "oblong")
