"""One mask of a picture, its values as they are stored: numbers of objects or classes, never scaled grey levels."""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from custom_components.errors import InputError
from PIL import Image, UnidentifiedImageError
from skimage.measure import label as connected_components

from .image_file import TIFF, tiff_page
from .schema import MASK_KINDS

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP")  # of Pillow
_PHOTOMETRIC = 262  # tag of TIFF
_ROUNDING = 1e-3  # what resampling may add to a number that is stored as float
_BRIGHT = 128  # what is drawn in a lossy mask is at least as bright
_NEIGHBOURS = 2  # for skimage: pixels that touch at a corner belong together


class Mask(NamedTuple):
    """A decoded mask.

    Attributes:
        values: int32 (H, W), or (H, W, 3) where the file is in colour.
        mode: Pillow's, of the file.
        lossy: whether it was compressed as JPEG or the like, which changes values.
    """

    values: np.ndarray
    mode: str
    lossy: bool = False


def decode_mask(name: str, content: bytes) -> Mask:
    """Decode a mask file (PNG, TIFF, BMP, ... through Pillow) without changing its values.

    Grey of 1, 8, 16 or 32 bits gives its values, a palette its indices (as the VOC data set stores classes). Three
    equal channels are one. Where alpha is below half of its highest value nothing is drawn (0), whatever colour lies
    there. A camera's turn is not looked at: masks come from programs.

    Raises:
        InputError: damaged, several pictures in one file, or values that are no whole numbers of at least 0.
    """
    try:
        with Image.open(io.BytesIO(content)) as file_of:
            count = getattr(file_of, "n_frames", 1)
            if count > 1:
                raise InputError(f"{name}: holds {count} pictures, expected one mask; split the file.")
            file_of.load()
            image: Image.Image = file_of
            mode = image.mode
            lossy = file_of.format in _LOSSY or "jpeg" in str(file_of.info.get("compression"))
            lossy = lossy and not (file_of.format == "WEBP" and b"VP8L" in content)  # its lossless kind
            see_through = _see_through(image)
            if image.mode in ("LA", "PA"):
                image = image.convert("L")
            elif image.mode not in ("1", "L", "P", "I", "F", "RGB") and not image.mode.startswith("I;16"):
                image = image.convert("RGB")
            values = np.asarray(image)
            if mode == "L" and getattr(file_of, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
                values = 255 - values  # Pillow has inverted them, and numbers are no shades
    except InputError:
        raise
    except UnidentifiedImageError as error:
        if content[:4] in TIFF:
            page, values = tiff_page(name, content)
            mode, lossy, see_through = f"I;{page.bitspersample}", False, None
        else:
            raise InputError(
                f"{name}: is not a picture that can be read; expected a mask as PNG, TIFF or BMP."
            ) from error
    except _BROKEN as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{name}: is truncated or damaged ({reason}); copy it again.") from error
    if see_through is not None:
        values = values.copy()
        values[see_through] = 0
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    whole = (np.rint(values) if values.dtype.kind == "f" else values).astype(np.int32)
    flat = values.ndim == 2 or values.shape[2:] == (3,)
    if not flat or not (np.abs(values - whole) <= _ROUNDING).all() or whole.min(initial=0) < 0:
        raise InputError(
            f"{name}: holds values that are no whole numbers of at least 0; store class or object numbers."
        )
    return Mask(whole, mode, lossy)


def _see_through(image: Image.Image) -> np.ndarray | None:
    """Where a picture is transparent, bool (H, W); None without alpha."""
    if image.mode not in ("LA", "PA", "RGBA"):
        return None
    alpha = np.asarray(image.getchannel("A"))
    return alpha < alpha.max(initial=0) / 2


def class_map(mask: Mask, mask_kind: str, classes: int, name: str) -> np.ndarray:
    """What a mask says about each pixel's class.

    Args:
        mask: of `decode_mask`.
        mask_kind: "classes" (a class index each), "binary" (two values, or colours on black; of a lossy file what lies
            above half of its highest value is class 1) or "instance" (a number an object, all of class 1).
        classes: number of classes, background included.
        name: of the file, for messages.

    Returns:
        uint8 (H, W).

    Raises:
        InputError: an unknown kind, a colour picture that is not binary, a binary mask with values between, numbers in
            a lossy file, a value that is no class, more than 256 classes.
    """
    values = mask.values
    if mask_kind not in MASK_KINDS:
        raise InputError(f"mask_kind is {mask_kind!r}; it must be one of {', '.join(MASK_KINDS)}.")
    if values.ndim == 3:
        if mask_kind != "binary":
            raise InputError(
                f"{name}: is a colour picture, and mask_kind {mask_kind} needs one number a pixel; store the numbers "
                "as grey levels (16-bit where there are more than 255)."
            )
        colours = _colours(values)
        values = values.max(axis=2)
        if not mask.lossy and np.linalg.matrix_rank(colours, tol=2 * len(colours)) > 1:
            # Colours of different hue stand for objects, unless they fade to black.
            values = values if _fade(colours) else (values > 0).astype(np.int32)
    levels = np.unique(values)
    if mask_kind == "binary":
        if mask.lossy:
            if 0 < levels[-1] < _BRIGHT:
                raise InputError(
                    f"{name}: is a JPEG or the like whose highest value is {levels[-1]}, neither empty (0) nor drawn "
                    f"in white (at least {_BRIGHT}); store it as PNG or TIFF."
                )
            return (values > levels[-1] / 2).astype(np.uint8)
        if len(levels[levels > 0]) > 1:
            raise InputError(
                f"{name}: holds {len(levels)} values ({_shown(levels)}), and a binary mask has two; if its edges are "
                "soft, store it again after a threshold; if it numbers objects, set mask_kind to instance."
            )
        return (values > 0).astype(np.uint8)
    if mask.lossy and len(levels) > 2:
        raise InputError(
            f"{name}: is a JPEG or the like, which changes the numbers of objects and classes; store it as PNG or TIFF."
        )
    if mask_kind == "instance":
        return (values > 0).astype(np.uint8)
    if values.max(initial=0) >= min(classes, 256):
        raise InputError(
            f"{name}: holds the value {values.max()}, and the {classes} class_names have the indices 0 to "
            f"{classes - 1}; set mask_kind (binary or instance) in the datalist, or correct class_names."
        )
    return values.astype(np.uint8)


def _colours(values: np.ndarray) -> np.ndarray:
    """The distinct colours of (H, W, 3), as (N, 3)."""
    codes = np.unique(values @ np.array([1 << 16, 1 << 8, 1], np.int32))
    return codes[:, None] >> np.array([16, 8, 0]) & 255


def _fade(colours: np.ndarray) -> bool:
    """Whether most of the dark ones among colours (N, 3) are shades of others, as soft edges and noise have them."""
    brightness = colours.max(axis=1)
    dark = np.flatnonzero((brightness > 0) & (brightness < brightness.max() / 2))
    faded = 0
    for row in dark:
        brighter = brightness > 2 * brightness[row]
        shades = colours[brighter] * (brightness[row] / brightness[brighter])[:, None]
        faded += bool((np.abs(shades - colours[row]) <= 1).all(axis=1).any())
    return 2 * faded > len(dark)


def _shown(levels: np.ndarray) -> str:
    return ", ".join(map(str, levels[:3])) + (f" ... {levels[-1]}" if len(levels) > 3 else "")


def instance_map(values: np.ndarray, mask_kind: str, classes: np.ndarray) -> np.ndarray:
    """The objects of a mask: its own numbers, or the connected parts of each class (corners connect) where it has none.

    Args:
        values: of `decode_mask`.
        mask_kind: as in `class_map`.
        classes: what `class_map` returned.

    Returns:
        int32 (H, W), 0 where there is no object.
    """
    return (
        values if mask_kind == "instance" else connected_components(classes, connectivity=_NEIGHBOURS).astype(np.int32)
    )
