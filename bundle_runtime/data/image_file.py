"""One picture file of any common kind as 8-bit pixels: PNG, JPEG, TIFF, BMP, WebP, GIF through Pillow, and DICOM."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from custom_components.errors import InputError
from PIL import Image, ImageOps, UnidentifiedImageError

from ..dicom.picture import are_oblong, is_dicom, read_dicom
from .image_prepare import stretch, to_uint8, value_range
from .verify_pictures import OBLONG

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".tif", ".tiff", ".bmp", ".webp", ".gif", *DICOM_SUFFIXES)

_KINDS = {
    "1": "bilevel",
    "L": "8-bit grey",
    "LA": "grey with alpha",
    "P": "palette",
    "PA": "palette with alpha",
    "RGB": "RGB",
    "RGBA": "RGB with alpha",
    "CMYK": "CMYK",
    "I": "32-bit grey",
    "F": "float grey",
}
_PNG = b"\x89PNG"
_HEAD_BYTES = 132
TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BITS, _PHOTOMETRIC, _TURN, _PLANAR, _SAMPLE_FORMAT = 258, 262, 274, 284, 339  # tags of TIFF
_PNG_BITS = 24  # place of the bits a channel in a PNG
_OPACITY = 2  # kind of an extra channel of a TIFF; where it is 1, the colours are multiplied by it already
_IN_PLANES = _SIGNED = 2  # values of the last two
_OTHER_COLOURS = ("LAB", "HSV")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", *TIFF, b"GIF8")
# What makes an array (H, W, ...) of each EXIF orientation upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
# What Pillow raises for bytes that it cannot make a picture of; SyntaxError is its word for a broken PNG.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


class Picture(NamedTuple):
    """A decoded file.

    Attributes:
        pixels: uint8 (1, H, W) for grey, (3, H, W) for colour.
        kind: what the file held, in words, e.g. "8-bit grey", "16-bit grey", "RGB with alpha", "DICOM CR".
        header: of DICOM: patient id, modality and view position, each "" where it is not said.
        numbers: (H, W) what grey of more than 8 bits, signed or float was before it became 8-bit (inverted where 0 is
            white), else None.
    """

    pixels: np.ndarray
    kind: str
    header: tuple[str, str, str] = ("", "", "")
    numbers: np.ndarray | None = None


def read_picture(file: str | os.PathLike[str], content: bytes | None = None) -> Picture:
    """Read one picture file to its last byte.

    * Bilevel becomes 0 and 255. Palettes are expanded, alpha is composited on black, CMYK becomes RGB.
    * Grey of 16 or 32 bits, signed or float is windowed from its 0.1 .. 99.9 percentiles to 8 bits, because scanners
      rarely use the whole range. Colour of more than 8 bits keeps the upper 8 of those that it uses, 12 of 16 maybe.
    * TIFF: where 0 is white, grey is inverted; kinds that Pillow cannot read go through tifffile.
    * A turn noted by a camera (EXIF orientation) is carried out.
    * DICOM: see `read_dicom`.

    Args:
        file: its path; the kind is found from the content, not from the ending.
        content: the bytes of the file, if they were read already.

    Raises:
        InputError: missing, empty, truncated, damaged, no picture, or several pictures in one file.
    """
    name = os.fspath(file)
    if content is None:
        content = read_bytes(name)
    if not content:
        raise InputError(f"{name}: is empty (0 bytes); copy it again.")
    try:
        if is_dicom(content) or name.lower().endswith(DICOM_SUFFIXES):
            picture = read_dicom(name, content)
            kind = f"DICOM {picture.modality}".strip() + OBLONG * picture.oblong
            header = picture.patient_id, picture.modality, picture.view
            return Picture(to_uint8(picture.pixels), kind, header, picture.numbers)
        return _read_with_pillow(name, content)
    except MemoryError as error:
        raise InputError(f"{name}: does not fit into memory; make it smaller.") from error


def read_bytes(name: str) -> bytes:
    """The content of a file.

    Raises:
        InputError: missing, a folder, or not readable.
    """
    try:
        return Path(name).read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{name}: does not exist; correct the path or pass dataset_dir.") from error
    except IsADirectoryError as error:
        raise InputError(f"{name}: is a folder, expected one picture file.") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}); check its permissions.") from error


def _read_with_pillow(name: str, content: bytes) -> Picture:
    try:
        if content.startswith(_PNG):
            with Image.open(io.BytesIO(content)) as image:
                image.verify()  # the checksums of a PNG, which reading it alone does not look at
        with Image.open(io.BytesIO(content)) as image:
            # A camera's MPO holds previews or a second view after the picture itself.
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if count > 1:
                size = image.size
                image.seek(1)
                raise _several(name, count, size == image.size)
            turn = image.getexif().get(_TURN, 1)  # before Pillow carries it out
            image.load()
            tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
            oblong = OBLONG * _is_oblong(image.info)
            if max(tags.get(_BITS, (0,))) > 8 and (tags.get(_PLANAR) == _IN_PLANES or image.mode.startswith("RGB")):
                return _read_with_tifffile(name, content, oblong)  # Pillow mixes planes up, and keeps the upper 8 bits
            if content.startswith(_PNG) and content[_PNG_BITS] == 16 and image.mode.startswith("RGB"):
                return _of_colours(_png_values(name, content), turn, oblong)
            if image.mode in _OTHER_COLOURS:
                raise InputError(f"{name}: its colours are {image.mode}, which is not supported; save it as RGB.")
            turned = ImageOps.exif_transpose(image)
            numbers = _numbers(turned, tags)
            kind = _kind(image) + oblong
            return Picture(_pixels(turned), kind) if numbers is None else _stretched(kind, *numbers)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        if content[:4] in TIFF:
            return _read_with_tifffile(name, content)
        raise InputError(
            f"{name}: is not a picture that can be read (its first bytes are {content[:8]!r}); expected PNG, JPEG, "
            "TIFF, BMP, WebP, GIF or DICOM."
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: is larger than any radiograph or tile ({error}); cut or scale it down.") from error
    except _BROKEN as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        if reason.startswith("Unsupported"):
            raise InputError(f"{name}: is of a kind that cannot be read ({reason}); save it as PNG.") from error
        raise InputError(f"{name}: is truncated or damaged ({reason}); copy it again.") from error


def _read_with_tifffile(name: str, content: bytes, oblong: str = "") -> Picture:
    """A TIFF of a kind that Pillow does not know, or not with all its bits: 12, 16, 64, half floats, planes, ...

    Raises:
        InputError: colours of another space, signed or float; several pictures; damage.
    """
    page, values = tiff_page(name, content)
    photometric = tifffile.PHOTOMETRIC(page.photometric).name
    turn = page.tags.valueof(_TURN, default=1)
    if values.ndim == 2 and photometric in ("MINISBLACK", "MINISWHITE") and values.dtype.kind in "iuf":
        kind = f"{page.bitspersample}-bit grey{oblong}"
        return _stretched(kind, _upright(values, turn), photometric == "MINISWHITE")
    channels = np.moveaxis(values, 0, -1) if page.planarconfig == _IN_PLANES else values
    if photometric == "RGB" and values.dtype.kind == "u" and channels.ndim == 3:
        opaque = _OPACITY not in page.extrasamples[:1]
        return _of_colours(channels[..., : 3 if opaque else 4], turn, oblong)
    raise InputError(
        f"{name}: is a TIFF of {values.dtype} {photometric} {values.shape}, expected unsigned RGB or grey; convert it."
    )


def _png_values(name: str, content: bytes) -> np.ndarray:
    """A PNG with all its bits, (H, W, C)."""
    import imagecodecs  # few files need it

    try:
        return imagecodecs.png_decode(content)
    except imagecodecs.PngError as error:
        raise InputError(f"{name}: is truncated or damaged ({error}); copy it again.") from error


def _of_colours(values: np.ndarray, turn: int, oblong: str) -> Picture:
    """Colour, or grey with alpha, of any number of bits, (H, W, C): the upper 8 of those that are used."""
    seen = 3 if values.shape[2] > 2 else 1
    colours = values[..., :seen]
    spare = max(int(value_range(colours)[1]).bit_length() - 8, 0)
    eight = np.minimum(colours >> spare, 255)
    alpha = values[..., seen:] >> 8 * (values.itemsize - 1)
    image = Image.fromarray(np.ascontiguousarray(_upright(np.concatenate([eight, alpha], axis=2), turn), np.uint8))
    return Picture(_pixels(image), _kind(image) + oblong)


def _upright(values: np.ndarray, turn: int) -> np.ndarray:
    """Values (H, W, ...) with the turn carried out that a camera or a TIFF notes."""
    return _UPRIGHT.get(turn, np.asarray)(values)


def _is_oblong(info: Mapping[Any, Any]) -> bool:
    """Whether the pixels of a picture are not square, by what its file says of them."""
    sides = next((info[key] for key in ("dpi", "aspect", "jfif_density") if key in info), ())
    return are_oblong([float(side) for side in sides])  # some are fractions of Pillow, which have no division


def tiff_page(name: str, content: bytes) -> tuple[Any, np.ndarray]:
    """The one page of a TIFF and its values as stored.

    Raises:
        InputError: damage, or several pages.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page, count = file.pages.first, len(file.pages)
            values, second = page.asarray(), file.pages[min(count, 2) - 1]
    except Exception as error:  # whatever it was: a damaged file can break it anywhere
        raise InputError(f"{name}: is truncated or damaged ({error}); copy it again.") from error
    if count > 1:
        raise _several(name, count, page.shape == second.shape)
    return page, values


