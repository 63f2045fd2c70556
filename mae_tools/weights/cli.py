"""`python -m mae_tools weights show | convert | verify | publish`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from bundle_runtime.weights.describe import PATCH_WEIGHT, POSITIONS, architecture_grid, as_text, cubic_grid, depth_of
from bundle_runtime.weights.io import check_sha256, read_sidecar, read_state_dict
from bundle_runtime.weights.layouts import Recognised, recognise
from bundle_runtime.weights.load import load_encoder
from bundle_runtime.weights.report import first_names
from bundle_runtime.weights.resample import linear_to_kernel
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from custom_components.networks.vit import ViT
from torch import Tensor

from .export import export_monai
from .publish import publish


class WeightsCommands:
    """Look at, convert and check weights files."""

    def show(self, file: str) -> str:
        """Describe a weights file: layout, sizes, what is not the encoder's, and its sidecar.

        Args:
            file: Weights in any known layout.
        """
        state, sidecar = read_state_dict(file), read_sidecar(file)
        found = recognise(state, file)
        values = sum(tensor.numel() for tensor in state.values())
        lines = [f"{file}: {found.layout}, {len(state)} tensors, {values:,} values", f"  encoder: {_sizes_line(found)}"]
        for title, names in (("unused", found.unused), ("without a place", found.unplaced)):
            if names:
                lines.append(f"  {title} {len(names)}: {first_names(names)}")
        lines += [f"  note: {note}" for note in found.notes]
        lines += [f"  sidecar {key}: {value}" for key, value in (sidecar or {}).items()]
        return "\n".join(lines if sidecar else [*lines, "  no sidecar"])

    def convert(
        self,
        file: str,
        to: str,
        img_size: Sequence[int] | int | None = None,
        patch_size: Sequence[int] | int | None = None,
        in_channels: int | None = None,
        num_heads: int | None = None,
        source_grid: Sequence[int] | None = None,
        inflate: bool = False,
        monai: bool = False,
        class_token: bool = True,
    ) -> str:
        """Rewrite an encoder in our layout with a sidecar (or, with `--monai`, in that of MONAI's ViT).

        Args:
            file: Weights in any known layout.
            to: The `.safetensors` file to write.
            img_size: Image size in voxels of the network it is for; default: that of the file.
            patch_size: Patch size, one number or one per axis; needed to turn a 2D patch into a 3D one with `inflate`
                or to read a linear patch embedding.
            in_channels: Image channels; default: those of the file.
            num_heads: Attention heads; default: sidecar, otherwise width / 64.
            source_grid: Patch grid of the file's position table, where it is not square or cubic.
            inflate: 2D weights to 3D.
            monai: Write for stock MONAI; other sizes are not changed.
            class_token: With `monai`, False leaves it out, for `UNETR(...).vit`.
        """
        if monai:
            return export_monai(file, to, class_token)
        found = recognise(read_state_dict(file), file)
        sizes = _network_sizes(file, found, read_sidecar(file), patch_size, source_grid, inflate)
        for key, value in {"img_size": img_size, "in_channels": in_channels, "num_heads": num_heads}.items():
            if value is not None:
                sizes[key] = value
        try:
            vit = ViT(**sizes)
        except (ValueError, TypeError, AssertionError) as error:
            raise InputError(f"{file}: cannot build an encoder with {sizes}: {error}") from error
        report = load_encoder(vit, file, source_grid=source_grid, inflate=inflate)
        conversion = {**report.to_dict(), "source": Path(file).name}  # the sidecar travels, its folders do not
        carried = {key: value for key, value in (read_sidecar(file) or {}).items() if not key.startswith("sha256")}
        save_encoder(to, vit, {**carried, "converted_from": Path(file).name, "conversion": conversion})
        return f"{to}: written ({as_text(vit.img_size)} voxels, {vit.in_channels} channels)"

    def verify(self, file: str) -> str:
        """Check a weights file: checksum, finite values, and that the sidecar describes its tensors.

        Args:
            file: Weights in any known layout.
        """
        state = read_state_dict(file)
        for name, tensor in state.items():
            if not torch.isfinite(tensor).all():
                raise InputError(f"{file}: {name} holds NaN or infinity; use a checkpoint from before it diverged.")
        described = (read_sidecar(file) or {}).get("architecture")
        if described:
            _compare(file, recognise(state, file).encoder, described)
        checksum = "sha256 agrees with the sidecar" if check_sha256(file) else "no checksum to compare with"
        agrees = "sizes agree with the sidecar" if described else "no sidecar architecture"
        return f"{file}: good: {len(state)} tensors, all finite; {checksum}; {agrees}"


def _sizes_line(found: Recognised) -> str:
    patch, positions = found.encoder.get(PATCH_WEIGHT), found.encoder.get(POSITIONS)
    return (
        f"width {found.encoder['blocks.0.norm1.weight'].shape[0]}, {depth_of(found.encoder)} blocks, patch embedding "
        f"{'missing' if patch is None else as_text(tuple(patch.shape))}, position rows "
        f"{'missing' if positions is None else positions.shape[1]}, class token {'cls_token' in found.encoder}"
    )


def _network_sizes(
    file: str,
    found: Recognised,
    sidecar: dict[str, Any] | None,
    patch_size: Sequence[int] | int | None,
    source_grid: Sequence[int] | None,
    inflate: bool,
) -> dict[str, Any]:
    """Return the arguments of the `ViT` that fits the file."""
    encoder, described = found.encoder, (sidecar or {}).get("architecture") or {}
    for name in (PATCH_WEIGHT, POSITIONS, "blocks.0.mlp.linear1.weight"):
        if name not in encoder:
            raise InputError(f"{file}: {name} is missing, expected a whole encoder; it cannot be converted.")
    kernel = encoder[PATCH_WEIGHT]
    patch = [patch_size] if isinstance(patch_size, int) else list(patch_size or kernel.shape[2:])
    if not patch:
        raise InputError(
            f"{file}: the patch embedding is linear, which hides its patch size; give patch_size, one per axis."
        )
    dims = max(len(patch), 3 if inflate else kernel.ndim - 2)
    patch = patch * dims if len(patch) == 1 else patch + patch[-1:] * (dims - len(patch))
    if kernel.ndim == 2:
        kernel = linear_to_kernel(kernel, patch)
    width, rows = kernel.shape[0], encoder[POSITIONS].shape[1]
    dims_stored = kernel.ndim - 2
    grid = tuple(source_grid or architecture_grid(described) or ())
    grid = grid or cubic_grid(rows, dims_stored) or cubic_grid(rows - 1, dims_stored) or ()
    if not grid:
        raise InputError(f"{file}: {rows} position rows fit no square or cubic grid; give source_grid.")
    grid = (*grid, *grid[-1:] * (dims - len(grid)))
    return {
        "in_channels": kernel.shape[1],
        "img_size": tuple(cells * voxels for cells, voxels in zip(grid, patch, strict=True)),
        "patch_size": tuple(patch),
        "hidden_size": width,
        "mlp_dim": encoder["blocks.0.mlp.linear1.weight"].shape[0],
        "num_layers": depth_of(encoder),
        "num_heads": described.get("num_heads") or max(1, width // 64),
        "spatial_dims": dims,
        "class_token": "cls_token" in encoder,
        "pos_embed_type": described.get("pos_embed_type") or "sincos_learnable",
        "norm_eps": described.get("norm_eps") or found.norm_eps or 1e-6,
    }


def _compare(file: str, encoder: dict[str, Tensor], described: dict[str, Any]) -> None:
    """Compare stored tensors (ours or MONAI's shapes) with the architecture in the sidecar."""
    kernel, grid = encoder[PATCH_WEIGHT], architecture_grid(described)
    found = {
        "hidden_size": kernel.shape[0],
        "in_channels": kernel.shape[1],
        "patch_size": list(kernel.shape[2:]),
        "mlp_dim": encoder["blocks.0.mlp.linear1.weight"].shape[0],
        "num_layers": depth_of(encoder),
        "class_token": "cls_token" in encoder,
    }
    for key, value in found.items():
        if key in described and described[key] != value:
            raise InputError(
                f"{file}: {key} is {value} in the tensors, {described[key]} in the sidecar; restore both files."
            )
    rows = encoder[POSITIONS].shape[1]
    if grid is not None and math.prod(grid) != rows:
        raise InputError(
            f"{file}: {rows} positions in the tensors, {math.prod(grid)} in the sidecar; restore both files."
        )


_WEIGHTS = WeightsCommands()
COMMANDS = {"show": _WEIGHTS.show, "convert": _WEIGHTS.convert, "verify": _WEIGHTS.verify, "publish": publish}
