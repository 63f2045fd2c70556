"""Picture files of every kind against Pillow; damaged ones in one sentence each."""

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from bundle_runtime.data import image_file
from bundle_runtime.data.image_file import is_picture_file, read_picture
from bundle_runtime.data.image_prepare import as_channels
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import dataset, dicom, encoded, png, shades
from PIL import Image

GREY = shades()
COLOUR = shades(channels=3)


def channel_first(pixels: np.ndarray) -> np.ndarray:
    return np.moveaxis(pixels, -1, 0)


def saved(image: Image.Image, path: Path, **arguments: Any) -> Path:
    image.save(path, **arguments)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "jpg"])
def test_grey_and_colour(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    tolerance = 0 if suffix != "jpg" else 12
    grey = read_picture(png(tmp_path / f"g.{suffix}", GREY, **options))
    assert grey.kind == ("RGB" if suffix == "webp" else "8-bit grey")  # WebP knows no grey
    np.testing.assert_allclose(grey.pixels[0].astype(int), GREY.astype(int), atol=tolerance)
    colour = read_picture(png(tmp_path / f"c.{suffix}", COLOUR, **options))
    assert colour.kind == "RGB"
    assert colour.pixels.dtype == np.uint8
    np.testing.assert_allclose(colour.pixels.astype(int), channel_first(COLOUR).astype(int), atol=tolerance)


def test_bilevel_becomes_black_and_white(tmp_path: Path) -> None:
    picture = read_picture(saved(Image.fromarray(GREY > 90), tmp_path / "a.png"))
    assert picture.kind == "bilevel"
    np.testing.assert_array_equal(picture.pixels[0], np.where(GREY > 90, 255, 0))


def test_a_palette_is_expanded_and_not_taken_for_grey(tmp_path: Path) -> None:
    """Read as they are, palette indices look like a picture of few greys."""
    image = Image.fromarray(COLOUR).quantize(40)
    picture = read_picture(saved(image, tmp_path / "a.png"))
    assert picture.kind == "palette"
    np.testing.assert_array_equal(picture.pixels, channel_first(np.asarray(image.convert("RGB"))))


def test_alpha_is_composited_on_black(tmp_path: Path) -> None:
    alpha = shades(seed=3)
    image = Image.fromarray(np.dstack([COLOUR, alpha]))
    picture = read_picture(saved(image, tmp_path / "a.png"))
    assert picture.kind == "RGB with alpha"
    exact = channel_first(COLOUR) * (alpha / 255.0)
    np.testing.assert_allclose(picture.pixels, exact, atol=1)
    # The NIH release holds radiographs saved with an opaque alpha channel: their grey comes out unchanged.
    opaque = Image.fromarray(np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)]))
    np.testing.assert_array_equal(as_channels(read_picture(saved(opaque, tmp_path / "b.png")).pixels, 1)[0], GREY)


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    alpha = shades(seed=3)
    image = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha)))
    picture = read_picture(saved(image, tmp_path / "a.png"))
    assert picture.kind == "grey with alpha"
    assert picture.pixels.shape == (1, 40, 50)
    np.testing.assert_allclose(picture.pixels[0], GREY * (alpha / 255.0), atol=1)