def _several(name: str, count: int, alike: bool) -> InputError:
    advice = "split the file"
    if not alike:
        advice += ", or if it is a whole slide cut tiles (`python -m mae_tools tiles`), or run detect or the like on it"
    return InputError(f"{name}: holds {count} pictures, expected one; {advice}.")


def _stretched(kind: str, values: np.ndarray, white_is_zero: bool = False) -> Picture:
    """Grey of any number type, as 8 bits."""
    finite = np.isfinite(values)
    unit = stretch(np.where(finite, values, 0), *value_range(values[finite]))
    pixels = to_uint8(np.where(finite, 1 - unit if white_is_zero else unit, 0))[None]
    inverted = -values if values.dtype.kind == "f" else ~values
    return Picture(pixels, kind, numbers=inverted if white_is_zero else values)


def _numbers(image: Image.Image, tags: Mapping[int, Any]) -> tuple[np.ndarray, bool] | None:
    """The values of a grey picture that are no levels of 8 bits, and whether 0 is white; None for any other."""
    bits, sign = (int(tags.get(key, (default,))[0]) for key, default in ((_BITS, 0), (_SAMPLE_FORMAT, 1)))
    if image.mode == "L" and bits == 8 and sign == _SIGNED:
        return np.asarray(image).view(np.int8), False  # Pillow has inverted them already
    if not (image.mode.startswith("I") or image.mode == "F"):
        return None
    values = np.asarray(image)
    if bits == 32 and sign == 1 and values.dtype == np.int32:
        values = values.view(np.uint32)
    return values, tags.get(_PHOTOMETRIC) == 0


def _kind(image: Image.Image) -> str:
    kind = "16-bit grey" if image.mode.startswith("I;16") else _KINDS.get(image.mode, image.mode)
    see_through = "transparency" in image.info and "alpha" not in kind
    return f"{kind} with transparency" if see_through else kind


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 (1, H, W) or (3, H, W) of a loaded picture."""
    mode = image.mode
    if mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        grey = mode in ("L", "LA", "La")
        image = _on_black(image.convert("RGBA"))
        mode = "RGB"
        if grey:
            return np.asarray(image)[None, :, :, 0]
    if mode in ("1", "L"):
        return np.asarray(image.convert("L"))[None]
    return np.ascontiguousarray(np.moveaxis(np.asarray(image.convert("RGB")), -1, 0))  # H W 3 -> 3 H W


def _on_black(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")


def is_picture_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture or DICOM, by its ending, or by its first bytes where the ending says nothing."""
    name = os.fspath(path)
    if name.lower().endswith(PICTURE_SUFFIXES):
        return True
    try:
        with open(name, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:  # it does not exist, or is a folder: nothing speaks for a picture, and whoever reads it says so
        return False
    return is_dicom(head) or head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
