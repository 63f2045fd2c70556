"""What results in DICOM refer to: the objects that they were made of, and the model that made them."""

import functools
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from custom_components.errors import InputError
from pydicom.config import disable_value_validation

from ..weights.io import sha256_of
from .pixels import text

# It tells of each attribute that it copies, with identifiers of patients' studies.
logging.getLogger("highdicom").setLevel(logging.WARNING)
_MAY_LACK = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
)


@contextmanager
def taking_over() -> Iterator[None]:
    """Where a source's values are copied: slips of other programs in them stay, no warning tells a patient's name."""
    with disable_value_validation(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s)The string .* person name")
        yield


@functools.cache
def model_of(metadata: str, weights: str) -> dict[str, str]:
    """Name, version and weights_sha256 of a model, looked up once."""
    content = json.loads(Path(metadata).read_text(encoding="utf-8"))
    return {"name": content["name"], "version": content["version"], "weights_sha256": sha256_of(weights)}


def equipment(model: Mapping[str, str]) -> dict[str, Any]:
    """What made an object, as highdicom's constructors take it.

    Args:
        model: name, version and weights_sha256.
    """
    return {
        "manufacturer": "mae-bundles",
        "manufacturer_model_name": model["name"][:64],
        "software_versions": model["version"],
        "device_serial_number": model["weights_sha256"][:16],
    }


def file_content(made: pydicom.Dataset) -> bytes:
    """The bytes of the file of an object."""
    stream = io.BytesIO()
    made.save_as(stream)
    return stream.getvalue()


def source_header(file: str, name: str, needed: Sequence[str], what: str) -> pydicom.Dataset:
    """The header of a file, with the elements that the standard lets be empty.

    Args:
        file: its path.
        name: what it is called in messages.
        needed: elements that may not be empty.
        what: refers to it.

    Raises:
        InputError: what a reference needs is empty.
    """
    header = pydicom.dcmread(file, stop_before_pixels=True)
    if empty := [key for key in needed if not text(header, key)]:
        raise InputError(
            f"{name}: {empty[0]} is empty, so that {what} cannot refer to it; export it again, or take another "
            "output_format."
        )
    for key in _MAY_LACK:
        if key not in header:
            setattr(header, key, "")
    return header