def test_transparent_entries_become_black(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    index = np.asarray(image)
    picture = read_picture(saved(image, tmp_path / "p.png", transparency=3))
    assert picture.kind == "palette with transparency"
    assert not picture.pixels[:, index == 3].any()
    assert picture.pixels[:, index != 3].any()
    grey = read_picture(saved(Image.fromarray(GREY), tmp_path / "g.png", transparency=int(GREY.max())))
    np.testing.assert_array_equal(grey.pixels[0], np.where(GREY.max() == GREY, 0, GREY))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_windowed_from_its_own_range(tmp_path: Path, suffix: str) -> None:
    """12 bits in 16: cut to the upper 8 bits, as some readers do, the picture would be black."""
    values = (GREY.astype(np.uint16) * 12 + 300).astype(np.uint16)
    values[0, 0] = 65535
    picture = read_picture(png(tmp_path / f"a.{suffix}", values))
    assert picture.kind == "16-bit grey"
    low, high = np.percentile(values, (0.1, 99.9))
    expected = 255 * np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(picture.pixels[0], expected, atol=0.5 + 1e-3)
    assert picture.pixels.max() == 255


@pytest.mark.parametrize(("dtype", "kind"), [(np.int32, "32-bit grey"), (np.float32, "float grey")])
def test_wider_grey_is_windowed_too(tmp_path: Path, dtype: type, kind: str) -> None:
    values = (GREY.astype(np.int64) * 70_000 - 10).astype(dtype)
    picture = read_picture(png(tmp_path / "a.tif", values))
    assert picture.kind == kind
    plain = read_picture(png(tmp_path / "b.png", (GREY.astype(np.uint16) * 256))).pixels
    np.testing.assert_allclose(picture.pixels.astype(int), plain.astype(int), atol=1)


def test_values_that_are_no_numbers_are_black(tmp_path: Path) -> None:
    values = GREY.astype(np.float32)
    values[3, 4], values[5, 6] = np.nan, np.inf
    pixels = read_picture(png(tmp_path / "a.tif", values)).pixels[0]
    assert pixels[3, 4] == 0
    assert pixels.max() == 255


def wide_png(values: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits a channel; kind 2 is RGB, 4 grey with alpha, 6 RGB with alpha."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wide_tiff(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, photometric="rgb", **options)
    return stream.getvalue()


def test_16_bit_colour_keeps_its_upper_8_bits() -> None:
    content = wide_png(COLOUR.astype(np.uint16) * 256 + 77, 2)
    np.testing.assert_array_equal(read_picture("x.png", content).pixels, channel_first(COLOUR))


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
def test_colour_that_uses_few_of_its_16_bits_is_as_bright_as_any(bits: int) -> None:
    """12 bits in 16 of each channel: cut to the upper 8 of 16, the picture would be nearly black."""
    values = (COLOUR.astype(np.uint16) << 8) >> (16 - bits)
    deep = np.dstack([values, COLOUR[..., 0].astype(np.uint16) << 8])
    for content in (wide_png(values, 2), wide_tiff(values), wide_tiff(values, byteorder=">", compression="zlib")):
        picture = read_picture("x", content)
        assert picture.kind == "RGB"
        np.testing.assert_allclose(picture.pixels.astype(int), channel_first(COLOUR), atol=0 if bits > 8 else 1)
    opacity = COLOUR[..., :1] / 255.0
    for content in (wide_png(deep, 6), wide_tiff(deep, extrasamples=["unassalpha"])):
        picture = read_picture("x", content)
        assert picture.kind == "RGB with alpha"
        np.testing.assert_allclose(picture.pixels, channel_first(COLOUR * opacity), atol=1)
    grey = read_picture("x", wide_png(deep[..., [1, 3]], 4))
    assert (grey.kind, grey.pixels.shape) == ("grey with alpha", (1, 40, 50))
    np.testing.assert_allclose(grey.pixels[0], COLOUR[..., 1] * opacity[..., 0], atol=1)


def test_one_hot_pixel_does_not_darken_a_colour_picture() -> None:
    values = COLOUR.astype(np.uint16) << 4
    values[3, 4] = 65535
    pixels = read_picture("x", wide_png(values, 2)).pixels
    np.testing.assert_array_equal(pixels[:, 10:], channel_first(COLOUR)[:, 10:])
    assert pixels[:, 3, 4].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f2", "f4"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_turn_that_a_tiff_notes_is_carried_out(kind: str, turn: int) -> None:
    """By Pillow where it reads the file, and by us where it does not; half floats are of these."""
    upright = {1: GREY, 2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1], 5: GREY.T, 6: np.rot90(GREY, -1),
               7: GREY[::-1, ::-1].T, 8: np.rot90(GREY)}[turn]  # fmt: skip
    stream = io.BytesIO()
    tag = [(274, "H", 1, turn, True)]
    tifffile.imwrite(stream, GREY.astype(kind), photometric="minisblack", extratags=tag)
    pixels = read_picture("x.tif", stream.getvalue()).pixels[0]
    assert pixels.shape == upright.shape
    assert np.corrcoef(pixels.ravel(), upright.ravel())[0, 1] > 0.999
    if kind == "u2":
        colours = np.dstack([GREY, GREY // 2, GREY // 3]).astype(np.uint16) << 8
        shown = read_picture("x.tif", wide_tiff(colours, extratags=tag)).pixels
        np.testing.assert_array_equal(shown[0], upright)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).convert("CMYK")
    picture = read_picture(saved(image, tmp_path / "a.tif"))
    assert picture.kind == "CMYK"
    np.testing.assert_allclose(picture.pixels.astype(int), channel_first(COLOUR).astype(int), atol=2)


def test_a_turn_noted_by_the_camera_is_carried_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    path = saved(Image.fromarray(GREY), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(path).pixels[0], np.rot90(GREY, -1))


def test_the_content_counts_and_not_the_ending(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", COLOUR).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_picture(path).pixels, channel_first(COLOUR))
    stored = (GREY.astype(np.uint16) * 16).astype(np.uint16)
    path = dicom(tmp_path / "a.png", stored, WindowCenter=2048, WindowWidth=4096)
    picture = read_picture(path)
    assert picture.kind == "DICOM CR"
    np.testing.assert_allclose(picture.pixels[0].astype(int), GREY.astype(int), atol=1)
    # A DICOM file without its usual beginning is known by its ending.
    bare = encoded(dataset(stored))
    bare = bare[bare.index(b"\x08\x00\x16\x00") :]
    assert read_picture("x.dcm", bare).pixels.shape == (1, 40, 50)
    with pytest.raises(InputError, match="is not a picture"):
        read_picture("x.png", bare)


def test_dicom_headers_arrive(tmp_path: Path) -> None:
    picture = read_picture(dicom(tmp_path / "a.dcm", GREY.astype(np.uint16), ViewPosition="PA"))
    assert (picture.kind, picture.header) == ("DICOM CR", ("P7", "CR", "PA"))
    assert read_picture(png(tmp_path / "a.png")).header == ("", "", "")


def content_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


PNG = content_of(Image.fromarray(shades(120, 130)), "PNG")
JPEG = content_of(Image.fromarray(shades(120, 130, channels=3)), "JPEG")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from([PNG[:-4], JPEG[:-2]]), st.floats(0, 1))  # what comes after only says that the file ends
def test_a_truncated_file_is_refused(content: bytes, share: float) -> None:
    length = int(share * (len(content) - 1))
    with pytest.raises(InputError, match=r"^x\.png: .+; .+\.$"):
        read_picture("x.png", content[:length])


@settings(deadline=None, max_examples=300)
@given(st.integers(8, len(PNG) - 5), st.integers(1, 255))
def test_a_flipped_bit_in_a_png_is_found(place: int, change: int) -> None:
    damaged = PNG[:place] + bytes([PNG[place] ^ change]) + PNG[place + 1 :]
    with pytest.raises(InputError, match=r"^x: is .+\.$"):
        read_picture("x", damaged)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([b"", PNG[:40], JPEG[:40], b"II*\0", b"BM", b"GIF89a", b"RIFF"]))
def test_rubbish_gives_a_sentence(rubbish: bytes, start: bytes) -> None:
    try:
        picture = read_picture("x", start + rubbish)
    except InputError as error:
        said = str(error)
    else:
        said = "x: is a picture."
        assert picture.pixels.dtype == np.uint8
    assert re.match(r"x: [^\n]+\.$", said)


def test_what_is_no_single_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY // 2)]
    path = saved(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"a\.tif: holds 2 pictures, expected one; split the file\.$"):
        read_picture(path)
    for kind in (np.uint8, np.float16):  # one that Pillow reads, and one that it does not
        with tifffile.TiffWriter(tmp_path / "slide.tif") as writer:
            for level in (GREY, GREY[::2, ::2]):
                writer.write(level.astype(kind), photometric="minisblack")
        with pytest.raises(InputError, match=r"holds 2 pictures, expected one; .*whole slide cut tiles"):
            read_picture(tmp_path / "slide.tif")
    (tmp_path / "empty.png").touch()
    for name, text in (("empty.png", r"is empty \(0 bytes\)"), ("", "is a folder"), ("none.png", "does not exist")):
        with pytest.raises(InputError, match=rf"{re.escape(str(tmp_path / name))}: {text}"):
            read_picture(tmp_path / name)
    (tmp_path / "notes.png").write_text("Dear colleague,")
    with pytest.raises(InputError, match=r"notes\.png: is not a picture .*b'Dear col'.*expected PNG, JPEG"):
        read_picture(tmp_path / "notes.png")
    monkeypatch.setattr(image_file.Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(InputError, match="is larger than any radiograph or tile"):
        read_picture(png(tmp_path / "big.png", shades(200, 300)))


def test_real_radiographs(real_data: Path) -> None:
    for path in sorted((real_data / "chest_xray" / "images").glob("*.png"))[:20]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(as_channels(read_picture(path).pixels, 1)[0], np.asarray(image.convert("L")))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp"])
def test_a_picture_by_its_content(tmp_path: Path, suffix: str) -> None:
    content = png(tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / "IM0001").write_bytes(content)
    (tmp_path / "IM0002").write_bytes(content[1:])
    assert is_picture_file(tmp_path / "IM0001")
    assert not is_picture_file(tmp_path / "IM0002")


def test_a_picture_by_its_ending(tmp_path: Path) -> None:
    assert is_picture_file(tmp_path / "missing.PNG")  # whoever reads it says that it is missing
    assert not is_picture_file(tmp_path / "missing")
    assert not is_picture_file(tmp_path)


GREYS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8"]


@pytest.mark.parametrize("kind", GREYS)
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_of_a_grey_tiff(tmp_path: Path, kind: str, photometric: str, order: str) -> None:
    """Against tifffile: signs, both byte orders, values above half of the range, and 0 as black or white."""
    span = 3.0 if kind[0] == "f" else 2.0 ** (8 * int(kind[1]) - (kind[0] == "i")) - 1
    values = ((GREY / 255.0 - (kind[0] == "i") * 0.5) * span * 0.999).astype(kind)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric=photometric, byteorder=order)
    stored = tifffile.imread(path).astype(np.float64)
    picture = read_picture(path)
    low, high = (0, 255) if kind == "u1" else np.percentile(stored, (0.1, 99.9))
    unit = np.clip((stored - low) / (high - low), 0, 1)
    np.testing.assert_allclose(
        picture.pixels[0], 255 * (1 - unit if photometric == "miniswhite" else unit), atol=1, err_msg=picture.kind
    )


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
def test_colour_of_a_tiff_keeps_its_upper_bits(tmp_path: Path, planar: str, kind: str) -> None:
    wide = COLOUR.astype(kind) << (8 * (int(kind[1]) - 1))
    values = wide if planar == "contig" else np.ascontiguousarray(channel_first(wide))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels, channel_first(COLOUR))


