"""What happens once to every picture before training: 8 bits, equalised, one size. Pure functions on arrays.

Arrays are channel-first, (1, H, W) grey or (3, H, W) RGB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from custom_components.augment.stain_normalisation import STAINS, normalise_stain
from custom_components.errors import InputError
from PIL import Image
from skimage.exposure import equalize_adapthist

EQUALISE = ("hist", "clahe", "none")
ORDERS = ("equalise_first", "resize_first")
FITS = ("pad", "squash", "crop")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
PERCENTILES = (0.1, 99.9)


def value_range(values: np.ndarray) -> tuple[float, float]:
    """The range that becomes black to white where a file states none: its 0.1 and 99.9 percentiles.

    Percentiles rather than the extremes, because a metal marker or one dead pixel would darken the whole picture. Where
    they coincide, as in a mask with few bright pixels, the extremes count.
    """
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, PERCENTILES)
    return (float(low), float(high)) if low < high else (float(values.min()), float(values.max()))


def stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map low..high to 0..1 in float32, values outside clipped; an empty range gives 0."""
    if not low < high:
        return np.zeros(values.shape, np.float32)
    # Differences in float64: float32 cannot hold 32-bit integers.
    return np.clip((values.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def to_uint8(unit: np.ndarray) -> np.ndarray:
    """0..1 as the nearest of 256 levels."""
    return np.round(np.asarray(unit) * 255).astype(np.uint8)


def equalise_histogram(pixels: np.ndarray) -> np.ndarray:
    """Global histogram equalisation over 256 bins of the whole picture.

    A level v becomes `round(255 * (F(v) - F(v0)) / (1 - F(v0)))`, where F(v) is the share of pixels at or below v and
    v0 the darkest level present: black stays black and the brightest level becomes white. A constant picture stays as
    it is. Of a colour picture the luma (ITU-R 601) is equalised and its colour differences are kept.

    Args:
        pixels: uint8 (1, H, W) or (3, H, W).

    Returns:
        uint8 of the same shape.
    """
    if len(pixels) == 3:
        return _on_luma(pixels, equalise_histogram)
    image = _to_pillow(pixels)  # whose histogram and table take half the time of NumPy's
    counts = np.array(image.histogram())
    below = np.cumsum(counts)
    darkest = counts[np.argmax(counts > 0)]  # pixels at the darkest level
    if below[-1] == darkest:
        return pixels.copy()
    table = np.round(255.0 * np.clip(below - darkest, 0, None) / (below[-1] - darkest)).astype(int)
    return _from_pillow(image.point(table.tolist()))


def equalise_locally(pixels: np.ndarray, clip_limit: float = 0.01) -> np.ndarray:
    """Contrast-limited adaptive equalisation (CLAHE) of scikit-image: tiles of 1/8 of each side, 256 bins.

    Of a colour picture the luma is equalised, as in `equalise_histogram`.

    Args:
        pixels: uint8 (1, H, W) or (3, H, W).
        clip_limit: largest share of a tile's pixels that one bin may hold before it is cut; higher is more contrast.
    """
    if len(pixels) == 3:
        return _on_luma(pixels, lambda luma: equalise_locally(luma, clip_limit))
    if pixels.min() == pixels.max():  # scikit-image divides by the range
        return pixels.copy()
    return to_uint8(equalize_adapthist(pixels[0], clip_limit=clip_limit, nbins=256))[None]


def resize(pixels: np.ndarray, size: int, fit: str, interpolation: str) -> np.ndarray:
    """Scale to `size` by Pillow, which averages over all source pixels when it shrinks.

    Args:
        pixels: uint8 (C, H, W).
        size: side in pixels.
        fit: "squash" brings both sides to `size`; "pad" the longer one, "crop" the shorter one, keeping the aspect.
        interpolation: a key of `INTERPOLATIONS`.

    Returns:
        uint8 (C, size, size), except for "pad": (C, h, w) with the longer side `size`; see `centre`.
    """
    height, width = pixels.shape[1:]
    goal, box = (size, size), None
    if fit == "pad":
        longer = max(height, width)
        goal = (max(1, round(size * height / longer)), max(1, round(size * width / longer)))
    elif fit == "crop":
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    if (height, width) == goal and box is None:
        return pixels
    scaled = _to_pillow(pixels).resize(goal[::-1], INTERPOLATIONS[interpolation], box)
    return _from_pillow(scaled)


def centre(pixels: np.ndarray, size: int) -> np.ndarray:
    """Put a picture no larger than `size` in the middle of a black square."""
    channels, height, width = pixels.shape
    if (height, width) == (size, size):
        return pixels
    square = np.zeros((channels, size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[:, top : top + height, left : left + width] = pixels
    return square


def as_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """1 or 3 channels of a picture: colour becomes its luma (ITU-R 601), grey is repeated."""
    if len(pixels) == channels:
        return pixels
    if channels == 1:
        return np.asarray(_to_pillow(pixels).convert("L"))[None]
    return np.repeat(pixels, channels, axis=0)


@dataclass(frozen=True)
class Recipe:
    """The settings of the preparation; equal recipes give equal pixels.

    Args:
        size: side of the result in pixels.
        channels: 1 (grey) or 3 (RGB; a grey picture is repeated).
        equalise: "hist" (`equalise_histogram`), "clahe" (`equalise_locally`) or "none".
        order: "equalise_first" works on the picture as it was taken, "resize_first" on the small one, which is faster.
        fit: "pad" (black bars, never part of the equalisation), "squash" or "crop"; see `resize`.
        interpolation: nearest, area, bilinear, bicubic or lanczos.
        clip_limit: of "clahe".
        stain: "macenko" brings the colours of H&E-stained tissue to those of a reference before anything else
            (`normalise_stain`), for 3 channels; "none" leaves them.

    Raises:
        InputError: a setting is not one of its choices.
    """

    size: int = 256
    channels: int = 1
    equalise: str = "hist"
    order: str = "equalise_first"
    fit: str = "pad"
    interpolation: str = "bilinear"
    clip_limit: float = 0.01
    stain: str = "none"

    def __post_init__(self) -> None:
        choices: dict[str, tuple[Any, ...]] = {
            "channels": (1, 3),
            "equalise": EQUALISE,
            "order": ORDERS,
            "fit": FITS,
            "interpolation": tuple(INTERPOLATIONS),
            "stain": STAINS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(map(str, allowed))}.")
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise InputError(f"size is {self.size!r}; it must be a whole number of pixels, at least 1.")
        if not 0 < self.clip_limit <= 1:
            raise InputError(f"clip_limit is {self.clip_limit!r}; it must lie above 0 and not above 1.")
        if self.stain != "none" and self.channels != 3:
            raise InputError(f"stain is {self.stain!r} and channels is {self.channels}; stains need 3 channels (RGB).")

    def settings(self) -> dict[str, Any]:
        """What decides on the pixels, by name; settings without effect are None."""
        equalised = self.equalise != "none"
        return {
            "size": self.size,
            "channels": self.channels,
            "equalise": self.equalise,
            "order": self.order if equalised else None,
            "fit": self.fit,
            "interpolation": self.interpolation,
            "clip_limit": self.clip_limit if self.equalise == "clahe" else None,
            "stain": self.stain if self.stain != "none" else None,
        }

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Prepare one picture.

        Args:
            pixels: uint8 (1, H, W) or (3, H, W).

        Returns:
            uint8 (channels, size, size).
        """
        # A grey picture is repeated last: equalising and resizing one channel gives the same three.
        pixels = as_channels(pixels, 1) if self.channels == 1 else pixels
        if self.stain == "macenko" and len(pixels) == 3:
            pixels = normalise_stain(pixels)
        if self.order == "equalise_first":
            pixels = resize(self._equalised(pixels), self.size, self.fit, self.interpolation)
        else:
            pixels = self._equalised(resize(pixels, self.size, self.fit, self.interpolation))
        return as_channels(centre(pixels, self.size), self.channels)

    def _equalised(self, pixels: np.ndarray) -> np.ndarray:
        if self.equalise == "hist":
            return equalise_histogram(pixels)
        return equalise_locally(pixels, self.clip_limit) if self.equalise == "clahe" else pixels


def _on_luma(pixels: np.ndarray, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Shift R, G and B of each pixel by the change of its luma, which leaves the colour differences as they are."""
    luma = as_channels(pixels, 1)
    shift = work(luma).astype(np.int16) - luma
    return np.clip(pixels + shift, 0, 255).astype(np.uint8)


def _to_pillow(pixels: np.ndarray) -> Image.Image:
    array = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)  # H W | H W 3
    return Image.fromarray(np.ascontiguousarray(array))


def _from_pillow(image: Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(np.moveaxis(array, -1, 0))
