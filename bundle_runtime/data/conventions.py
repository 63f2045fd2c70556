"""What the numbers of a brain tumour label file mean.

The same number means different things in different data sets: 2 is the non-enhancing core in the Medical Segmentation
Decathlon and the oedema in BraTS. Nothing here or downstream depends on a bare number: a label file is decoded once
into tissues by its named convention, and regions are unions of tissues.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from custom_components.errors import InputError
from custom_components.tumour_labels import REGIONS, TISSUES, tissue_map
from torch import Tensor

# Regions that a label cannot tell where it holds an undivided tissue.
_HIDES = {"tumour core": ("ET", "NCR/NET"), "whole tumour": ("TC", "ET", "NCR/NET")}
# What an undivided label calls a tissue that the network can tell.
_COARSER = {
    "oedema": ("whole tumour",),
    "non-enhancing core": ("tumour core", "whole tumour"),
    "enhancing tumour": ("tumour core", "whole tumour"),
}


@dataclass(frozen=True)
class Convention:
    """What the values of a label file mean.

    Attributes:
        name: "msd", "brats2018", "brats2023" or "custom".
        tissues: label value -> one of `TISSUES`; 0 is the background. Of several values of a tissue, as in BraTS 2012
            to 2016, predictions get the lowest.
    """

    name: str
    tissues: Mapping[int, str]

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Regions that a label in this convention cannot tell apart, e.g. ET where the core is one value."""
        hidden = {region for tissue in self.tissues.values() for region in _HIDES.get(tissue, ())}
        return tuple(region for region in REGIONS if region in hidden)

    def unknown_values(self, values: Sequence[int]) -> list[int]:
        """The values among `values` that the convention does not know."""
        return [value for value in values if value not in self.tissues]

    def describe(self) -> str:
        """`msd (0 background, 1 oedema, 2 non-enhancing core, 3 enhancing tumour)`."""
        return f"{self.name} ({', '.join(f'{value} {tissue}' for value, tissue in sorted(self.tissues.items()))})"

    def decode(self, label: np.ndarray, name: str = "the label") -> np.ndarray:
        """Label values (any shape, whole numbers) to tissue codes, uint8.

        Args:
            label: values as stored.
            name: the file, for the error.

        Raises:
            InputError: a value that the convention does not know, or a fraction.
        """
        table = np.zeros(max(self.tissues) + 1, np.uint8)
        known = np.zeros(len(table), bool)
        for value, tissue in self.tissues.items():
            table[value], known[value] = TISSUES.index(tissue), True
        whole = label.astype(np.int64)
        inside = (whole >= 0) & (whole < len(table)) & (whole == label)
        if not inside.all() or not known[whole].all():
            wrong = np.unique(label[~inside] if not inside.all() else label[~known[whole]])[:5]
            raise InputError(
                f"{name} holds the value(s) {', '.join(f'{value:g}' for value in wrong)}, which the convention "
                f"{self.describe()} does not know; name the right label_convention."
            )
        return table[whole]

    def encode(self, codes: Tensor) -> Tensor:
        """Tissue codes (any shape) to the values of this convention, uint8.

        A tissue without a value of its own gets that of the undivided tissue around it.

        Raises:
            InputError: the convention has no value for a tissue that occurs.
        """
        values = [self._value(tissue) for tissue in TISSUES]
        table = torch.tensor([-1 if value is None else value for value in values], dtype=torch.int64)
        result = table.to(codes.device)[codes.long()]
        if bool((result < 0).any()):
            self.require(TISSUES[code] for code in codes[result < 0].unique().tolist())
        return result.to(torch.uint8)

    def require(self, tissues: Iterable[str]) -> None:
        """Refuse a convention in which a tissue cannot be written, neither by itself nor as part of an undivided one.

        Args:
            tissues: out of `TISSUES`, for example `predicted_tissues`.

        Raises:
            InputError: naming the convention, the tissues without a value and what to do.
        """
        wanted = list(tissues)
        lacking = [tissue for tissue in wanted if self._value(tissue) is None]
        if lacking:
            fitting = [name for name, known in CONVENTIONS.items() if all(known._value(t) is not None for t in wanted)]
            names = f"{' or '.join(fitting)}, or to " if fitting else ""
            raise InputError(
                f"The convention {self.describe()} has no value for {' and none for '.join(lacking)}, so a prediction "
                f"cannot be written in it; set label_convention to {names}a table that has one for it, or for the "
                "undivided tissue around it (tumour core, whole tumour)."
            )

    def _value(self, tissue: str) -> int | None:
        """The value of a tissue, or of the narrowest undivided one that holds it."""
        values = {name: value for value, name in sorted(self.tissues.items(), reverse=True)}  # the lowest stays
        return next((values[name] for name in (tissue, *_COARSER.get(tissue, ())) if name in values), None)

    def to_text(self) -> str:
        """The name, or the table as JSON: what `convention` reads."""
        if self.name in CONVENTIONS:
            return self.name
        return json.dumps({str(value): tissue for value, tissue in sorted(self.tissues.items())})


CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        # Task01_BrainTumour's dataset.json. MONAI's ConvertToMultiChannelBasedOnBratsClasses and SelfMedMAE's code read
        # its values as if they were BraTS's, so that "ET" became the non-enhancing core (MONAI tutorials issue 1355).
        Convention(
            "msd", {0: "background", 1: "oedema", 2: "non-enhancing core", 3: "enhancing tumour"}
        ),
        Convention(
            "brats2018", {0: "background", 1: "non-enhancing core", 2: "oedema", 4: "enhancing tumour"}
        ),
        Convention(
            "brats2023", {0: "background", 1: "non-enhancing core", 2: "oedema", 3: "enhancing tumour"}
        ),
    )
}  # fmt: skip


# BraTS kept its values from 2017 to 2021.
_ALIASES = {"brats2019": "brats2018", "brats2020": "brats2018", "brats2021": "brats2018"}
_POST_OPERATIVE = (
    " The labels of BraTS 2024 are of operated heads: 4 is the resection cavity, which is no tumour tissue. Set it to "
    "0 in copies of the label files and name brats2023."
)


def convention(spec: str | Mapping[str, str] | Mapping[int, str]) -> Convention:
    """A convention by name, or a custom one from a table such as `{"1": "oedema", "2": "tumour core"}` (or its JSON).

    Names may be in upper or lower case; brats2019, brats2020 and brats2021 are brats2018.

    Raises:
        InputError: an unknown name, tissue or value, or a 0 that is not the background.
    """
    name = spec.strip().lower() if isinstance(spec, str) else ""
    name = _ALIASES.get(name, name)
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    table: object = spec
    if isinstance(spec, str):
        try:
            table = json.loads(spec)
        except ValueError:
            table = None
    try:
        tissues = {_whole(value): str(tissue) for value, tissue in table.items()}  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        tissues = {}
    wrong = [tissue for tissue in tissues.values() if tissue not in TISSUES]
    wrong += [tissue for value, tissue in tissues.items() if (value == 0) != (tissue == TISSUES[0])]
    tissues = {0: TISSUES[0], **tissues}
    if len(tissues) < 2 or wrong:
        names = ", ".join(CONVENTIONS)
        raise InputError(
            f"label_convention is {spec!r}; expected {names}, or a table of label values (whole numbers; 0 is the "
            f"background) and tissues out of {', '.join(TISSUES[1:])}, such as "
            f'{{"1": "oedema", "2": "tumour core"}}.{_POST_OPERATIVE if name == "brats2024" else ""}'
        )
    return Convention("custom", tissues)


def _whole(value: object) -> int:
    """A label value of a table, a whole number or the text of one.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not re.fullmatch(r"\d+", str(value)):
        raise ValueError
    return int(str(value))


def predicted_tissues(class_names: Sequence[str] = ("background", "TC", "WT", "ET")) -> tuple[str, ...]:
    """The tissues that `tissue_map` can give for a network of these regions, background first."""
    voxels = list(itertools.product([False, True], repeat=len(class_names) - 1))
    codes = tissue_map(torch.tensor(voxels).T, class_names)
    return tuple(TISSUES[code] for code in codes.unique().tolist())
