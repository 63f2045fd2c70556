"""Small DICOM series, right or wrong on purpose."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from picture_files import dataset, encoded
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, generate_uid

AXIAL = (1.0, 0, 0, 0, 1, 0)
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def uid(*words: str) -> UID:
    return generate_uid(entropy_srcs=list(words))


def volume(shape: tuple[int, int, int] = (40, 34, 6), seed: int = 0) -> np.ndarray:
    """Stored values (X, Y, Z), different everywhere."""
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def lps(shape: Sequence[int], spacing: Sequence[float], orientation: Sequence[float], origin: Sequence[float]) -> Any:
    """(4, 4) from column, row, slice to mm, as the standard defines it (part 3, C.7.6.2.1.1)."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * spacing[0], column * spacing[1], np.cross(row, column) * spacing[2], origin])
    return affine


def slices(
    stored: np.ndarray,
    name: str = "a",
    spacing: Sequence[float] = (0.8, 0.9, 2.5),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, -20, 30),
    tilt: float = 0,
    **elements: Any,
) -> list[Dataset]:
    """Data sets of a CT series; `elements` are set in all of them, `tilt` moves each slice by so many mm in y."""
    affine, found = lps(stored.shape, spacing, orientation, origin), []
    for number in range(stored.shape[2]):
        own = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": uid(name, str(number)),
            "StudyInstanceUID": uid(name, "study"),
            "SeriesInstanceUID": uid(name, "series"),
            "FrameOfReferenceUID": uid(name, "frame"),
            "Modality": "CT",
            "PatientID": f"{name}-patient",
            "PatientName": "Planted^Name",
            "PatientBirthDate": "19500203",
            "PatientSex": "O",
            "StudyDate": "20200102",
            "StudyTime": "101112",
            "StudyID": "1",
            "AccessionNumber": "ACC4711",
            "SeriesNumber": 3,
            "SeriesDescription": "abdomen venous",
            "InstanceNumber": number + 1,
            "ImagePositionPatient": list((affine @ [0, 0, number, 1])[:3] + np.array([0, tilt * number, 0])),
            "ImageOrientationPatient": list(orientation),
            "PixelSpacing": [spacing[1], spacing[0]],
            "SliceThickness": spacing[2],
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
        }
        data = dataset(np.ascontiguousarray(stored[..., number].T), **{**own, **elements})
        data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = own["SOPInstanceUID"]
        found.append(data)
    return found


def write(folder: Path, datasets: Sequence[Dataset], syntax: UID | None = None, ending: str = ".dcm") -> Path:
    """Write data sets in an order that is not theirs, compressed where a transfer syntax is given."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(datasets):
        if syntax is not None:
            data.compress(syntax, generate_instance_uid=False)
        place = (number * 5) % 17
        (folder / f"IM{place:03d}_{number}{ending}").write_bytes(encoded(data))
    return folder


def enhanced(datasets: Sequence[Dataset], order: Sequence[int]) -> Dataset:
    """The same slices as frames of one object, with a scale for each."""
    chosen = [datasets[index] for index in order]
    result = pydicom.dcmread(pydicom.filebase.DicomBytesIO(encoded(datasets[0])))
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        del result[key]
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    result.NumberOfFrames = len(chosen)
    result.PixelData = b"".join(data.PixelData for data in chosen)
    groups = []
    for data in chosen:
        frame = Dataset()
        place, scale = Dataset(), Dataset()
        place.ImagePositionPatient = data.ImagePositionPatient
        scale.RescaleSlope, scale.RescaleIntercept = data.RescaleSlope, data.RescaleIntercept
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [scale]
        groups.append(frame)
    shared, direction, measures = Dataset(), Dataset(), Dataset()
    direction.ImageOrientationPatient = datasets[0].ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = datasets[0].PixelSpacing, datasets[0].SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [direction], [measures]
    result.SharedFunctionalGroupsSequence, result.PerFrameFunctionalGroupsSequence = [shared], groups
    return result
