"""Partly labelled cases, and the tissues that the logits of tumour regions make."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from torch import Tensor

from ..tumour_labels import region_table, tissue_map


class UnlabelledMaskd(Transform):
    """Turn an item's list "unlabelled" of class names into a mask that collates: (classes,), True where not drawn.

    Args:
        class_names: all classes, background first.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the mask."""
        names = set(data["unlabelled"])
        return {**data, "unlabelled": torch.tensor([name in names for name in self.class_names])}


class RegionsToTissuesd(MapTransform):
    """Decide each region's logit (probability 0.5) and resolve overlaps, ET over TC over WT, on the network's grid.

    Args:
        keys: where the logits (regions, *S) are; replaced by a map of tissue codes (1, *S), uint8.
        class_names: background first, then the regions.
    """

    def __init__(self, keys: Sequence[str] | str, class_names: Sequence[str]) -> None:
        super().__init__(keys)
        region_table(class_names)  # refuses a name that is no region
        self.class_names = list(class_names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the codes."""
        result = dict(data)
        for key in self.key_iterator(result):
            # A logit of 0 is a probability of 0.5, and costs no sigmoid.
            result[key] = like(result[key], tissue_map(torch.as_tensor(result[key]) >= 0, self.class_names))
        return result


def like(source: Tensor, values: Tensor) -> Tensor:
    """`values` with the metadata (affine, applied transforms) of `source`, where that has any."""
    if not isinstance(source, MetaTensor):
        return values
    return MetaTensor(values, meta=source.meta, applied_operations=source.applied_operations)
