"""One DICOM picture (CR, DX, CT, MR, US, ...) as an array of grey or colour values, and what its header says."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from custom_components.errors import InputError
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut

from ..data.image_prepare import stretch, value_range
from .pixels import NO_PICTURE, damaged, frames, has_pixels, parse, reason, shown, text

_OBLONG = 0.05  # of the shorter side
_WORDS = 1 << 16  # numbers of 16 bits


class DicomPicture(NamedTuple):
    """A DICOM picture as it is meant to be seen.

    Attributes:
        pixels: float32 (1, H, W) or (3, H, W), 0 black to 1 white.
        patient_id: as in the header; this and what follows is "" where the header says nothing.
        modality: CR, DX, CT, MR, ...
        view: view position, e.g. PA, AP, LL.
        numbers: (H, W) grey of more than 8 bits as stored, inverted where 0 is white, else None.
        oblong: whether the header says that pixels are not square.
    """

    pixels: np.ndarray
    patient_id: str
    modality: str
    view: str
    numbers: np.ndarray | None = None
    oblong: bool = False


def is_dicom(content: bytes) -> bool:
    """Whether a file begins as the DICOM standard wants it; a few old ones do not."""
    return content[128:132] == b"DICM"


def read_dicom(file: str | os.PathLike[str], content: bytes | None = None) -> DicomPicture:
    """Read one picture.

    Grey values pass through the modality table or rescaling, then the VOI table or window (LINEAR, LINEAR_EXACT or
    SIGMOID) to 0..1; after it MONOCHROME1 is inverted, so that air is dark in every radiograph. Where the file has no
    usable window, its 0.1 and 99.9 percentiles become black and white. Padding pixels take no part and become black.
    Colour (RGB, YBR, palette) is given as RGB.

    Args:
        file: its path.
        content: the bytes of the file, if they were read already.

    Raises:
        InputError: no DICOM file, no picture, several frames, a compression that nothing installed can undo, or damage.
    """
    name = os.fspath(file)
    dataset = parse(name, _read(name) if content is None else content)
    try:
        return _picture(dataset, name)
    except InputError:
        raise
    except AttributeError as error:  # what pydicom raises for an element that is not there
        raise InputError(f"{name}: cannot be shown as a picture ({reason(error)}); export it again.") from error
    except Exception as error:  # pydicom parses element by element, and a damaged one can break it anywhere
        raise damaged(name, error) from error


def _picture(dataset: pydicom.Dataset, name: str) -> DicomPicture:
    modality = text(dataset, "Modality")
    if modality in NO_PICTURE:
        raise InputError(f"{name}: is {NO_PICTURE[modality]} ({modality}), expected a picture; leave it out.")
    if not has_pixels(dataset):
        raise InputError(f"{name}: has no pixel data (modality {shown(modality) or 'unknown'}); leave it out.")
    count = int(dataset.get("NumberOfFrames") or 1)
    if count > 1:
        raise InputError(f"{name}: NumberOfFrames is {count}, expected a single picture; split the file.")
    kind = text(dataset, "PhotometricInterpretation")
    if kind and not kind.startswith(("MONOCHROME", "RGB", "YBR", "PALETTE COLOR")):
        raise InputError(f"{name}: its colours are {shown(kind)}, which is not supported; export it as RGB.")
    _lift_functional_groups(dataset)
    stored = next(frames(dataset, name))
    pixels = _colour(dataset, stored)
    wide = pixels is None and (stored.dtype.kind == "f" or int(dataset.BitsStored) > 8)
    dark = dataset.PhotometricInterpretation != "MONOCHROME1"
    inverted = stored if dark else -stored if stored.dtype.kind == "f" else ~stored
    return DicomPicture(
        _grey(dataset, stored) if pixels is None else pixels,
        patient_id=text(dataset, "PatientID"),
        modality=modality,
        view=text(dataset, "ViewPosition"),
        numbers=inverted if wide else None,
        oblong=_is_oblong(dataset),
    )


def _is_oblong(dataset: pydicom.Dataset) -> bool:
    """Whether one side of a pixel is longer than the other, by the first element that tells both."""
    for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        try:
            sides = [float(value) for value in dataset.get(key) or ()]
        except (ValueError, TypeError):  # not numbers: it tells nothing
            continue
        if len(sides) == 2 and min(sides) > 0:
            return are_oblong(sides)
    return False


def are_oblong(sides: Sequence[float]) -> bool:
    """Whether one of two lengths is longer than the other; not where they are no two lengths."""
    return len(sides) == 2 and min(sides) > 0 and max(sides) / min(sides) > 1 + _OBLONG


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}); correct the path.") from error


def _lift_functional_groups(dataset: pydicom.Dataset) -> None:
    """Copy window and rescaling of an enhanced object's only frame to where a classic object has them."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*shared[:1], *per_frame[:1]]:  # what a frame says itself counts more
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for element in (group.get(macro) or [[]])[0]:
                dataset[element.tag] = element


