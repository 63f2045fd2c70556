"""A picture as DICOM secondary capture, in the study of what it was drawn of."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from .references import equipment, file_content, taking_over


def capture(picture: Path, source: pydicom.Dataset, model: Mapping[str, str], series: str, number: int) -> bytes:
    """The bytes of a secondary capture: RGB, not compressed.

    Args:
        picture: its file.
        source: header of the DICOM picture, whose patient and study it gets and to which it refers.
        model: name, version and weights_sha256 of what it explains.
        series: SeriesInstanceUID.
        number: in the series.
    """
    import highdicom as hd  # takes a second, and few runs need it

    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    with taking_over():
        made = hd.sc.SCImage.from_ref_dataset(
            source,
            pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "F"),
            series_instance_uid=series,
            series_number=302,
            sop_instance_uid=hd.UID(),
            instance_number=number,
            series_description=f"Attention, {model['name']}"[:64],
            **equipment(model),
        )
        made.PatientOrientation = []  # highdicom wants one, which panels side by side do not have
        made.Laterality = ""  # a series may hold both sides
        made.ConversionType = "WSD"
        made.BurnedInAnnotation = "YES"  # the name of the file is part of the drawing, and who knows what it tells
        made.DerivationDescription = f"Where {model['name']} {model['version']} looked; for research only"
        reference = pydicom.Dataset()
        reference.ReferencedSOPClassUID = source.SOPClassUID
        reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
        made.SourceImageSequence = [reference]
        return file_content(made)
