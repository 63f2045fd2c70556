"""Fit the encoder of any recognised state dict to a given Vision Transformer: `state dict -> (state dict, report)`."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from custom_components.errors import InputError
from custom_components.networks.vit import sinusoid_table
from torch import Tensor, nn

from .describe import (
    CLASS_TOKEN,
    PATCH_WEIGHT,
    POSITIONS,
    EncoderSizes,
    architecture_grid,
    as_text,
    cubic_grid,
    depth_of,
    encoder_sizes,
)
from .layouts import Recognised, recognise
from .report import Report
from .resample import fold_channels, inflate_kernel, inflate_positions, linear_to_kernel, resample_positions

_ADVICE = "set it to the file's value, or use weights pre-trained with the network's"
_BLOCK_MLP = "blocks.0.mlp.linear1.weight"


def adapt(
    state_dict: dict[str, Tensor],
    target_vit: nn.Module,
    *,
    source: str = "state dict",
    source_grid: Sequence[int] | None = None,
    inflate: bool = False,
    sidecar: dict[str, Any] | None = None,
) -> tuple[dict[str, Tensor], Report]:
    """Rename, fold and resample an encoder so that it fits `target_vit`; the network itself is not changed.

    Args:
        state_dict: Tensors in any layout of `layouts.recognise`.
        target_vit: The encoder to fit: our `ViT` or MONAI's.
        source: What to call the weights in messages and in the report.
        source_grid: Patch grid of the stored position table; needed only where it cannot be told otherwise.
        inflate: Allow a 2D encoder to become a 3D one (`resample.inflate_kernel` and `inflate_positions`).
        sidecar: The file's sidecar; its architecture gives the grid, the number of heads and the LayerNorm eps.

    Returns:
        The tensors for `target_vit.load_state_dict`, and the report. Tensors listed as `new` are not in them.

    Raises:
        InputError: Width, depth, MLP, heads, patch size or dimensions differ, the grid is unknown, a tensor has another
            shape or holds NaN or infinity, or no known layout fits.
    """
    target = encoder_sizes(target_vit)
    described = (sidecar or {}).get("architecture") or {}
    found = recognise(state_dict, source)
    report = Report(source, found.layout, unused=found.unused, unplaced=found.unplaced, notes=list(found.notes))
    report.encoder_total = len(target.shapes)
    _check_sizes(found.encoder, described, target, source)
    # half-precision files are folded and interpolated in full precision
    found.encoder = {name: tensor.detach().float() for name, tensor in found.encoder.items()}
    inflated = _adapt_patch(found, target, report, inflate)
    _adapt_positions(found, target, report, source_grid or architecture_grid(described), inflated)
    _adapt_qkv_bias(found, target, report)
    _note_differences(found, described, target, report)
    return _match(found, target, report), report


def _refuse(source: str, what: str, found: object, expected: object, advice: str = _ADVICE) -> InputError:
    return InputError(f"{source}: {what} is {found} in the file, {expected} in the network; {advice}.")


def _check_sizes(encoder: dict[str, Tensor], described: dict[str, Any], target: EncoderSizes, source: str) -> None:
    patch, mlp = encoder.get(PATCH_WEIGHT), encoder.get(_BLOCK_MLP)
    width = encoder["blocks.0.norm1.weight"].shape[0]
    if width != target.hidden_size:
        raise _refuse(source, "hidden_size (width)", width, target.hidden_size)
    if mlp is not None and mlp.shape[0] != target.mlp_dim:
        raise _refuse(source, "mlp_dim", mlp.shape[0], target.mlp_dim)
    depth = depth_of(encoder)
    if depth < target.num_layers:
        raise _refuse(source, "num_layers (depth)", depth, target.num_layers)
    heads = described.get("num_heads")
    if heads and target.num_heads and heads != target.num_heads:
        raise _refuse(source, "num_heads", heads, target.num_heads)
    if patch is None or patch.ndim not in (2, 4, 5):
        shape = "missing" if patch is None else as_text(tuple(patch.shape))
        raise _refuse(source, "the patch embedding weight", shape, as_text(tuple(target.shapes[PATCH_WEIGHT])))


def _adapt_patch(found: Recognised, target: EncoderSizes, report: Report, inflate: bool) -> bool:
    """Fit the patch kernel; return whether it was inflated from 2D to 3D."""
    kernel = found.encoder[PATCH_WEIGHT]
    patch = target.patch_size
    done: list[str] = []
    if kernel.ndim == 2:
        if kernel.shape[1] % math.prod(patch):
            what = f"a linear patch embedding of {kernel.shape[1]} values"
            raise _refuse(report.source, "patch_size", what, as_text(patch))
        kernel = linear_to_kernel(kernel, patch)
        done.append("channel-last linear weight to convolution kernel")
    if kernel.ndim - 2 > target.spatial_dims or (kernel.ndim - 2 < target.spatial_dims and not inflate):
        advice = "2D weights enter a 3D network only with inflate: true (--inflate true), 3D weights never a 2D one"
        raise _refuse(report.source, "spatial_dims", kernel.ndim - 2, target.spatial_dims, advice)
    stored = tuple(kernel.shape[2:])
    if stored != patch[: len(stored)]:
        raise _refuse(report.source, "patch_size", as_text(stored), as_text(patch))
    inflated = kernel.ndim - 2 < target.spatial_dims
    if inflated:
        kernel = inflate_kernel(kernel, patch[-1])
        done.append(f"2D kernel repeated {patch[-1]} times along depth and divided by it")
    if kernel.shape[1] != target.in_channels:
        done.append(f"{kernel.shape[1]} input channels to {target.in_channels}, sum over channels kept")
        kernel = fold_channels(kernel, target.in_channels)
    if done:
        report.resampled[PATCH_WEIGHT] = "; ".join(done)
    found.encoder[PATCH_WEIGHT] = kernel
    return inflated


def _adapt_positions(
    found: Recognised, target: EncoderSizes, report: Report, source_grid: Sequence[int] | None, inflated: bool
) -> None:
    table = found.encoder.get(POSITIONS)
    wanted = target.grid[:2] if inflated and target.grid else target.grid
    if table is None and found.layout == "mae-pytorch" and (source_grid := source_grid or wanted):
        table, found.origin[POSITIONS] = sinusoid_table(source_grid, target.hidden_size), POSITIONS
        report.notes.append(
            f"the file has no positions: those of its code, along the rows of {as_text(tuple(source_grid))}"
        )
    if table is None:
        return
    grid, has_slot = _table_grid(table, found.layout, target, wanted, source_grid, report.source)
    if has_slot:
        table = _fold_class_slot(table, found, report)
    if grid is None or wanted is None:
        report.notes.append(f"{table.shape[1]} positions carried as stored; the network does not state its grid")
    else:
        if grid != wanted or inflated:
            depth = f", {target.grid[2]} along depth (a sine-cosine wave added)" if inflated and target.grid else ""
            report.resampled[POSITIONS] = f"{as_text(grid)} to {as_text(wanted)} positions{depth}"
        table = resample_positions(table, grid, wanted)
        if inflated and target.grid:
            table = inflate_positions(table, wanted, target.grid[2])
    found.encoder[POSITIONS] = table


def _table_grid(
    table: Tensor,
    layout: str,
    target: EncoderSizes,
    wanted: tuple[int, ...] | None,
    source_grid: Sequence[int] | None,
    source: str,
) -> tuple[tuple[int, ...] | None, bool]:
    """Return the grid of the stored table (None: as the network's, not stated) and whether it has a class slot."""
    rows = table.shape[1]
    # Only timm's own table carries a row for the class token; SelfMedMAE's and MONAI's never do.
    counts = {rows: False, rows - 1: True} if layout == "timm" else {rows: False}
    if source_grid is not None:
        grid = tuple(int(cells) for cells in source_grid)
        axes = len(grid) if wanted is None else len(wanted)
        if math.prod(grid) not in counts or len(grid) != axes:
            raise InputError(
                f"{source}: the position table has {rows} rows, but source_grid (given, or from the sidecar) is "
                f"{as_text(grid)}, expected {axes} axes with as many positions; give the grid it was trained with."
            )
        return grid, counts[math.prod(grid)]
    if wanted is None and target.positions in counts:
        return None, counts[target.positions]
    dims = target.spatial_dims if wanted is None else len(wanted)
    options: dict[tuple[int, ...], bool] = {}
    for count, slot in counts.items():
        cubic = cubic_grid(count, dims)
        if cubic is not None:
            options[cubic] = slot
        if wanted is not None and math.prod(wanted) == count:
            options[wanted] = slot
    if len(options) != 1 or wanted is None:
        may_be = (
            f"could be {' or '.join(as_text(grid) for grid in options)}" if options else "fits no square or cubic grid"
        )
        raise InputError(
            f"{source}: the position table has {rows} rows, which {may_be} (the network's grid: "
            f"{as_text(wanted) if wanted else 'not stated'}); give source_grid, the patch grid it was trained with."
        )
    return next(iter(options.items()))


def _fold_class_slot(table: Tensor, found: Recognised, report: Report) -> Tensor:
    """Move the table's class row into the class token: their sum is all the encoder ever sees of either."""
    slot, table = table[:, :1], table[:, 1:]
    if CLASS_TOKEN in found.encoder:
        found.encoder[CLASS_TOKEN] = found.encoder[CLASS_TOKEN] + slot
        report.notes.append("class slot of the position table added to the class token (exactly equivalent)")
    else:
        report.notes.append("class slot of the position table left out: the file has no class token")
    return table


def _adapt_qkv_bias(found: Recognised, target: EncoderSizes, report: Report) -> None:
    zeros = 0
    for block in range(target.num_layers):
        name = f"blocks.{block}.attn.qkv.bias"
        if name in target.shapes and name not in found.encoder and f"blocks.{block}.attn.qkv.weight" in found.encoder:
            found.encoder[name] = torch.zeros(target.shapes[name])
            zeros += 1
        elif name in found.encoder and name not in target.shapes and not found.encoder[name].any():
            report.unused.append(found.origin[name])
            del found.encoder[name]
    if zeros:
        report.notes.append(f"the file has no qkv bias: {zeros} set to zero (exactly equivalent)")


def _note_differences(found: Recognised, described: dict[str, Any], target: EncoderSizes, report: Report) -> None:
    eps = described.get("norm_eps") or found.norm_eps
    if eps is None:
        report.notes.append(f"LayerNorm eps {target.norm_eps:g} in the network; the file does not state its own")
    elif eps != target.norm_eps:
        report.notes.append(
            f"LayerNorm eps {eps:g} in the file, {target.norm_eps:g} in the network: outputs differ slightly"
        )
    if CLASS_TOKEN in found.encoder and not target.class_token:
        report.notes.append(
            "class token of the file left out: the network has none, so patch tokens do not attend to it"
        )
    if CLASS_TOKEN not in found.encoder and target.class_token:
        report.notes.append("the network has a class token, the file has none: set class_token: false to match it")
    depth = depth_of(found.encoder)
    if depth > target.num_layers:
        report.notes.append(
            f"num_layers is {depth} in the file, {target.num_layers} in the network: last blocks left out"
        )


def _match(found: Recognised, target: EncoderSizes, report: Report) -> dict[str, Tensor]:
    fitted: dict[str, Tensor] = {}
    for name, shape in target.shapes.items():
        tensor = found.encoder.get(name)
        if tensor is None:
            report.new.append(name)
            continue
        if tensor.shape != shape:
            advice = "build the network with the sizes of the file"
            raise _refuse(report.source, name, as_text(tuple(tensor.shape)), as_text(tuple(shape)), advice)
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"{report.source}: {name} holds NaN or infinity; use a checkpoint from before it diverged."
            )
        fitted[name] = tensor.detach().clone()
        report.matched.append(name)
        original = found.origin.get(name, name)
        if original != name:
            report.renamed[original] = name
    for name in found.encoder:
        if name not in target.shapes:
            # A class token is left out knowingly; anything else of the encoder changes what it computes.
            (report.unused if name == CLASS_TOKEN else report.unplaced).append(found.origin[name])
    return fitted