def test_a_sound_file_of_a_kind_that_is_not_read_is_not_called_damaged() -> None:
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "BMP")
    content = bytearray(stream.getvalue())
    content[28] = 3  # bits a pixel
    with pytest.raises(
        InputError, match=r"x\.bmp: is of a kind that cannot be read \(Unsupported BMP pixel depth \(3\)"
    ):
        read_picture("x.bmp", bytes(content))


def test_tiffs_that_are_refused_by_name(tmp_path: Path) -> None:
    for kind in ("int8", "int16", "int32", "float16", "float32", "float64"):
        for planar in ("contig", "separate"):
            values = COLOUR if planar == "contig" else np.ascontiguousarray(channel_first(COLOUR))
            tifffile.imwrite(tmp_path / "f.tif", values.astype(kind), photometric="rgb", planarconfig=planar)
            with pytest.raises(InputError, match=rf"f\.tif: is a TIFF of {kind} RGB .*, expected unsigned RGB or grey"):
                read_picture(tmp_path / "f.tif")
    tifffile.imwrite(tmp_path / "lab.tif", COLOUR, photometric="cielab")
    with pytest.raises(InputError, match="its colours are LAB, which is not supported"):
        read_picture(tmp_path / "lab.tif")
    tifffile.imwrite(tmp_path / "two.tif", np.stack([GREY.astype(np.float16)] * 2), photometric="minisblack")
    with pytest.raises(InputError, match="holds 2 pictures, expected one"):
        read_picture(tmp_path / "two.tif")
    content = (tmp_path / "f.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is truncated or damaged"):
        read_picture(tmp_path / "cut.tif")


def test_a_float_tiff_with_gaps(tmp_path: Path) -> None:
    values = GREY.astype(np.float32)
    values[0] = np.nan
    for photometric in ("minisblack", "miniswhite"):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric)
        assert not read_picture(tmp_path / "a.tif").pixels[0, 0].any()


@pytest.mark.parametrize(("sides", "oblong"), [((72, 72), False), ((200, 100), True), ((100.2, 100), False)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_pixels_that_are_not_square_are_told(
    tmp_path: Path, suffix: str, sides: tuple[float, float], oblong: bool
) -> None:
    """As a fax or a scanner with another feed writes them: by dots an inch along both sides."""
    kind = read_picture(png(tmp_path / f"a.{suffix}", GREY, dpi=sides)).kind
    assert kind == "8-bit grey" + " of oblong pixels" * oblong
