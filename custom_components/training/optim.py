"""Parameter groups with layer-wise learning-rate decay, and a schedule that is a pure function of the iteration."""

import math
import re
from collections.abc import Sequence
from typing import Any, cast

from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from ..errors import InputError, within
from ..networks.find import find_vit, unwrap

Group = dict[str, Any]
SKIP_DECAY = ("cls_token", "position_embeddings")


def layer_ids(network: nn.Module) -> dict[str, int]:
    """Depth of every parameter, as in MAE's fine-tuning (arXiv 2111.06377, appendix A.1).

    Args:
        network: a ViT, or a network that holds one as `vit` or `encoder`, with L blocks. Wrappers for distributed
            training and compilation are looked through, and their prefixes are not part of the names.

    Returns:
        Parameter name -> id: 0 for patch embedding, class token and positions, k + 1 for block k, L + 1 for the final
        norm and everything outside the transformer (heads, decoders).

    Raises:
        InputError: there is no Vision Transformer in the network.
    """
    network = unwrap(network)
    try:
        vit = find_vit(network)
    except InputError as error:
        raise InputError(
            f"layer_decay needs a network that is a Vision Transformer or holds one as `vit` or `encoder`, but "
            f"{type(network).__name__} does not; set layer_decay to 1.0."
        ) from error
    last = len(cast(nn.ModuleList, vit.blocks)) + 1
    prefix = next(f"{name}." if name else "" for name, module in network.named_modules() if module is vit)
    # Stock MONAI and this package keep the positions inside `patch_embedding`.
    first, block = re.compile(rf"{prefix}(patch_embedding\.|cls_token$)"), re.compile(rf"{prefix}blocks\.(\d+)\.")
    ids = {}
    for name, _ in network.named_parameters():
        inside = block.match(name)
        ids[name] = int(inside[1]) + 1 if inside else 0 if first.match(name) else last
    return ids


def param_groups(
    network: nn.Module,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    skip_decay: Sequence[str] = SKIP_DECAY,
) -> list[Group]:
    """Optimiser groups with one learning rate per depth and without weight decay where it does harm.

    A parameter of id i out of 0..n gets `learning_rate * layer_decay ** (n - i)`; with 12 blocks and 0.75 that is
    0.023757 of the peak for id 0, 0.75 for the last block and 1 for norm, head and decoder.

    Args:
        network: any network; with `layer_decay` other than 1 one that `layer_ids` understands.
        learning_rate: peak learning rate of the deepest group.
        weight_decay: for tensors of two or more axes. Biases and other 1-D tensors get 0.
        layer_decay: factor from one block to the one before it, in (0, 1]. 1.0 gives two groups.
        skip_decay: endings of parameter names that get no weight decay either. The default is that of fine-tuning; the
            papers decay class and mask token in pre-training: pass ().

    Returns:
        Groups for any torch optimiser, deepest last, each with "params", "name", "lr", "lr_scale", "weight_decay".
        Every trainable parameter is in exactly one; frozen parameters are left out.

    Raises:
        InputError: a value is out of range, or the network has no trainable parameter or no Vision Transformer.
    """
    within("layer_decay", layer_decay, "(0, 1]")
    within("learning_rate", learning_rate, "(0, inf)")
    within("weight_decay", weight_decay, "[0, inf)")
    network = unwrap(network)
    ids = layer_ids(network) if layer_decay < 1.0 else {name: 0 for name, _ in network.named_parameters()}
    groups: dict[tuple[int, bool], Group] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim > 1 and not name.endswith((".bias", *skip_decay))
        scale = layer_decay ** (max(ids.values()) - ids[name])
        group = groups.setdefault(
            (ids[name], decays),
            {
                "params": [],
                "name": (f"layer_{ids[name]:02d}_" if layer_decay < 1.0 else "") + ("decay" if decays else "no_decay"),
                "lr": learning_rate * scale,
                "lr_scale": scale,
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    if not groups:
        raise InputError(f"{type(network).__name__} has no trainable parameter; at least one must require a gradient.")
    return [groups[key] for key in sorted(groups)]


class WarmupCosine:
    """Linear warm-up, then half a cosine or a power of what is left, per iteration; each group follows its own peak.

    Unlike MONAI's `WarmupCosineSchedule` the rate stays at its end value after the last step, and the end value is
    relative to each group's peak. There is no state to save: the rate follows from the iteration number alone.
    As an Ignite handler it sets the rates before every iteration; the first one has rate 0 when there is a warm-up.

    Args:
        optimizer: its groups' "lr" (or "initial_lr", where a scheduler has set it) are the peaks; plain floats.
        warmup_epochs: until the peak; parts of an epoch are rounded to iterations.
        max_epochs: until the end value.
        epoch_length: iterations of an epoch; with 1 the two above count iterations.
        min_lr_ratio: end value as a fraction of the peak.
        power: the rate falls with (share of the iterations left) ** power, 1 a straight line ("poly" schedule); None is
            the cosine.

    Raises:
        InputError: the epochs, the ratio or the power are out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_epochs: float,
        max_epochs: float,
        epoch_length: int = 1,
        min_lr_ratio: float = 0.0,
        power: float | None = None,
    ) -> None:
        warmup_steps, total_steps = round(warmup_epochs * epoch_length), round(max_epochs * epoch_length)
        if total_steps < 1 or not 0 <= warmup_steps <= total_steps:
            raise InputError(
                f"The warm-up takes {warmup_steps} of {total_steps} iterations; warmup_epochs must be between 0 and "
                "max_epochs, and max_epochs at least 1."
            )
        within("min_lr_ratio", min_lr_ratio, "[0, 1]")
        if power is not None and not power > 0:
            raise InputError(f"power of the schedule is {power}; it must be above 0, or null for a cosine.")
        self.optimizer, self.min_lr_ratio, self.power = optimizer, min_lr_ratio, power
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        # Kept in the groups too, under torch's own name: there it survives a checkpoint of the optimiser.
        self.peaks = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]

    def factor(self, step: int) -> float:
        """Fraction of the peak at `step`, counted from 0."""
        if step < self.warmup_steps:
            return step / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        share = 0.5 * (1.0 + math.cos(math.pi * progress)) if self.power is None else (1.0 - progress) ** self.power
        return self.min_lr_ratio + (1.0 - self.min_lr_ratio) * share

    def set(self, step: int) -> None:
        """Give every group its rate at `step`, counted from 0."""
        factor = self.factor(step)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def attach(self, engine: Engine) -> None:
        """Set the rates at the start of every iteration of `engine`, and of every epoch for what is shown there."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda source: self.set(source.state.iteration))
        engine.add_event_handler(Events.ITERATION_STARTED, lambda source: self.set(source.state.iteration - 1))
