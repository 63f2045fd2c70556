"""Label files of brain tumours to tissue codes and back, as dictionary transforms."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from custom_components.transforms.labels import like
from monai.data import MetaTensor
from monai.transforms import Invertd, MapTransform, Transform

from .conventions import convention as find_convention

_DECLARE = "set label_convention (msd, brats2018, brats2023 or a table) in the datalist or the config"


class TissueLabeld(Transform):
    """Decode a loaded label map to tissue codes (`TISSUES`) by the label convention that the item declares.

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
        codes = find_convention(data["label_convention"]).decode(np.asarray(torch.as_tensor(label).cpu()), file)
        rest = {key: value for key, value in data.items() if key != "label_convention"}
        return {**rest, "label": like(label, torch.from_numpy(codes))}


class ConventionLabeld(Invertd):  # a tool that leaves out the way back to the grid leaves this out, too
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
        MapTransform.__init__(self, keys)
        if convention is not None:
            find_convention(convention)  # refuses what is no convention
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
            result[key] = like(result[key], find_convention(spec).encode(torch.as_tensor(result[key])))
        return result
