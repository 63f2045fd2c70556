"""Small picture files of many kinds, for the tests of decoding and caching."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def shades(height: int = 40, width: int = 50, seed: int = 0, channels: int = 0) -> np.ndarray:
    """A smooth random uint8 picture (H, W) or (H, W, channels) that uses the levels unevenly."""
    shape = (6, 7, channels) if channels else (6, 7)
    coarse = np.random.default_rng(seed).random(shape) ** 2
    layers = [coarse[..., k] for k in range(channels)] if channels else [coarse]
    scaled = [
        np.asarray(Image.fromarray((255 * layer).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC))
        for layer in layers
    ]
    return np.stack(scaled, -1) if channels else scaled[0]


def png(path: Path, pixels: np.ndarray | None = None, **saved: Any) -> Path:
    """Write a picture; the ending decides on the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shades() if pixels is None else pixels).save(path, **saved)
    return path


def dataset(stored: np.ndarray, photometric: str = "MONOCHROME2", bits: int = 12, **elements: Any) -> Dataset:
    """A CR data set with uncompressed pixels; `elements` are set by keyword, and removed where None."""
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    result.SOPInstanceUID = result.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["picture"])
    result.PatientID, result.Modality = "P7", "CR"
    colour = stored.ndim == 3 and stored.shape[-1] == 3
    result.Rows, result.Columns = stored.shape[-3:-1] if colour else stored.shape[-2:]
    if stored.ndim - colour == 3:
        result.NumberOfFrames = stored.shape[0]
    result.SamplesPerPixel = 3 if colour else 1
    if colour:
        result.PlanarConfiguration = 0
    result.PhotometricInterpretation = photometric
    result.BitsAllocated = 8 * stored.dtype.itemsize
    result.BitsStored, result.HighBit = bits, bits - 1
    result.PixelRepresentation = int(stored.dtype.kind == "i")
    result.PixelData = stored.tobytes()
    result["PixelData"].VR = "OW" if result.BitsAllocated > 8 else "OB"
    for key, value in elements.items():
        if value is None:
            del result[key]
        else:
            setattr(result, key, value)
    return result


def encoded(data: Dataset, **saving: Any) -> bytes:
    """The bytes of a DICOM file."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True, **saving)
    return stream.getvalue()


def dicom(path: Path, stored: np.ndarray, syntax: UID | None = None, **elements: Any) -> Path:
    """Write a DICOM file, compressed where a transfer syntax is given."""
    data = dataset(stored, **elements)
    if syntax is not None:
        data.compress(syntax, generate_instance_uid=False)
    path.write_bytes(encoded(data))
    return path
