"""Classes that no training label shows: no gradient, no probability, no vote in the score that selects."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
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
    if isinstance(output, Tensor):
        output = output.clone()
        for channel in channels:  # a fill of a view: nothing is copied from the host
            output[:, channel] = NEVER
        return output
    parts = [_hide(channels, module, inputs, part) for part in output]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)


def only_learnt(values: Tensor, unlearnt: Sequence[int]) -> Tensor:
    """(B, K, ...) -> (B, K - unlearnt, ...), without a copy from the host."""
    return torch.stack([one for index, one in enumerate(values.unbind(1)) if index not in unlearnt], dim=1)


def classes_from_engine(unlearnt: Sequence[int] = ()) -> Callable[[Any], Any]:
    """An `output_transform` for MONAI metrics: `pred` and `label`, without the classes that were not learnt.

    Of class maps (1, *S) these voxels become background, of one-hot maps (K, *S) the planes become empty; MONAI's
    metrics leave out a class that prediction and label both lack.
    """
    pairs = from_engine(["pred", "label"])

    def transform(output: Any) -> Any:
        return [[_without(values, unlearnt) for values in part] for part in pairs(output)]

    return transform if unlearnt else pairs


def _without(values: Tensor, unlearnt: Sequence[int]) -> Tensor:
    places = torch.tensor(list(unlearnt), device=values.device)
    if len(values) > 1:
        return values.index_fill(0, places, 0)
    return values.masked_fill(torch.isin(values.long(), places), 0)
