"""Label maps as NIfTI files, faithful to the header of the image.

MONAI Label leaves out what is a `SaveImaged`, MONAI Deploy what has "SaveImage" in its name, and each writes itself.
"""

import gzip
import io
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from custom_components.errors import InputError
from monai.data import MetaTensor
from monai.transforms import MapTransform, SaveImaged

from ..files import short_name, write_atomically
from .volume import GRID_TOLERANCE, corner_shift


class SaveImageLabelMapd(SaveImaged):
    """Write a label map, and on request probabilities, as NIfTI with the header of the image that it belongs to.

    Shape, affine, orientation codes, units and descriptive fields are the input's; only the data type and the display
    range change. The file appears under its final name when it is complete. The item has the image's "file", its
    "header" as `LoadVolumesd` gives it, and the "case".

    Args:
        keys: where the label map (1, *native) is.
        output_dir: folder for `<case>_<postfix>.nii.gz`; made if missing.
        postfix: end of the file name.
        dtype: data type on disk.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        output_dir: str,
        postfix: str = "seg",
        dtype: str = "uint8",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.output_dir, self.postfix, self.dtype = Path(output_dir), postfix, np.dtype(dtype)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the file and return a copy of the item with its path under `<key>_path`.

        Raises:
            InputError: the result has another shape than the image, or (where it says where it lies) another place.
        """
        result = dict(data)
        for key in self.key_iterator(data):
            kind, source = _header(result["header"])
            shape = source.get_data_shape()[:3]
            array = np.asarray(torch.as_tensor(result[key]).cpu()).astype(self.dtype)
            array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
            if array.shape[:3] != shape:
                raise InputError(
                    f"{result['file']}: the result has shape {array.shape[:3]} but the image has "
                    f"{shape}; the preprocessing was not inverted."
                )
            _check_place(result[key], source, result["file"])
            header = source.copy()
            header.set_data_dtype(self.dtype)
            header["cal_min"], header["cal_max"] = 0, float(array.max())
            header.set_slope_inter(1, 0)
            path = self.output_dir / f"{short_name(result['case'])}_{self.postfix}.nii.gz"
            # Levels above 6 take several times as long and save next to nothing on label maps.
            packed = gzip.compress(kind(array, source.get_best_affine(), header).to_bytes(), compresslevel=6)
            write_atomically(path, packed)
            result[f"{key}_path"] = str(path)
        return result


def _header(content: bytes) -> tuple[Any, Any]:
    """The nibabel image class and the header that were stored."""
    two = nib.Nifti2Header.may_contain_header(content[: nib.Nifti2Header.sizeof_hdr])
    kind = nib.Nifti2Image if two else nib.Nifti1Image
    return kind, kind.header_class.from_fileobj(io.BytesIO(content))


def _check_place(values: Any, source: Any, file: str) -> None:
    """Refuse a result that lies elsewhere than the image whose header it is to get."""
    if not isinstance(values, MetaTensor):
        return
    shift = corner_shift(values.affine.cpu().numpy(), source.get_best_affine(), source.get_data_shape()[:3])
    if not shift <= GRID_TOLERANCE:  # this way round NaN is refused too
        raise InputError(
            f"{file}: the result lies {shift:.3g} voxels off the grid of the image; the preprocessing was not "
            "inverted, or the result belongs to another file of the case."
        )
