"""Scanner formats through OpenSlide, which is optional: NDPI, MIRAX, SCN, BIF, VMS, SVS and others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from custom_components.errors import InputError

from .slide import MICRONS_AT_1X, Level, Slide, plausible

_TIFF_UNITS = {"inch": 25400.0, "centimeter": 10000.0}  # in micrometres


class OpenSlideSlide(Slide):
    """A slide that OpenSlide opens.

    Args:
        path: the file.
        assume_mpp: micrometres a pixel at level 0 where the file does not tell.

    Raises:
        InputError: OpenSlide is not installed, or it cannot read the file.
    """

    def __init__(self, path: str | Path, assume_mpp: float | None = None) -> None:
        self.path = Path(path)
        self._errors: tuple[type[Exception], ...]
        openslide, self._errors = _library(self.path)
        try:
            self._slide = openslide.OpenSlide(str(path))
        except self._errors as error:
            raise InputError(
                f"{path}: OpenSlide cannot read it ({error}); is it a slide? If so, copy it again."
            ) from error
        self.problems = []
        pairs = zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        self.levels = [
            Level(index, height, width, float(downsample)) for index, ((width, height), downsample) in enumerate(pairs)
        ]
        properties = self._slide.properties
        found = _number(properties.get(openslide.PROPERTY_NAME_MPP_X)) or _of_tiff(properties)
        power = _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
        if found is None and power is not None:
            found = MICRONS_AT_1X / power
        self.stated_mpp = found
        self.mpp = plausible(found) or assume_mpp

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def read(self, level: Level, row: int, column: int, height: int, width: int) -> np.ndarray:
        """See `Slide.read`."""
        place = (round(column * level.downsample), round(row * level.downsample))
        try:
            pixels = np.asarray(self._slide.read_region(place, level.index, (width, height)))
        except self._errors as error:
            raise InputError(
                f"{self.path}: level {level.index} is damaged near row {row}, column {column} of that level ({error}); "
                "copy the slide again."
            ) from error
        colour, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
        return ((colour * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)  # nothing scanned: white as glass


def _library(path: Path) -> tuple[Any, tuple[type[Exception], ...]]:
    try:
        import openslide
    except (ImportError, OSError) as error:  # OSError: the Python package without the library itself
        raise InputError(
            f"{path}: this format is read through OpenSlide, which is not installed ({error}); "
            "pip install openslide-python openslide-bin, or convert the slide to a tiled TIFF pyramid."
        ) from error
    return openslide, (openslide.OpenSlideError, FileNotFoundError)


def _of_tiff(properties: Mapping[str, str]) -> float | None:
    """From the TIFF tags, which OpenSlide hands on for generic files."""
    pixels, unit = _number(properties.get("tiff.XResolution")), properties.get("tiff.ResolutionUnit")
    return None if pixels is None or unit not in _TIFF_UNITS else _TIFF_UNITS[unit] / pixels


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if value > 0 else None
