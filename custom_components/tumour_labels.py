"""Tissues and regions of brain tumours by name: TC, WT and ET are unions of tissues, whatever numbers a label has."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .errors import InputError

# The index of a tissue is its code in every decoded label map. The last two are for labels that do not tell more.
TISSUES = ("background", "oedema", "non-enhancing core", "enhancing tumour", "tumour core", "whole tumour")

REGIONS: dict[str, tuple[str, ...]] = {
    "WT": ("oedema", "non-enhancing core", "enhancing tumour", "tumour core", "whole tumour"),
    "TC": ("non-enhancing core", "enhancing tumour", "tumour core"),
    "ET": ("enhancing tumour",),
    "NCR/NET": ("non-enhancing core",),
}


def region_table(class_names: Sequence[str], device: torch.device | None = None) -> Tensor:
    """Which tissue codes belong to which region: (len(TISSUES), len(class_names) - 1) bool.

    Indexing it with a map of codes (*S) gives (*S, regions).

    Args:
        class_names: "background" first, then regions.
        device: where to put it.

    Raises:
        InputError: a name that is no region.
    """
    for name in class_names[1:]:
        if name not in REGIONS:
            raise InputError(
                f"class_names holds {name!r}, which is no region; expected background, then some of {list(REGIONS)}."
            )
    rows = [[tissue in REGIONS[name] for name in class_names[1:]] for tissue in TISSUES]
    return torch.tensor(rows, device=device)


def region_masks(codes: Tensor, class_names: Sequence[str]) -> Tensor:
    """Tissue codes (1, *S) to region masks (regions, *S), bool."""
    return region_table(class_names, codes.device)[codes[0].long()].movedim(-1, 0)


def tissue_map(masks: Tensor, class_names: Sequence[str]) -> Tensor:
    """Region masks (regions, *S) to one map of tissue codes (1, *S), uint8.

    Regions are painted from the widest to the narrowest, so an overlap is resolved ET over TC over WT: what is only WT
    is oedema, what is TC but not ET is the non-enhancing core. In a network that tells NCR/NET and not ET, the rest of
    TC is the enhancing tumour.
    """
    names = list(class_names[1:])
    rest_of_core = "enhancing tumour" if "NCR/NET" in names and "ET" not in names else "non-enhancing core"
    if "TC" in names and not {"ET", "NCR/NET"} & set(names):
        rest_of_core = "tumour core"
    rest_of_tumour = "oedema" if "TC" in names else "whole tumour"
    paint = {"WT": rest_of_tumour, "TC": rest_of_core, "NCR/NET": "non-enhancing core", "ET": "enhancing tumour"}
    codes = torch.zeros_like(masks[:1], dtype=torch.uint8)
    for region, tissue in paint.items():
        if region in names:
            codes.masked_fill_(masks[names.index(region)].bool()[None], TISSUES.index(tissue))
    return codes
