"""Tiled TIFF pyramids (generic, Aperio SVS, OME-TIFF) through tifffile, a tile of the file at a time.

MONAI's `TiffFileWSIReader` decodes the whole level for every region, which for a slide of 100,000 x 80,000 pixels is
24 GB; here only the pieces under a region are decoded, and the last ones are kept.
"""

import logging
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from custom_components.errors import InputError

from .slide import MICRONS_AT_1X, Level, Slide, plausible

CACHE_BYTES = 64 << 20  # decoded pieces kept: a row of a wide slide and more
_PIECE_BYTES = 64 << 20  # the largest piece that is decoded at once
_ASPECT = 0.02  # relative difference of the two downsamples of a level
_APERIO_JPEG2000_YCBCR = 33003
_MICRONS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}
_TIFF_UNITS = {2: 25400.0, 3: 10000.0}  # inch, centimetre in micrometres
# What tifffile, the decoders of imagecodecs and the XML parser (SyntaxError) raise for bytes that are no picture.
_BROKEN = (
    OSError, ValueError, RuntimeError, IndexError, KeyError, TypeError, EOFError, SyntaxError, struct.error, zlib.error,
)  # fmt: skip


# It logs each broken tag of a broken file; ours is one sentence.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class TiffSlide(Slide):
    """A slide in a TIFF file.

    8-bit and 16-bit RGB (of 16 bits the upper 8 are kept), RGB with alpha (composited on white: what was not scanned is
    glass) and CMYK. A level that cannot be read is named in `problems` and left out.

    Args:
        path: the file.
        assume_mpp: micrometres a pixel at level 0 where the file does not tell.

    Raises:
        InputError: no TIFF, damaged, not a colour picture, or in pieces too large to be read one by one.
    """

    def __init__(self, path: str | Path, assume_mpp: float | None = None) -> None:
        self.path = Path(path)
        self.problems = []
        try:
            self._file = tifffile.TiffFile(self.path)
        except FileNotFoundError as error:
            raise InputError(f"{path}: does not exist; correct the path.") from error
        except _BROKEN as error:
            raise InputError(
                f"{path}: cannot be read as a TIFF slide ({_first_line(error)}); copy it again if it should be one."
            ) from error
        try:
            self._open_levels()
            self.stated_mpp = _resolution(self._file)
        except _BROKEN as error:
            self._file.close()
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: is a damaged TIFF ({_first_line(error)}); copy it again.") from error
        found = plausible(self.stated_mpp)
        self.mpp = found if found is not None else assume_mpp
        self._cache: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self._cached = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open_levels(self) -> None:
        pages = _candidates(self._file)
        refusal = _unusable(pages[0], self._file.filehandle.size)
        if refusal:
            raise InputError(f"{self.path}: level 0 {refusal}.")
        self._pages: dict[int, Any] = {}
        self.levels = []
        for index, page in enumerate(pages):
            down, across = pages[0].imagelength / page.imagelength, pages[0].imagewidth / page.imagewidth
            reason = _unusable(page, self._file.filehandle.size) if index else ""
            if not reason:
                reason = self._undecodable(page)
            if reason and not index:
                raise InputError(f"{self.path}: level 0 {reason}; copy the slide again.")
            if reason:
                self.problems.append(f"{self.path}: level {index} {reason}; the next finer level is used instead.")
                continue
            self._pages[index] = page
            self.levels.append(Level(index, page.imagelength, page.imagewidth, (down + across) / 2))

    def _undecodable(self, page: Any) -> str:
        """Why a piece from the middle of a level cannot be decoded; empty where it can."""
        number = len(page.dataoffsets) // 2
        try:
            self._decode(page, number)
        except _BROKEN as error:
            return f"cannot be decoded ({_first_line(error)})"
        return ""

    def read(self, level: Level, row: int, column: int, height: int, width: int) -> np.ndarray:
        """See `Slide.read`."""
        page = self._pages[level.index]
        down, across = _piece(page)
        per_row = -(-page.imagewidth // across)
        result = np.full((height, width, 3), 255, np.uint8)
        bottom, right = min(row + height, page.imagelength), min(column + width, page.imagewidth)
        for piece_row in range(max(row, 0) // down, -(-bottom // down) if bottom > 0 else 0):
            for piece_column in range(max(column, 0) // across, -(-right // across) if right > 0 else 0):
                pixels = self._piece(level, page, piece_row * per_row + piece_column)
                if pixels is None:
                    continue  # not stored: bare glass
                top, left = piece_row * down, piece_column * across
                first, last = max(top, row), min(top + down, bottom)
                begin, end = max(left, column), min(left + across, right)
                source = pixels[first - top : last - top, begin - left : end - left]
                result[first - row : last - row, begin - column : end - column] = source
        return result

    def _piece(self, level: Level, page: Any, number: int) -> np.ndarray | None:
        """A decoded piece of the file, uint8 (H, W, 3), or None where nothing is stored."""
        key = (level.index, number)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        try:
            pixels = self._decode(page, number)
        except _BROKEN as error:
            down, across = _piece(page)
            per_row = -(-page.imagewidth // across)
            place = f"row {number // per_row * down}, column {number % per_row * across}"
            raise InputError(
                f"{self.path}: level {level.index} is damaged at {place} of that level ({_first_line(error)}); "
                "copy the slide again."
            ) from error
        self._cache[key] = pixels
        self._cached += 0 if pixels is None else pixels.nbytes
        while self._cached > CACHE_BYTES and len(self._cache) > 1:
            old = self._cache.popitem(last=False)[1]
            self._cached -= 0 if old is None else old.nbytes
        return pixels

    def _decode(self, page: Any, number: int) -> np.ndarray | None:
        offset, count = page.dataoffsets[number], page.databytecounts[number]
        if count == 0 or offset == 0:
            return None
        self._file.filehandle.seek(offset)
        data = self._file.filehandle.read(count)
        if len(data) != count:
            raise ValueError("the file ends too early")
        decoded, _, _ = page.decode(data, number, jpegtables=page.jpegtables)
        return None if decoded is None else _as_rgb(decoded[0], page)


def _candidates(file: tifffile.TiffFile) -> list[Any]:
    """The pages that are levels of the first picture, finest first.

    Those are smaller pictures of the same proportions: subordinate ones (OME), or later ones stored in tiles (generic,
    Aperio). Thumbnails in strips, labels and macro photographs are not.
    """
    first = file.pages.first
    others = [*(first.pages or ()), *(page for page in file.pages[1:] if getattr(page, "is_tiled", False))]
    levels, seen = [first], {(first.imagelength, first.imagewidth)}
    for page in others:
        size = (page.imagelength, page.imagewidth)
        down, across = first.imagelength / max(size[0], 1), first.imagewidth / max(size[1], 1)
        # A small level is rounded to whole pixels.
        slack = _ASPECT + 2 / max(min(size), 1)
        if size not in seen and down > 1 and across > 1 and abs(down / across - 1) <= slack:
            levels.append(page)
            seen.add(size)
    return sorted(levels, key=lambda page: -page.imagelength)


def _unusable(page: Any, file_size: int) -> str:
    """Why a level cannot be read; empty where its header says that it can."""
    if page.compression == _APERIO_JPEG2000_YCBCR:
        return (
            "is JPEG 2000 in YCbCr (Aperio 33003), which tifffile gives back in wrong colours; give --reader openslide"
        )
    if page.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        return f"has pixels of type {page.dtype}, expected 8 or 16 bits"
    expected = (4, 4) if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else (3, 4)
    if page.samplesperpixel not in expected or page.planarconfig != tifffile.PLANARCONFIG.CONTIG:
        return f"has {page.samplesperpixel} channel(s) a pixel or separate planes, expected interleaved colour"
    down, across = _piece(page)
    if down * across * page.samplesperpixel * page.dtype.itemsize > _PIECE_BYTES:
        return (
            f"is stored in pieces of {down} x {across} pixels, which would fill the memory; make a tiled pyramid, "
            "e.g. with `vips tiffsave in.tif out.tif --tile --pyramid --compression jpeg`"
        )
    offsets, counts = np.asarray(page.dataoffsets, np.int64), np.asarray(page.databytecounts, np.int64)
    if not len(offsets) or len(offsets) != len(counts) or not counts.any():
        return "holds no pixels"
    if (offsets + counts).max() > file_size:
        return "ends behind the end of the file, which was cut off; copy the slide again"
    return ""


def _piece(page: Any) -> tuple[int, int]:
    """Height and width of a tile, or of a strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _as_rgb(pixels: np.ndarray, page: Any) -> np.ndarray:
    """(H, W, 3 or 4) of 8 or 16 bits -> uint8 (H, W, 3)."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[-1] == 3:
        return pixels
    colour, fourth = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    if page.photometric == tifffile.PHOTOMETRIC.SEPARATED:  # cyan, magenta, yellow, black
        return ((255 - colour) * (255 - fourth) // 255).astype(np.uint8)
    return ((colour * fourth + 255 * (255 - fourth)) // 255).astype(np.uint8)


def _resolution(file: tifffile.TiffFile) -> float | None:
    """Micrometres a pixel at level 0 from where each kind of file keeps it; None if nowhere."""
    page = file.pages.first
    text = page.description or ""
    if file.is_ome:
        return _of_ome(file.ome_metadata or "")
    if match := re.search(r"\bMPP\s*=\s*([\d.]+)", text):  # Aperio
        return float(match[1])
    if match := re.search(r"\bAppMag\s*=\s*([\d.]+)", text):
        return MICRONS_AT_1X / float(match[1]) if float(match[1]) > 0 else None
    return _of_tags(page)


def _of_ome(text: str) -> float | None:
    for element in ElementTree.fromstring(text).iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            unit = _MICRONS.get(element.get("PhysicalSizeXUnit", "µm"))
            return None if unit is None else float(element.attrib["PhysicalSizeX"]) * unit
    return None


def _of_tags(page: Any) -> float | None:
    """From XResolution, pixels a unit as a fraction."""
    tag, unit = page.tags.get("XResolution"), page.tags.get("ResolutionUnit")
    length = _TIFF_UNITS.get(int(unit.value)) if unit is not None else None
    if tag is None or length is None or not all(tag.value):
        return None
    pixels, units = tag.value
    return length * units / pixels


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
