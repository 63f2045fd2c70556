"""Dictionary transforms that MONAI lacks: partly labelled cases, native-grid label maps, faithful NIfTI output."""

import gzip
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, MapTransform, Transform
from torch import Tensor

from .errors import InputError
from .files import write_atomically

# The coordinates of a resampling cost as much as the resampling: several classes share them.
_CLASSES_AT_A_TIME = 4


class UnlabelledMaskd(Transform):
    """Turn an item's list of unlabelled class names into a mask that collates.

    Args:
        class_names: all classes, background first.
        key: where the list of names is; replaced by a bool tensor (classes,), True where a class is not drawn.
    """

    def __init__(self, class_names: Sequence[str], key: str = "unlabelled") -> None:
        self.class_names, self.key = list(class_names), key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the mask."""
        names = set(data[self.key])
        return {**data, self.key: torch.tensor([name in names for name in self.class_names])}


class NativeArgmaxd(MapTransform):
    """Bring class scores from the network's grid back to the image file's own grid and take the best class there.

    Scores are interpolated, not labels, so borders are as fine as the file's grid. Classes go four at a time with a
    running maximum: memory is a few native volumes, not one per class (14 classes of 512 x 512 x 150 would be 2 GB).

    Args:
        keys: where the logits (C, *S) are; replaced by the label map (1, *native) uint8 or int16.
        transform: the invertible preprocessing of the image.
        orig_key: the preprocessed image, whose record of transforms is inverted.
        probabilities_key: also keep the probabilities (C, *native) under this key.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        transform: Compose,
        orig_key: str = "image",
        probabilities_key: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.transform, self.orig_key, self.probabilities_key = transform, orig_key, probabilities_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with a native label map."""
        result = dict(data)
        for key in self.key_iterator(result):
            probabilities = torch.as_tensor(result[key]).float().softmax(dim=0)
            best: Tensor | None = None
            kept: list[Tensor] = []
            for start in range(0, len(probabilities), _CLASSES_AT_A_TIME):
                native = self._invert(probabilities[start : start + _CLASSES_AT_A_TIME], result[self.orig_key])
                if self.probabilities_key is not None:
                    kept.append(native)
                highest, number = native.as_tensor().max(dim=0, keepdim=True)
                number = number.to(torch.int16) + start
                if best is None:
                    best, label, meta = highest, number, native.meta
                else:
                    better = highest > best
                    label, best = torch.where(better, number, label), torch.where(better, highest, best)
            result[key] = MetaTensor(label, meta=meta)
            if self.probabilities_key is not None:
                result[self.probabilities_key] = torch.cat(kept)
        return result

    def _invert(self, channel: Tensor, image: MetaTensor) -> MetaTensor:
        invert = Invertd(keys="channel", transform=self.transform, orig_keys=self.orig_key, nearest_interp=False)
        return invert({"channel": MetaTensor(channel), self.orig_key: image})["channel"]


class SaveLabelMapd(MapTransform):
    """Write a label map, and on request probabilities, as NIfTI with the header of the image that it belongs to.

    Shape, affine, orientation codes, units and descriptive fields are the input's; only the data type and the display
    range change. The file appears under its final name when it is complete.

    Args:
        keys: where the label map (1, *native) is.
        output_dir: folder for `<case>_<postfix>.nii.gz`; made if missing.
        postfix: end of the file name.
        file_key: path of the input image.
        case_key: name of the case.
        dtype: data type on disk.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        output_dir: str,
        postfix: str = "seg",
        file_key: str = "file",
        case_key: str = "case",
        dtype: str = "uint8",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_dir, self.postfix, self.dtype = Path(output_dir), postfix, np.dtype(dtype)
        self.file_key, self.case_key = file_key, case_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the file and return a copy of the item with its path under `<key>_path`."""
        result = dict(data)
        for key in self.key_iterator(data):
            source: Any = nib.load(result[self.file_key])
            array = np.asarray(torch.as_tensor(result[key]).cpu()).astype(self.dtype)
            array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
            if array.shape[:3] != source.shape[:3]:
                raise InputError(
                    f"{result[self.file_key]}: the result has shape {array.shape[:3]} but the image has "
                    f"{source.shape[:3]}; the preprocessing was not inverted."
                )
            header = source.header.copy()
            header.set_data_dtype(self.dtype)
            header["cal_min"], header["cal_max"] = 0, float(array.max())
            header.set_slope_inter(1, 0)
            path = self.output_dir / f"{result[self.case_key]}_{self.postfix}.nii.gz"
            # Levels above 6 take several times as long and save next to nothing on label maps.
            packed = gzip.compress(type(source)(array, source.affine, header).to_bytes(), compresslevel=6)
            write_atomically(path, packed)
            result[f"{key}_path"] = str(path)
        return result
