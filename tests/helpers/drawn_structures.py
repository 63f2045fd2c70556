"""Structures drawn on the series of `dicom_files.slices`, in the ways that programs write them."""

from pathlib import Path

from dicom_files import AXIAL, lps, slices, uid, volume
from picture_files import encoded
from pydicom.dataset import Dataset

SHAPE = (40, 34, 6)
AFFINE = lps(SHAPE, (0.8, 0.9, 2.5), AXIAL, (-10, -20, 30))


def square(low: float, high: float, number: float) -> list[float]:
    corners = [(low, low), (high, low), (high, high), (low, high)]
    return [float(v) for x, y in corners for v in (AFFINE @ [x, y, number, 1])[:3]]


def contours(folder: Path, drawn: dict[str, list[list[float]]], kind: str = "CLOSED_PLANAR") -> str:
    """Write an RTSTRUCT: structure -> its contours."""
    data = slices(volume())[0]
    for key in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del data[key]
    data.Modality, data.SOPInstanceUID = "RTSTRUCT", uid("rt")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    for number, (name, parts) in enumerate(drawn.items(), 1):
        roi, shape = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, shape.ReferencedROINumber = number, name, number
        shape.ContourSequence = []
        for points in parts:
            contour = Dataset()
            contour.ContourGeometricType, contour.ContourData = kind, points
            contour.NumberOfContourPoints = len(points) // 3
            shape.ContourSequence.append(contour)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(shape)
    place, study, referred = Dataset(), Dataset(), Dataset()
    referred.SeriesInstanceUID = slices(volume())[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence, place.RTReferencedStudySequence = [referred], [study]
    data.ReferencedFrameOfReferenceSequence = [place]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RS.dcm").write_bytes(encoded(data))
    return str(folder / "RS.dcm")
