"""Where a Vision Transformer looks: class-token attention of one block, and attention rollout over all of them."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from custom_components.errors import InputError, one_of
from custom_components.masking import attention_weights
from custom_components.networks.find import find_vit
from custom_components.networks.vit import Attention, Block, ViT
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..probes.features import evaluating
from .panels import HIDDEN, Montage, picture_pixels

_FUSIONS = ("mean", "minmax")
_PANEL_INCHES, _BAR_INCHES = 3.7, 1.0


def class_attention_map(network: nn.Module, image: Tensor, head_fusion: str = "mean") -> Tensor:
    """Attention of the class token over the patches in the last block; without one the mean over all queries.

    Args:
        network: a `ViT`, or what holds one at `.vit` or `.encoder`.
        image: (B, C, *S), as the network takes it.
        head_fusion: "mean" of the heads, or "minmax": see `attention_weights`, no head then drowns the others.

    Returns:
        (B, *grid), on the device of the image.

    Raises:
        InputError: the fusion is unknown, or the encoder is not this package's.
    """
    encoder = _encoder(network)
    one_of("head_fusion", head_fusion, _FUSIONS)
    with evaluating(encoder), torch.no_grad():
        weights = deque(_attentions(encoder, image), maxlen=1).pop()
    rows = _looked_at(encoder, weights)  # B heads K
    return (rows.mean(dim=1) if head_fusion == "mean" else attention_weights(rows)).unflatten(1, encoder.grid)


def attention_rollout(network: nn.Module, image: Tensor) -> Tensor:
    """Attention rollout: how much of each patch reaches the class token through all blocks; (B, *grid).

    The attention of each block is averaged over its heads and with the identity, which stands for the residual
    connection, and the blocks are multiplied. Arguments and errors are those of `class_attention_map`.

    Source:
        Abnar and Zuidema, Quantifying attention flow in transformers, arXiv 2005.00928, section 3.
    """
    encoder = _encoder(network)
    unit = torch.eye(math.prod(encoder.grid) + int(encoder.class_token), device=image.device)
    total = unit
    with evaluating(encoder), torch.no_grad():
        for weights in _attentions(encoder, image):
            total = (weights.mean(dim=1) + unit) / 2 @ total
    return _looked_at(encoder, total).unflatten(1, encoder.grid)


def attention_figure(
    image: Tensor | np.ndarray,
    maps: Sequence[Tensor | np.ndarray],
    path: str | Path,
    titles: Sequence[str],
    pixels: Mapping[str, Any] | None = None,
    kept: Tensor | np.ndarray | None = None,
) -> Figure:
    """Draw a picture, beside it what was kept of it, and the same picture under each map with a colour bar.

    Args:
        image: (C, H, W) with 1 or 3 channels.
        maps: one or more, each (gh, gw); shown from its smallest to its largest value.
        path: PNG file, written atomically.
        titles: of the picture, then one of each map; long lines are wrapped.
        pixels: `mean` and `std` by which the image, from 0 to 1, was normalised, a number each or one a channel; they
            are undone. None: the image is in other units, and its smallest value is drawn black, its largest white.
        kept: (gh, gw), not 0 where the network used a patch; the others are greyed out in a panel of their own.

    Raises:
        ValueError: the numbers of titles and maps do not go together, or the picture has other channels.
    """
    tensor = torch.as_tensor(image).detach().float().cpu()
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3) or not maps or len(titles) != len(maps) + 1:
        raise ValueError(
            f"Expected an image (1 or 3, H, W) and a title more than maps, found an image {list(tensor.shape)}, "
            f"{len(maps)} maps and {len(titles)} titles."
        )
    shown = picture_pixels((_unit(tensor) if pixels is None else tensor).numpy(), **(pixels or {}))
    pictures, names = [shown] * len(titles), list(titles)
    if kept is not None:
        chosen = torch.as_tensor(kept) != 0
        used = _fine(chosen, shown.shape[:2], "nearest").numpy()[..., None] > 0
        pictures.insert(1, np.where(used, shown, 0.25 * shown + 0.75 * np.array(HIDDEN)))
        names.insert(1, f"the {int(chosen.sum())} of {chosen.numel()} patches that were used")
    height, width = shown.shape[:2]
    montage = Montage(
        [[(width, height)] * len(names) + [(0.05 * width, height)]],
        titles=[[*names, "attention:\nmost"]],
        notes=[[""] * len(names) + ["least"]],
        inches=_PANEL_INCHES * len(names) + _BAR_INCHES,
    )
    *panels, bar = montage.panels[0]
    for panel, picture in zip(panels, pictures, strict=True):
        panel.show(picture)
    fine = [_unit(_fine(values, (height, width), "bilinear")).numpy() for values in maps]
    for panel, values in zip([*panels[-len(maps) :], bar], [*fine, np.linspace(1, 0, 256)[:, None]], strict=True):
        panel.show(values, cmap="inferno", vmin=0, vmax=1, alpha=0.55)
    return montage.save(path)


def _fine(values: Tensor | np.ndarray, size: Sequence[int], mode: str) -> Tensor:
    """(gh, gw) -> (H, W) float32 on the host."""
    coarse = torch.as_tensor(values).detach().float().cpu()[None, None]
    return F.interpolate(coarse, size=list(size), mode=mode, align_corners=False if mode == "bilinear" else None)[0, 0]


def _encoder(network: nn.Module) -> ViT:
    found = find_vit(network)
    if not isinstance(found, ViT):
        raise InputError(f"network holds a {type(found).__name__}; attention maps need the ViT of this package.")
    return found


def _attentions(vit: ViT, image: Tensor) -> Iterator[Tensor]:
    """The attention of each block, (B, heads, N, N) float32, beside the blocks' own forward pass with its kernel."""
    x = vit.patch_embedding(image)
    if vit.class_token:
        x = torch.cat([vit.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
    for block in vit.blocks:
        yield _weights(block, x)
        x = block(x)


def _weights(block: nn.Module, x: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) of a block, (B, N, D) -> (B, heads, N, N)."""
    assert isinstance(block, Block)
    assert isinstance(block.attn, Attention)
    attention = block.attn
    batch, count, _ = x.shape
    qkv = attention.qkv(block.norm1(x)).reshape(batch, count, 3, attention.num_heads, attention.head_dim)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4).float().unbind(0)
    return (q @ k.transpose(-2, -1) * attention.head_dim**-0.5).softmax(dim=-1)


def _looked_at(vit: ViT, weights: Tensor) -> Tensor:
    """What the class token sees of each patch, (..., N, N) -> (..., patches); without one the mean of all rows."""
    return weights[..., 0, 1:] if vit.class_token else weights.mean(dim=-2)


def _unit(values: Tensor) -> Tensor:
    """From the smallest to the largest value as 0 to 1; all 0 where they are the same."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)
