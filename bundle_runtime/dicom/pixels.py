"""DICOM files parsed and decoded: from their bytes by pydicom, and by ITK where pydicom has no decoder."""

import importlib.util
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
from custom_components.errors import InputError
from pydicom import uid
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder, iter_pixels, pixel_array

from ..failures import unreadable

# Objects that come in the same folders as pictures and are none: reports, annotations, plans, doses.
NO_PICTURE = {
    "SR": "a structured report",
    "SEG": "a segmentation",
    "RTSTRUCT": "a set of radiotherapy contours",
    "RTPLAN": "a radiotherapy plan",
    "RTDOSE": "a radiotherapy dose",
    "PR": "a presentation state",
    "KO": "a list of key objects",
    "REG": "a registration",
    "DOC": "a document",
}
# Transfer syntaxes that pydicom cannot decode alone, or not always: the package that can, and its module.
_OPENJPEG, _ITK = ("pylibjpeg-openjpeg", "openjpeg"), ("itk-io", "itk")
_PACKAGES = {
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), _OPENJPEG),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), _OPENJPEG),
    **dict.fromkeys((uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless), _ITK),
    uid.JPEGExtended12Bit: _ITK,
}


def has_pixels(dataset: pydicom.Dataset) -> bool:
    """Whether an object holds pictures."""
    return any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def parse(name: str, content: bytes) -> pydicom.Dataset:
    """The data set of a file; one without the usual beginning is accepted if it says what it is.

    Raises:
        InputError: no DICOM file, or a damaged one.
    """
    try:
        try:
            dataset, usable = pydicom.dcmread(io.BytesIO(content)), True
        except InvalidDicomError:
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            usable = bool(dataset.get("SOPClassUID")) and "PixelData" in dataset
    except Exception as error:  # pydicom raises many kinds for bytes that make no sense
        raise damaged(name, error) from error
    if not usable:
        raise InputError(f"{name}: is not a DICOM file; leave it out or convert it.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
            raise InputError(f"{name}: is compressed and does not name its transfer syntax; export it again.")
        implicit, little = dataset.original_encoding
        explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else explicit
    return dataset


def frames(dataset: pydicom.Dataset, name: str) -> Iterator[np.ndarray]:
    """Stored values frame by frame, (H, W) or (H, W, 3), colour as RGB.

    Args:
        dataset: with its pixel data.
        name: path of its file, which ITK opens.

    Raises:
        InputError: nothing that is installed can decode them.
    """
    count, (above, spare) = 0, _unused_bits(dataset, name)
    try:
        for frame in stored_frames(dataset, correct_unused_bits=above == spare):
            count += 1
            yield frame if above == spare else frame << above >> spare
        return
    except RuntimeError as error:  # what pydicom raises when no decoder did it
        values = None if count else _through_itk(dataset, name)
        if values is None:
            raise _undecodable(dataset, name, error) from error
    yield from values


def stored_frames(dataset: pydicom.Dataset, **options: Any) -> Iterator[np.ndarray]:
    """Values of each frame, (H, W) or (H, W, 3), as pydicom decodes them with these options.

    Frames of single bits follow one another without padding; pydicom 3.0.2 loses its place in them where their bits
    fill no whole bytes, but not when it reads them all.
    """
    if dataset.get("BitsAllocated") == 1:
        yield from pixel_array(dataset, **options).reshape(-1, dataset.Rows, dataset.Columns)
    else:
        yield from iter_pixels(dataset, **options)


def _unused_bits(dataset: pydicom.Dataset, name: str) -> tuple[int, int]:
    """Bits above those of a value, and all that are none of it; equal where pydicom finds it, in the lowest bits.

    Raises:
        InputError: the values have no place.
    """
    sizes = [dataset.get(key) for key in ("BitsAllocated", "BitsStored", "HighBit")]
    if "PixelData" not in dataset or None in sizes or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return 0, 0
    allocated, stored, high = map(int, sizes)
    above, spare = allocated - 1 - high, allocated - stored
    if not 0 <= above <= spare:
        found = f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}"
        raise InputError(f"{name}: has {found}, which leave its values no place; export it again.")
    return above, spare


def _through_itk(dataset: pydicom.Dataset, name: str) -> np.ndarray | None:
    """Stored values (frames, H, W) of a grey object, decoded by ITK; None where it cannot."""
    if dataset.get("SamplesPerPixel", 1) != 1 or importlib.util.find_spec("itk") is None:
        return None
    import itk  # takes a second, and few files need it

    reader = itk.GDCMImageIO.New()
    try:
        values = itk.array_from_image(itk.imread(name, imageio=reader))
    except RuntimeError:  # the message is pydicom's, which names the syntax
        return None
    # ITK rescales; the frames of an enhanced object may have a scale each, which is not what it takes.
    stored = np.rint((values.astype(np.float64) - reader.GetRescaleIntercept()) / reader.GetRescaleSlope())
    stored = stored.astype(np.int32)
    return stored if stored.ndim == 3 else stored[None]


def _undecodable(dataset: pydicom.Dataset, name: str, error: Exception) -> InputError:
    syntax = dataset.file_meta.TransferSyntaxUID
    package, module = _PACKAGES.get(syntax, ("", ""))
    kind = shown(syntax.name)
    if package and importlib.util.find_spec(module) is None:
        return InputError(
            f"{name}: is compressed as {kind}, which needs the package {package}; install it, or export the "
            "file without compression."
        )
    if not package and not _known(syntax):
        return InputError(f"{name}: its transfer syntax {kind} is not supported; export the file without compression.")
    return InputError(
        f"{name}: its pixels ({kind}) cannot be decoded ({reason(error)}); copy the file again, or export "
        "it without compression."
    )


def _known(syntax: uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def text(dataset: pydicom.Dataset, key: str) -> str:
    """An element as text, "" where it is missing or empty."""
    value: Any = dataset.get(key)
    return "" if value is None else str(value).strip()


def damaged(name: str, error: Exception) -> InputError:
    """The sentence for a file that broke the parser or a decoder, or that the machine did not let be read."""
    if (said := unreadable(error)) is not None:
        return InputError(f"{name}: cannot be read ({said}).")
    return InputError(f"{name}: is truncated or damaged ({reason(error)}); export or copy it again.")


def reason(error: Exception) -> str:
    """What an exception says, on one line."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return shown(" ".join(lines), 400) or type(error).__name__


def shown(content: str, most: int = 100) -> str:
    """Text of a file, fit for a message: a damaged one can hold anything."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in content)
    return printable if len(printable) <= most else f"{printable[:most]} ..."
