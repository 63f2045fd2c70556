"""What a Vision Transformer looks like: found in a network, described from its modules and tensors."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from custom_components.errors import InputError
from torch import Size, Tensor, nn

PATCH_WEIGHT = "patch_embedding.patch_embeddings.weight"
POSITIONS = "patch_embedding.position_embeddings"
CLASS_TOKEN = "cls_token"


def as_text(sizes: tuple[int, ...]) -> str:
    """Write sizes as `16x16x16`."""
    return "x".join(str(size) for size in sizes)


def cubic_grid(count: int, spatial_dims: int) -> tuple[int, ...] | None:
    """Return the square or cubic grid with `count` positions, None if `count` is no perfect power."""
    side = round(count ** (1 / spatial_dims))
    return (side,) * spatial_dims if side**spatial_dims == count else None


def depth_of(names: Iterable[str]) -> int:
    """Return the number of blocks that tensor names such as `blocks.11.norm1.weight` speak of."""
    return 1 + max(int(name.split(".")[1]) for name in names if name.startswith("blocks."))


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of a Vision Transformer as its tensors show them, and the shapes of its tensors.

    `grid` is None when the module does not say it and the number of positions is no perfect power; `num_heads` is None
    when the module does not say it.
    """

    shapes: dict[str, Size]
    in_channels: int
    patch_size: tuple[int, ...]
    hidden_size: int
    mlp_dim: int
    num_layers: int
    positions: int
    grid: tuple[int, ...] | None
    num_heads: int | None
    norm_eps: float
    class_token: bool

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.patch_size)


def encoder_sizes(vit: nn.Module) -> EncoderSizes:
    """Read the sizes of a ViT (ours or MONAI's with convolutional patch embedding) from its tensors.

    Args:
        vit: The encoder. Tensors that MONAI registers but never uses (`norm_cross_attn`) and a classification head
            are left out of `shapes`.

    Raises:
        InputError: If the patch embedding is not a convolution.
    """
    shapes = {
        name: tensor.shape
        for name, tensor in vit.state_dict().items()
        if not name.startswith("classification_head.") and "cross_attn" not in name
    }
    if PATCH_WEIGHT not in shapes or POSITIONS not in shapes:
        raise InputError(
            f"network {type(vit).__name__} has no {PATCH_WEIGHT} and {POSITIONS}; expected our ViT, or MONAI's with "
            "proj_type='conv'."
        )
    hidden_size, in_channels, *patch_size = shapes[PATCH_WEIGHT]
    positions = shapes[POSITIONS][1]
    stated = getattr(vit, "grid", None)
    return EncoderSizes(
        shapes=shapes,
        in_channels=in_channels,
        patch_size=tuple(patch_size),
        hidden_size=hidden_size,
        mlp_dim=shapes["blocks.0.mlp.linear1.weight"][0],
        num_layers=depth_of(shapes),
        positions=positions,
        grid=tuple(stated) if stated is not None else cubic_grid(positions, len(patch_size)),
        num_heads=getattr(vit.blocks[0].attn, "num_heads", None),  # type: ignore[index, union-attr]
        norm_eps=float(vit.norm.eps),  # type: ignore[arg-type, union-attr]
        class_token=CLASS_TOKEN in shapes,
    )


def architecture(vit: nn.Module) -> dict[str, Any]:
    """Describe a ViT as plain values, in the words of its constructor.

    `img_size` (voxels) is the grid times the patch size when the module does not state it.
    """
    sizes = encoder_sizes(vit)
    img_size = getattr(vit, "img_size", None)
    if img_size is None and sizes.grid is not None:
        img_size = [cells * patch for cells, patch in zip(sizes.grid, sizes.patch_size, strict=True)]
    return {
        "in_channels": sizes.in_channels,
        "img_size": None if img_size is None else [int(size) for size in img_size],
        "patch_size": list(sizes.patch_size),
        "hidden_size": sizes.hidden_size,
        "mlp_dim": sizes.mlp_dim,
        "num_layers": sizes.num_layers,
        "num_heads": sizes.num_heads,
        "spatial_dims": sizes.spatial_dims,
        "class_token": sizes.class_token,
        "norm_eps": sizes.norm_eps,
        "pos_embed_type": getattr(vit, "pos_embed_type", None),
    }


def architecture_grid(described: dict[str, Any]) -> tuple[int, ...] | None:
    """Return the patch grid of a described architecture, None when it is not stated."""
    img_size, patch_size = described.get("img_size"), described.get("patch_size")
    if not img_size or not patch_size:
        return None
    grid = tuple(size // patch for size, patch in zip(img_size, patch_size, strict=True))
    return grid if math.prod(grid) else None


def network_difference(saved: Mapping[str, Tensor], network: nn.Module) -> str | None:
    """Return the first difference between stored weights and `network` as half a sentence; None if they fit."""
    own = network.state_dict()
    for name in own:
        if name not in saved:
            return f"it has no tensor '{name}', which this network needs"
        if saved[name].shape != own[name].shape:
            return f"its tensor '{name}' is {tuple(saved[name].shape)}, this network needs {tuple(own[name].shape)}"
    extra = [name for name in saved if name not in own]
    return f"it holds a tensor '{extra[0]}', which this network does not have" if extra else None
