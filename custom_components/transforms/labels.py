"""What labels mean: partly labelled cases, tissue codes of brain tumours, and back to the values of a data set."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from torch import Tensor

from .. import tumour_labels as regions
from ..errors import InputError
from ..tumour_labels import region_table, tissue_map

_DECLARE = "set label_convention (msd, brats2018, brats2023 or a table) in the datalist or the config"


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


class TissueLabeld(Transform):
    """Decode a loaded label map to tissue codes (`regions.TISSUES`) by the label convention that the item declares.

    "label" (1, X, Y, Z) holds values as in its file, and then codes, uint8. "label_convention", a name or a table as
    JSON, is taken out of the item: MONAI's spatial transforms write into whatever is called `<key>_...`.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the codes.

        Raises:
            InputError: no convention is declared, or the label holds a value that it does not know.
        """
        label = data["label"]
        meta = label.meta if isinstance(label, MetaTensor) else {}
        file = str(meta.get("filename_or_obj") or data.get("case") or "the label")
        if not data.get("label_convention"):
            raise InputError(f"{file}: nothing says what the values of this label mean; {_DECLARE}.")
        if len(label) != 1:
            raise InputError(f"{file}: holds {len(label)} volumes; expected a label map of one.")
        codes = regions.convention(data["label_convention"]).decode(np.asarray(torch.as_tensor(label).cpu()), file)
        rest = {key: value for key, value in data.items() if key != "label_convention"}
        return {**rest, "label": _like(label, torch.from_numpy(codes))}


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
            result[key] = _like(result[key], tissue_map(torch.as_tensor(result[key]) >= 0, self.class_names))
        return result


class ConventionLabeld(MapTransform):
    """Write tissue codes in the values of a label convention, for files that people open beside their own labels.

    Args:
        keys: where the tissue codes (1, X, Y, Z) are; replaced by label values, uint8.
        convention: name or table that serves all items; None takes what each item declares as "label_convention".
        undeclared: that of items which declare none.
    """

    def __init__(
        self,
        keys: Sequence[str] | str,
        convention: str | Mapping[str, str] | None = None,
        undeclared: str | None = None,
    ) -> None:
        super().__init__(keys)
        if convention is not None:
            regions.convention(convention)  # refuses what is no convention
        self.convention, self.undeclared = convention, undeclared

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the values.

        Raises:
            InputError: no convention is known, or it has no value for a tissue that occurs.
        """
        result = dict(data)
        spec = self.convention or result.get("label_convention") or self.undeclared
        if not spec:
            case = result.get("case", "the label map")
            raise InputError(f"{case}: nothing says which values the label map is to have; {_DECLARE}.")
        for key in self.key_iterator(result):
            result[key] = _like(result[key], regions.convention(spec).encode(torch.as_tensor(result[key])))
        return result


def _like(source: Tensor, values: Tensor) -> Tensor:
    """`values` with the metadata (affine, applied transforms) of `source`, where that has any."""
    if not isinstance(source, MetaTensor):
        return values
    return MetaTensor(values, meta=source.meta, applied_operations=source.applied_operations)
