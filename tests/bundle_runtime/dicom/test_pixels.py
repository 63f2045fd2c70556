"""What decodes DICOM pixels: pydicom, then ITK, and a sentence where neither does."""

from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
from bundle_runtime.dicom import pixels as module
from bundle_runtime.dicom.picture import read_dicom
from bundle_runtime.dicom.pixels import frames
from custom_components.errors import InputError
from picture_files import dataset, encoded, shades
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, JPEGLosslessSV1

STORED = (shades().astype(np.uint16) * 16 + 5).clip(0, 4095)  # 12 bits in 16


def _rubbish(syntax: Any) -> bytes:
    data = dataset(STORED)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([b"rubbish!"])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return encoded(data)


def test_a_compression_that_needs_a_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"x: is compressed as JPEG Lossless.*needs the package itk-io; install"):
        read_dicom("x", content=_rubbish(JPEGLosslessSV1))
    with pytest.raises(InputError, match="needs the package pylibjpeg-openjpeg"):
        read_dicom("x", content=_rubbish(JPEG2000Lossless))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"x: its pixels \(JPEG 2000.*cannot be decoded \(.+\); copy the file again"):
        read_dicom("x", content=_rubbish(JPEG2000Lossless))
    with pytest.raises(InputError, match=r"MPEG2.* is not supported"):
        read_dicom("x", content=_rubbish(MPEG2MPML))


def test_what_pydicom_cannot_decode_comes_through_itk_as_it_is_stored(real_data: Path) -> None:
    file = str(real_data / "dicom" / "singles" / "dwv_nema-ct1_jpll.dcm")
    data = pydicom.dcmread(file)
    with pytest.raises(RuntimeError):
        data.pixel_array  # noqa: B018
    (stored,) = frames(data, file)
    values = itk.array_from_image(itk.imread(file))[0]
    np.testing.assert_array_equal(stored * float(data.RescaleSlope) + float(data.RescaleIntercept), values)
    assert values.max() > 1000
