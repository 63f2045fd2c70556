"""A whole slide as a pyramid of levels from which regions are read, through OpenSlide."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openslide
import tifffile
from custom_components.errors import InputError
from PIL import Image

from ..data.image_file import DICOM_SUFFIXES

MICRONS_AT_1X = 10.0  # by convention one pixel is 10 micrometres at 1x: 0.5 at 20x, 0.25 at 40x
TOLERANCE = 0.05  # a level within 5 % of the wanted resolution is taken as it is (MONAI's WSIReader: the same)
_MPP_X = openslide.PROPERTY_NAME_MPP_X
_PLAUSIBLE_MPP = (0.02, 20.0)  # of level 0; 72 dpi, which many programs write for want of better, is 353
_MICRONS_AN_INCH = 25400.0
_BLOCK = 2048  # pixels of a level read at a time for an overview
_PHOTOMETRIC = tifffile.PHOTOMETRIC
_CONVERT = (
    "make a tiled pyramid of 8-bit colour of it, e.g. with "
    "`vips tiffsave in.tif out.tif --tile --pyramid --compression jpeg`"
)


@dataclass(frozen=True)
class Level:
    """One level of the pyramid.

    Attributes:
        index: its number in the file; 0 is the finest.
        height: in pixels.
        width: in pixels.
        downsample: pixels of level 0 along one of its pixels.
    """

    index: int
    height: int
    width: int
    downsample: float


class Slide:
    """An open slide; use it as a context manager, or call `close`.

    What was not scanned, and what lies outside, is white as glass. A coarser level that cannot be decoded is named in
    `problems` and left out. A process that works on a slide opens it itself: handles are not handed on.

    Args:
        path: the file; of a slide in several files (MIRAX, DICOM) the one that OpenSlide is given.
        assume_mpp: micrometres a pixel at level 0 where the file does not tell.

    Attributes:
        path: the file.
        levels: the usable levels, finest first; level 0 is always among them.
        mpp: micrometres a pixel at level 0, None where the file does not tell.
        stated_mpp: what the file says of it, plausible or not.
        problems: sentences on levels that were left out, and on pixels that are not square.

    Raises:
        InputError: no file, no slide that OpenSlide reads, no colour picture, or a finest level that is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], assume_mpp: float | None = None) -> None:
        self.path = Path(path)
        self._slide = _opened(self.path)
        self.problems: list[str] = []
        self.levels: list[Level] = []
        pairs = zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        for index, ((width, height), downsample) in enumerate(pairs):
            level = Level(index, height, width, float(downsample))
            reason = self._undecodable(level)
            if reason and not index:
                raise InputError(f"{path}: level 0 cannot be decoded ({reason}); copy the slide again.")
            if reason:
                self.problems.append(
                    f"{path}: level {index} cannot be decoded ({reason}); the next finer level is used instead."
                )
            else:
                self.levels.append(level)
        wide, high = (_number(self._slide.properties.get(name)) for name in (_MPP_X, openslide.PROPERTY_NAME_MPP_Y))
        if wide and high and abs(wide / high - 1) > TOLERANCE:
            self.problems.append(
                f"{path}: its pixels are {wide:.4g} micrometres wide and {high:.4g} high, and are taken for squares of "
                "that width."
            )
        self.stated_mpp = _stated_mpp(self._slide)
        self.mpp = plausible(self.stated_mpp) or assume_mpp

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def height(self) -> int:
        """Pixels of level 0 from top to bottom."""
        return self.levels[0].height

    @property
    def width(self) -> int:
        """Pixels of level 0 from left to right."""
        return self.levels[0].width

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def read(self, level: Level, row: int, column: int, height: int, width: int) -> np.ndarray:
        """Read a region of a level.

        Args:
            level: one of `levels`.
            row: top, in pixels of that level; may be negative.
            column: left.
            height: in pixels of that level.
            width: likewise.

        Returns:
            uint8 (height, width, 3), RGB.

        Raises:
            InputError: the region cannot be decoded; slide, level and place are named.
        """
        place = (round(column * level.downsample), round(row * level.downsample))
        try:
            pixels = np.asarray(self._slide.read_region(place, level.index, (width, height)))
        except openslide.OpenSlideError as error:
            raise InputError(
                f"{self.path}: level {level.index} is damaged near row {row}, column {column} of that level ({error}); "
                "copy the slide again."
            ) from error
        if pixels[..., 3].min(initial=255) == 255:  # scanned throughout, as nearly everywhere
            return np.ascontiguousarray(pixels[..., :3])
        colour, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
        return ((colour * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)

    def _undecodable(self, level: Level) -> str:
        """Why the middle or the end of a level cannot be decoded; empty where both can."""
        for row, column in ((level.height // 2, level.width // 2), (level.height - 1, level.width - 1)):
            place = (int(column * level.downsample), int(row * level.downsample))
            try:
                self._slide.read_region(place, level.index, (1, 1))
            except openslide.OpenSlideError as error:
                self._slide.close()
                self._slide = _opened(self.path)  # OpenSlide refuses everything after an error
                return str(error)
        return ""

    def level_for(self, mpp: float) -> tuple[Level, float]:
        """The coarsest level that is fine enough for `mpp`, and its pixels along one wanted pixel (1 within 5 %).

        Raises:
            InputError: the slide has no resolution, or none as fine.
        """
        if self.mpp is None:
            raise no_resolution(self.path, self.stated_mpp)
        if self.mpp > mpp * (1 + TOLERANCE):
            raise InputError(
                f"{self.path}: its finest level has {self.mpp:.4g} micrometres a pixel and {mpp:.4g} are asked for; "
                "pixels that were never scanned cannot be made up: ask for a coarser resolution."
            )
        enough = [level for level in self.levels if self.mpp * level.downsample <= mpp * (1 + TOLERANCE)]
        level = enough[-1]
        factor = mpp / (self.mpp * level.downsample)
        return level, 1.0 if abs(factor - 1) <= TOLERANCE else factor

    def read_at(self, mpp: float, row: float, column: float, size: int) -> np.ndarray:
        """Read a square tile at a resolution, scaled (antialiased) where no level has it.

        Args:
            mpp: micrometres a pixel of the result.
            row: top, in pixels of level 0.
            column: left, in pixels of level 0.
            size: side of the result in pixels.

        Returns:
            uint8 (size, size, 3), RGB.

        Raises:
            InputError: as `level_for` and `read`.
        """
        level, factor = self.level_for(mpp)
        side = round(size * factor)
        top, left = round(row / level.downsample), round(column / level.downsample)
        pixels = self.read(level, top, left, side, side)
        if side == size:
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))

    def footprint(self, mpp: float, size: int) -> float:
        """Side in pixels of level 0 of what `read_at` shows."""
        level, factor = self.level_for(mpp)
        return round(size * factor) * level.downsample

    def overview(self, longest: int = 2048) -> np.ndarray:
        """The whole slide, small: at most `longest` pixels along its longer side.

        A level that is at least half as long is taken as it is. Else the next finer one is read piece by piece and
        scaled by area, so that a slide of a single level does not fill the memory.

        Returns:
            uint8 (H, W, 3), RGB.
        """
        scale = max(self.height, self.width) / longest  # level-0 pixels a pixel
        if scale <= 1:
            return self.read(self.levels[0], 0, 0, self.height, self.width)
        for level in self.levels:
            if longest <= 2 * max(level.height, level.width) <= 2 * longest:
                return self.read(level, 0, 0, level.height, level.width)
        level = [level for level in self.levels if level.downsample <= scale * (1 + 1e-6)][-1]
        rows, columns = max(round(self.height / scale), 1), max(round(self.width / scale), 1)
        result = np.empty((rows, columns, 3), np.uint8)
        factor = (level.height / rows, level.width / columns)
        step = max(int(_BLOCK / max(factor)), 1)  # pixels of the result
        for top, left, down, across in _blocks(rows, columns, step):
            first_row, first_column = round(top * factor[0]), round(left * factor[1])
            last_row, last_column = round((top + down) * factor[0]), round((left + across) * factor[1])
            piece = self.read(level, first_row, first_column, last_row - first_row, last_column - first_column)
            scaled = Image.fromarray(piece).resize((across, down), Image.Resampling.BOX)
            result[top : top + down, left : left + across] = np.asarray(scaled)
        return result


def _blocks(rows: int, columns: int, step: int) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, height, width of the pieces of an image."""
    for top in range(0, rows, step):
        for left in range(0, columns, step):
            yield top, left, min(step, rows - top), min(step, columns - left)


def plausible(mpp: float | None) -> float | None:
    """A resolution that a microscope may have; None for any other."""
    low, high = _PLAUSIBLE_MPP
    return mpp if mpp is not None and low <= mpp <= high else None


def no_resolution(path: Path, stated_mpp: float | None = None) -> InputError:
    """The sentence for a slide that does not say how large its pixels are, or says what no microscope has."""
    found = "says neither micrometres a pixel nor magnification"
    if stated_mpp is not None and stated_mpp > 0:
        found = f"its {_MICRONS_AN_INCH / stated_mpp:.3g} dpi ({stated_mpp:.3g} micrometres a pixel) is no microscope's"
    return InputError(f"{path}: {found}; look up how it was scanned and give --assume_mpp (0.25 at 40x, 0.5 at 20x).")


def mpp_of(magnification: float | None = None, mpp: float | None = None) -> float:
    """Micrometres a pixel from exactly one of the two.

    Raises:
        InputError: both, none, or not positive.
    """
    if (magnification is None) == (mpp is None):
        raise InputError("Give either --magnification (20 means 0.5 micrometres a pixel) or --mpp, and not both.")
    value = mpp if mpp is not None else magnification
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InputError(f"{'mpp' if mpp is not None else 'magnification'} is {value!r}, expected a positive number.")
    return float(mpp) if mpp is not None else MICRONS_AT_1X / float(value)


def _opened(path: Path) -> openslide.OpenSlide:
    if not path.exists():
        raise InputError(f"{path}: does not exist; correct the path.")
    try:
        slide = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise InputError(f"{path}: is no whole slide that OpenSlide reads; {_CONVERT}.") from error
    except openslide.OpenSlideError as error:
        advice = "copy it again" if path.suffix.lower() not in DICOM_SUFFIXES else "copy all files of its series again"
        advice = _CONVERT if "nsupported" in str(error) else advice  # a conversion mends no damage
        raise InputError(f"{path}: OpenSlide cannot read it ({error}); {advice}.") from error
    if slide.properties[openslide.PROPERTY_NAME_VENDOR] == "generic-tiff":
        try:
            _refuse_other_pixels(path)
        except InputError:
            slide.close()
            raise
    return slide


def _refuse_other_pixels(path: Path) -> None:
    """Refuse a TIFF that OpenSlide opens though it shows no stained tissue, or less of it than the file holds."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        colour = page.photometric in (_PHOTOMETRIC.RGB, _PHOTOMETRIC.YCBCR, _PHOTOMETRIC.SEPARATED)
        if not colour or page.dtype is None or page.dtype.kind != "u":
            raise InputError(
                f"{path}: has {page.samplesperpixel} channel(s) of type {page.dtype}, and a stained slide has colours "
                "of 8 or 16 bits; take it out of the folder, or call it <slide>_mask.tif if it is an annotation."
            )
        if file.is_ome:
            raise InputError(
                f"{path}: is an OME-TIFF, of which OpenSlide sees neither the resolution nor the coarser levels; "
                f"{_CONVERT}, and give its resolution as --assume_mpp."
            )


def _stated_mpp(slide: openslide.OpenSlide) -> float | None:
    """From the micrometres a pixel that the file gives, else from its magnification."""
    found = _number(slide.properties.get(_MPP_X))
    power = _number(slide.properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
    return found if found or not power else MICRONS_AT_1X / power


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else 0.0
    except ValueError:
        return None
    return value if value > 0 else None
