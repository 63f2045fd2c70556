"""A small export of a PACS: drawn abdomens as CT series, each with a DICOM SEG."""

from pathlib import Path

import nibabel as nib
import numpy as np
from bundle_runtime.dicom.codes import code_of
from bundle_runtime.dicom.segmentation import segmentation
from bundle_runtime.dicom.series import stack_of
from dicom_files import slices, write
from mae_tools.demo_data import PAINTERS

MODEL = {"name": "drawn by a program", "version": "1", "weights_sha256": "0" * 64}
ORGANS = ("liver", "spleen")  # the first two of the drawing


def draw_export(folder: Path, patients: int, scratch: Path) -> Path:
    """Write `<folder>/<patient>/<date>/...`; `scratch` gets the NIfTI files that it is made of."""
    PAINTERS["abdomen"](scratch, cases=patients)
    codes = {name: code_of(name) for name in ORGANS}
    for number, file in enumerate(sorted((scratch / "images").glob("*.nii.gz"))):
        image = nib.as_closest_canonical(nib.load(file))
        drawn = nib.as_closest_canonical(nib.load(scratch / "labels" / file.name))
        stored = (np.asarray(image.dataobj)[::-1, ::-1] + 1024).round().clip(0, 4095).astype(np.uint16)  # RAS to LPS
        spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
        place = folder / f"patient {number}" / "20200102" / "CT venous"
        write(place, slices(stored, f"p{number}", spacing=spacing))
        labels = np.asarray(drawn.dataobj)[::-1, ::-1].astype(np.uint8)
        labels[labels > len(ORGANS)] = 0
        seg = segmentation(labels, stack_of(str(place)), codes, MODEL)
        (folder / f"patient {number}" / "seg.dcm").write_bytes(seg)
    return folder