def _colour(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray | None:
    """RGB in 0..1, float32 (3, H, W); None for a grey picture."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
            _swap_palette(dataset)
        stored = apply_color_lut(stored, dataset)[..., :3]
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])  # entries of 8 bits may be stored in 16
        bits = 8 * stored.dtype.itemsize if stored.max(initial=0) >= 2**bits else bits
    elif stored.ndim == 2:
        return None
    else:
        bits = int(dataset.BitsStored)
    unit = np.clip(stored.astype(np.float32) / (2**bits - 1), 0, 1)
    return np.ascontiguousarray(np.moveaxis(unit, -1, 0))


def _swap_palette(dataset: pydicom.Dataset) -> None:
    """Bring the words of a big-endian palette into the order that `apply_color_lut` reads."""
    for colour in ("Red", "Green", "Blue"):
        element = dataset.get(f"{colour}PaletteColorLookupTableData")
        if isinstance(element, bytes):
            swapped = np.frombuffer(element, ">u2").astype("<u2").tobytes()
            setattr(dataset, f"{colour}PaletteColorLookupTableData", swapped)


def _grey(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """The picture in 0..1, float32 (1, H, W)."""
    padding = _padding(dataset, stored)
    values = _modality_values(dataset, np.where(np.isfinite(stored), stored, 0))
    shown = _voi_table(dataset, values)
    if shown is None:
        chosen = _window(dataset, stored.dtype.kind == "f")
        shown = stretch(values, *value_range(values[~padding])) if chosen is None else apply_window(values, *chosen)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    shown[padding] = 0
    return shown[None]


def apply_window(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """A VOI window of the DICOM standard (part 3, C.11.2.1), to 0..1 in float32.

    Args:
        values: in the units of the modality.
        centre: window centre.
        width: window width; LINEAR needs at least 1, the others more than 0.
        function: LINEAR, whose window spans the pixel values [centre - width / 2, centre + width / 2 - 1],
            LINEAR_EXACT, or SIGMOID.
    """
    values = values.astype(np.float64)
    if function == "SIGMOID":
        return (1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))).astype(np.float32)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
        if width == 0:
            return (values > centre).astype(np.float32)
    return np.clip((values - centre) / width + 0.5, 0, 1).astype(np.float32)


def _window(dataset: pydicom.Dataset, floating: bool = False) -> tuple[float, float, str] | None:
    """Centre, width and function of the file's first window; None where it has no usable one.

    LINEAR is made for whole numbers: a window 0.5, 1 of a map from 0 to 1 would be a threshold at 0. So it is taken as
    LINEAR_EXACT where the stored values are floating.
    """
    centre, width = _first_number(dataset, "WindowCenter"), _first_number(dataset, "WindowWidth")
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    function = "LINEAR_EXACT" if floating and function == "LINEAR" else function
    usable = {"LINEAR": width >= 1, "LINEAR_EXACT": width > 0, "SIGMOID": width > 0}
    return (centre, width, function) if np.isfinite([centre, width]).all() and usable.get(function, False) else None


def _first_number(dataset: pydicom.Dataset, key: str) -> float:
    """The first value of an element, NaN where there is none."""
    value = dataset.get(key)
    first: Any = (value[0] if value else None) if isinstance(value, MultiValue) else value
    return float("nan") if first in (None, "") else float(first)


def _modality_values(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Stored values through the modality table, or rescaled, where the file has one of these."""
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        return _through_table(tables[0], stored, dataset)[0]
    slope, intercept = _first_number(dataset, "RescaleSlope"), _first_number(dataset, "RescaleIntercept")
    if not np.isfinite([slope, intercept]).any():
        return stored
    return stored * np.nan_to_num(slope, nan=1.0) + np.nan_to_num(intercept)  # of series, too, one may be missing


def _voi_table(dataset: pydicom.Dataset, values: np.ndarray) -> np.ndarray | None:
    """Values through the first VOI table of the file to 0..1; None if it has none."""
    tables = dataset.get("VOILUTSequence")
    if not tables or tables[0].get("LUTData") is None:
        return None
    entries, bits = _through_table(tables[0], values, dataset)
    return np.clip(entries / (2**bits - 1), 0, 1).astype(np.float32)


def _through_table(table: pydicom.Dataset, values: np.ndarray, dataset: pydicom.Dataset) -> tuple[np.ndarray, int]:
    """Look values up; those outside get the first or last entry.

    pydicom's own functions are not used: they shift the values in the type of the table's entries, so that a table with
    8-bit entries wraps values from 256 on, and refuse modality tables of 10 to 15 bits.

    Returns:
        The entries, float64, and their bits.
    """
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    count = count & 0xFFFF or _WORDS
    if first >= _WORDS // 2 and values.min() < 0:  # stated as unsigned where values are signed
        first -= _WORDS
    data = table.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
        data = np.frombuffer(data, np.uint8 if len(data) < 2 * count else f"{order}u2")
    entries = np.atleast_1d(np.asarray(data, np.float64))[:count]
    places = np.clip(np.round(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries[places], bits


def _padding(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Which stored values fill the picture up where nothing was measured."""
    kind = next((kind for kind in ("Float", "DoubleFloat") if f"{kind}PixelData" in dataset), "")
    value, limit = (dataset.get(f"{kind}PixelPadding{end}") for end in ("Value", "RangeLimit"))
    empty = ~np.isfinite(stored)
    if value is None:
        return empty
    ends = [value, value if limit is None else limit]
    if not kind:  # some files state it as unsigned, 63536, where pixels are signed, or the reverse
        least = -_WORDS // 2 if dataset.PixelRepresentation else 0
        ends = [(int(end) - least) % _WORDS + least for end in ends]
    low, high = sorted(ends)
    return empty | (stored >= low) & (stored <= high)
