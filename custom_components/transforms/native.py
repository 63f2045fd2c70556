"""Bring what the network says back to the grid of the image file."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, MapTransform
from torch import Tensor

from ..tumour_labels import region_table, tissue_map

# The coordinates of a resampling cost as much as the resampling: several classes share them.
_CLASSES_AT_A_TIME = 4


class _Native(MapTransform):
    """Inverts the preprocessing of an image for values that lie on the same grid."""

    def __init__(
        self,
        keys: Sequence[str] | str,
        transform: Compose,
        orig_key: str = "image",
        probabilities_key: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.transform, self.orig_key, self.probabilities_key = transform, orig_key, probabilities_key

    def _invert(self, channel: Tensor, image: MetaTensor) -> MetaTensor:
        invert = Invertd(keys="channel", transform=self.transform, orig_keys=self.orig_key, nearest_interp=False)
        return invert({"channel": MetaTensor(channel), self.orig_key: image})["channel"]


class NativeArgmaxd(_Native):
    """Bring class scores from the network's grid back to the image file's own grid and take the best class there.

    Scores are interpolated, not labels, so borders are as fine as the file's grid. Classes go four at a time with a
    running maximum: memory is a few native volumes, not one per class (14 classes of 512 x 512 x 150 would be 2 GB).

    Args:
        keys: where the logits (C, *S) are; replaced by the label map (1, *native) uint8 or int16.
        transform: the invertible preprocessing of the image.
        orig_key: the preprocessed image, whose record of transforms is inverted.
        probabilities_key: also keep the probabilities (C, *native) under this key.
    """

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


class NativeRegionsd(_Native):
    """Bring region probabilities back to the image file's own grid and decide there, ET over TC over WT.

    Probabilities are interpolated, not logits: outside the network's field of view, where the inverse puts zeros, a
    logit of 0 would mean "as likely as not".

    Args:
        keys: where the logits (regions, *S) are; replaced by a map of tissue codes (1, *native), uint8.
        transform: the invertible preprocessing of the image.
        class_names: background first, then the regions.
        orig_key: the preprocessed image, whose record of transforms is inverted.
        probabilities_key: also keep the probabilities (regions, *native) under this key.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        transform: Compose,
        class_names: Sequence[str],
        orig_key: str = "image",
        probabilities_key: str | None = None,
    ) -> None:
        super().__init__(keys, transform, orig_key, probabilities_key)
        region_table(class_names)  # refuses a name that is no region
        self.class_names = list(class_names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with a native map of tissues."""
        result = dict(data)
        for key in self.key_iterator(result):
            probabilities = torch.as_tensor(result[key]).float().sigmoid()
            native = self._invert(probabilities, result[self.orig_key])
            result[key] = MetaTensor(tissue_map(native.as_tensor() >= 0.5, self.class_names), meta=native.meta)
            if self.probabilities_key is not None:
                result[self.probabilities_key] = native
        return result
