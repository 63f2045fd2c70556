"""Classes that no training label shows: never given by the network, left out of the score that selects."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from custom_components.errors import InputError
from custom_components.training.step import map_tensors
from custom_components.tumour_labels import region_masks
from monai.handlers import from_engine
from torch import Tensor, nn

# Softmax and sigmoid make 0 of it in every precision. Infinity would become NaN where logits are blended or resampled.
NEVER = -1e4


def leave_out(network: nn.Module, channels: Sequence[int]) -> nn.Module:
    """Let a network never give some of its classes: their logits are `NEVER`, and no gradient flows into them.

    Holds for whatever the network returns, logits (B, K, *S) or a tuple of such and of those of auxiliary heads, and
    for every way to call it (DDP, `torch.compile`, sliding windows). Its tensors are unchanged.

    Args:
        network: gets a forward hook, where there is something to leave out.
        channels: of its output.

    Returns:
        `network`.
    """
    if channels:
        network.register_forward_hook(functools.partial(_hide, tuple(channels)))
    return network


def _hide(channels: tuple[int, ...], module: nn.Module, inputs: Any, output: Any) -> Any:
    def hide(logits: Tensor) -> Tensor:
        logits = logits.clone()
        for channel in channels:  # a fill of a view: nothing is copied from the host
            logits[:, channel] = NEVER
        return logits

    return map_tensors(output, hide)


def not_selected(class_names: Sequence[str], selected: Any) -> list[int]:
    """Positions of the classes that do not choose the best epoch.

    Args:
        class_names: background first, which is none of them.
        selected: the names of those that choose it, the setting `select_organs`.

    Raises:
        InputError: it is no list, is empty, or names a class that the run does not have.
    """
    if isinstance(selected, str) or not isinstance(selected, Sequence):
        raise InputError(f"select_organs is {selected!r}, expected a list; quote its words: \"['one','two words']\".")
    known = class_names[1:]
    unknown = [name for name in selected if name not in known]
    if unknown or not selected:
        found = f"names {unknown[0]!r}, which is none" if unknown else "is empty; choose some"
        raise InputError(f"select_organs {found} of the classes of this run: {', '.join(known)}.")
    return [value for value, name in enumerate(class_names) if value and name not in selected]


def classes_from_engine(unlearnt: Sequence[int] = ()) -> Callable[[Any], Any]:
    """An `output_transform` for MONAI metrics: `pred` and `label`, without the classes that were not learnt.

    Of class maps (1, *S) these voxels become background, of one-hot maps (K, *S) the planes become empty; MONAI's
    metrics leave out a class that prediction and label both lack.
    """
    pairs = from_engine(["pred", "label"])

    def transform(output: Any) -> Any:
        return [[_without(values, unlearnt) for values in part] for part in pairs(output)]

    return transform if unlearnt else pairs


def masks_from_engine(class_names: Sequence[str], unlearnt: Sequence[int] = ()) -> Callable[[Any], Any]:
    """The same for tissue maps, which become region masks; those of regions that were not learnt are empty.

    Args:
        class_names: "background" first, then regions.
        unlearnt: positions among them.
    """
    pairs, places = from_engine(["pred", "label"]), torch.tensor([index - 1 for index in unlearnt], dtype=torch.int64)

    def masks(codes: Tensor) -> Tensor:
        found = region_masks(torch.as_tensor(codes), class_names)
        return found.index_fill(0, places.to(found.device), False)

    return lambda output: [[masks(codes) for codes in part] for part in pairs(output)]


def _without(values: Tensor, unlearnt: Sequence[int]) -> Tensor:
    places = torch.tensor(list(unlearnt), device=values.device)
    if len(values) > 1:
        return values.index_fill(0, places, 0)
    return values.masked_fill(torch.isin(values.long(), places), 0)
