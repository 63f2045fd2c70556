"""Patches of an image and the Vision Transformer, 2D and 3D; parameters have the names and layouts of MONAI's `ViT`.

What MONAI's own class lacks and masked pre-training needs: encoding a subset of the patches, DropPath, fused attention,
sine-cosine positions as a starting value, activation checkpointing, and no parameter that never receives a gradient
(MONAI's blocks register an unused `norm_cross_attn`, which breaks DistributedDataParallel).
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import InputError, one_of
from ..masking import shared_rand

VARIANCES = ("population", "unbiased")  # in the order of what is subtracted from the number of values
_BASE = 10000.0  # of the frequencies of a position table


def patchify(image: Tensor, patch_size: list[int]) -> Tensor:
    """Cut an image into non-overlapping patch vectors.

    Patches are counted row-major over the spatial axes; inside a vector the order is channel-first (C, p...), that of
    a convolution kernel: one weight serves pre-training and fine-tuning (SelfMedMAE's released 2D code mixed two).

    Args:
        image: (B, C, *S) with every S divisible by its patch size.
        patch_size: one length per spatial axis, in voxels.

    Returns:
        (B, N, C * prod(patch_size)).
    """
    batch, channels = image.shape[0], image.shape[1]
    axes = len(patch_size)
    split = [batch, channels]
    count = 1
    for axis in range(axes):
        grid = image.shape[2 + axis] // patch_size[axis]
        count *= grid
        split.extend([grid, patch_size[axis]])
    # (B, C, g1, p1, g2, p2, ...) -> (B, g1, g2, ..., C, p1, p2, ...)
    order = [0] + [2 + 2 * axis for axis in range(axes)] + [1] + [3 + 2 * axis for axis in range(axes)]
    return image.reshape(split).permute(order).reshape(batch, count, -1)


def unpatchify(patches: Tensor, patch_size: list[int], grid: list[int]) -> Tensor:
    """Put patch vectors back into an image; the inverse of `patchify`.

    Args:
        patches: (B, N, C * prod(patch_size)), N = prod(grid), in the order of `patchify`.
        patch_size: one length per spatial axis, in voxels.
        grid: number of patches along each spatial axis.

    Returns:
        (B, C, *S) with S = grid * patch_size.
    """
    batch = patches.shape[0]
    axes = len(grid)
    size = [grid[axis] * patch_size[axis] for axis in range(axes)]
    volume = 1
    for length in patch_size:
        volume *= length
    channels = patches.shape[2] // volume
    # (B, g1, g2, ..., C, p1, p2, ...) -> (B, C, g1, p1, g2, p2, ...)
    order = [0, axes + 1]
    for axis in range(axes):
        order.extend([1 + axis, axes + 2 + axis])
    return patches.reshape([batch, *grid, channels, *patch_size]).permute(order).reshape([batch, channels, *size])


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Select rows per sample: (B, N, D) and (B, K) int64 -> (B, K, D)."""
    return torch.gather(rows, 1, index.unsqueeze(-1).expand(-1, -1, rows.shape[2]))


def patch_statistics(patches: Tensor, variance: str = "population", eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch vector, (..., P) -> two (..., 1), in float32.

    Args:
        patches: (..., P); a constant one becomes all zeros when normalised.
        variance: "population" (SelfMedMAE's 3D code), or "unbiased" (Facebook's MAE: divided by P - 1, so that targets
            are smaller by a share of 1 / 2P).
        eps: added to the variance.
    """
    var, mean = torch.var_mean(patches.float(), dim=-1, keepdim=True, correction=VARIANCES.index(variance))
    return mean, (var + eps).sqrt()


def sincos_table(grid: Sequence[int], hidden_size: int) -> Tensor:
    """Sine-cosine position table for a 2D or 3D grid (SelfMedMAE's form: axes in the order of the array).

    With A axes and K = hidden_size // (2 A) frequencies 10000^(-k/K), a row is
    [sin x1, cos x1, sin x2, cos x2, ...], K entries each; positions are patch counts 0, 1, 2, ... Columns that do not
    fill a frequency (1024 in 3D leaves four) stay zero. MONAI and Facebook's MAE order the axes differently, so tables
    of theirs are carried as stored and never rebuilt.

    Args:
        grid: number of patches along each axis; tokens are counted row-major.
        hidden_size: width of a row.

    Returns:
        (1, prod(grid), hidden_size) float32.

    Raises:
        ValueError: `hidden_size` is too small to hold one frequency per axis.
    """
    frequencies = hidden_size // (2 * len(grid))
    if frequencies == 0:
        raise ValueError(f"hidden_size {hidden_size} is too small for sine-cosine positions on {len(grid)} axes.")
    omega = _BASE ** (-torch.arange(frequencies, dtype=torch.float64) / frequencies)
    axes = torch.meshgrid(*[torch.arange(length, dtype=torch.float64) for length in grid], indexing="ij")
    columns = [wave(axis.reshape(-1, 1) * omega) for axis in axes for wave in (torch.sin, torch.cos)]
    table = torch.cat(columns, dim=1).float()
    return F.pad(table, (0, hidden_size - table.shape[1])).unsqueeze(0)


def sinusoid_table(grid: Sequence[int], hidden_size: int) -> Tensor:
    """One-dimensional sine-cosine position table over the patches counted row-major (arXiv 1706.03762, section 3.5).

    Column j of patch i is sin(i / 10000^(j/D)) for even j, and for odd j the cosine of the same frequency as the
    column before it. The released code of SD-MAE uses it. It does not know where a row of patches ends, so weights
    carried to another image size see other positions: `sincos_table` is the better choice but for comparisons.

    Args:
        grid: number of patches along each axis.
        hidden_size: width of a row.

    Returns:
        (1, prod(grid), hidden_size) float32.
    """
    pairs = torch.arange(hidden_size, dtype=torch.float64) // 2
    angles = torch.arange(math.prod(grid), dtype=torch.float64)[:, None] * _BASE ** (-2 * pairs / hidden_size)
    angles[:, 0::2], angles[:, 1::2] = angles[:, 0::2].sin(), angles[:, 1::2].cos()
    return angles.float().unsqueeze(0)


FIXED_TABLES: dict[str, Callable[[Sequence[int], int], Tensor]] = {
    "sincos": sincos_table,
    "sinusoid_1d": sinusoid_table,
}


def position_table(kind: str, grid: Sequence[int], hidden_size: int) -> Tensor:
    """The fixed table of that name, and the sine-cosine table for any other: (1, prod(grid), hidden_size) float32."""
    return FIXED_TABLES.get(kind, sincos_table)(grid, hidden_size)


POSITION_TYPES = (*FIXED_TABLES, "sincos_learnable", "learnable")


class ViTOutput(NamedTuple):
    """What a `ViT` returns.

    Attributes:
        tokens: (B, [1 +] K, D) after the final norm; the class token, if there is one, comes first.
        hidden_states: one (B, [1 +] K, D) per block that was asked for, before the final norm.
        class_attention: (B, heads, [1 +] K) attention of the class token in the block that was asked for, or None.
    """

    tokens: Tensor
    hidden_states: list[Tensor]
    class_attention: Tensor | None


class DropPath(nn.Module):
    """Stochastic depth per sample (arXiv 1603.09382): drops a residual branch with probability `rate` in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), dropped samples zero, the others divided by the keep probability."""
        if not self.training or self.rate == 0.0:
            return x
        return x * self._scale(x)

    @torch.jit.unused
    def _scale(self, x: Tensor) -> Tensor:
        keep = 1.0 - self.rate
        return ((shared_rand(x.shape[0], 1, x.device) < keep).to(x.dtype) / keep).unsqueeze(-1)


class Attention(nn.Module):
    """Multi-head self-attention through PyTorch's fused kernel; one linear map gives q, k, v as in MONAI and timm."""

    def __init__(self, hidden_size: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = hidden_size // num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, count, width = x.shape
        # (B, N, 3 D) -> (3, B, heads, N, D / heads)
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(x.transpose(1, 2).reshape(batch, count, width))

    def last_rows(self, x: Tensor, rows: int) -> Tensor:
        """The last `rows` rows of what `forward` gives, (B, N, D) -> (B, rows, D), at the cost of those rows."""
        batch, count, width = x.shape
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(x[:, -rows:], weight[:width], None if bias is None else bias[:width])
        kv = F.linear(x, weight[width:], None if bias is None else bias[width:])
        q = q.reshape(batch, rows, self.num_heads, self.head_dim).transpose(1, 2)
        k, v = kv.reshape(batch, count, 2, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(x.transpose(1, 2).reshape(batch, rows, width))

    def class_row(self, x: Tensor) -> Tensor:
        """Attention of the first token over all tokens, (B, N, D) -> (B, heads, N); one row, so next to no cost."""
        batch, count, width = x.shape
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(x[:, :1], weight[:width], None if bias is None else bias[:width])
        k = F.linear(x, weight[width : 2 * width], None if bias is None else bias[width : 2 * width])
        q = q.reshape(batch, 1, self.num_heads, self.head_dim).transpose(1, 2)
        k = k.reshape(batch, count, self.num_heads, self.head_dim).transpose(1, 2)
        return (q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)).float().softmax(dim=-1).squeeze(2)


class MLP(nn.Module):
    """Two linear maps with an exact GELU between them."""

    def __init__(self, hidden_size: int, mlp_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden_size, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.linear2(F.gelu(self.linear1(x)))


class Block(nn.Module):
    """Pre-norm transformer block with DropPath on both residual branches."""

    def __init__(
        self, hidden_size: int, mlp_dim: int, num_heads: int, qkv_bias: bool, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.attn = Attention(hidden_size, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.mlp = MLP(hidden_size, mlp_dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def last_rows(self, x: Tensor, rows: int) -> Tensor:
        """The last `rows` rows of what `forward` gives, (B, N, D) -> (B, rows, D); the others are only attended to."""
        x = x[:, -rows:] + self.drop_path(self.attn.last_rows(self.norm1(x), rows))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def class_attention(self, x: Tensor) -> Tensor:
        """Attention of the class token in this block, (B, N, D) -> (B, heads, N)."""
        return self.attn.class_row(self.norm1(x))


class PatchEmbedding(nn.Module):
    """Linear embedding of patches plus their positions; only the patches that are kept are embedded.

    The weights live in a convolution so that names and layout are MONAI's; the arithmetic is a matrix product on the
    cut patches, which equals that convolution (kernel = stride) and is faster.
    """

    def __init__(
        self,
        in_channels: int,
        img_size: Sequence[int],
        patch_size: Sequence[int],
        hidden_size: int,
        pos_embed_type: str,
    ) -> None:
        super().__init__()
        self.img_size, self.patch_size = list(img_size), list(patch_size)
        axes = len(patch_size)
        conv = Conv[Conv.CONV, axes]
        self.patch_embeddings = conv(in_channels, hidden_size, kernel_size=patch_size, stride=patch_size)
        grid = [size // patch for size, patch in zip(img_size, patch_size, strict=True)]
        table = position_table(pos_embed_type, grid, hidden_size)
        if pos_embed_type == "learnable":
            nn.init.trunc_normal_(table, std=0.02)
        self.position_embeddings = nn.Parameter(table, requires_grad=pos_embed_type not in FIXED_TABLES)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, *S), optional patch indices (B, K) -> (B, K, D)."""
        if list(image.shape[2:]) != self.img_size:
            raise ValueError(f"The network was built for images of {self.img_size}, but got {list(image.shape[2:])}.")
        patches = patchify(image, self.patch_size)
        positions: Tensor = self.position_embeddings
        if keep is not None:
            patches = gather_rows(patches, keep)
            positions = gather_rows(positions.expand(image.shape[0], -1, -1), keep)
        weight = self.patch_embeddings.weight.flatten(1)
        return F.linear(patches, weight, self.patch_embeddings.bias) + positions


def init_transformer(module: nn.Module) -> None:
    """Initialise linear maps Xavier-uniform with zero bias and norms to identity, as in the MAE reference code."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class ViT(nn.Module):
    """Vision Transformer (arXiv 2010.11929), 2D or 3D, any grid.

    Args:
        in_channels: image channels.
        img_size: image size in voxels per axis; must be divisible by `patch_size`.
        patch_size: patch size in voxels, one number or one per axis.
        hidden_size: token width D.
        mlp_dim: width inside the MLP.
        num_layers: number of blocks.
        num_heads: attention heads.
        spatial_dims: 2 or 3.
        class_token: prepend a learnable token. It has no position of its own: that would only add two parameters.
        pos_embed_type: "sincos" or "sinusoid_1d" (fixed; see `patches`), "sincos_learnable" (learnable, starts from
            the first) or "learnable" (random start).
        qkv_bias: bias in the query, key and value maps.
        drop_path_rate: stochastic depth of the last block; rises linearly from 0 at the first.
        norm_eps: LayerNorm epsilon (1e-6 in MAE and timm, 1e-5 in MONAI).
        use_checkpoint: recompute block activations in the backward pass: less memory, about a third more time.

    Raises:
        InputError: sizes do not divide, or an option is unknown.
    """

    class_token: Final[bool]  # a constant, so that TorchScript leaves out what needs the token where there is none

    def __init__(
        self,
        in_channels: int,
        img_size: Sequence[int] | int,
        patch_size: Sequence[int] | int,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        *,
        spatial_dims: int = 3,
        class_token: bool = True,
        pos_embed_type: str = "sincos_learnable",
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_eps: float = 1e-6,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.spatial_dims = in_channels, spatial_dims
        self.img_size: tuple[int, ...] = ensure_tuple_rep(img_size, spatial_dims)
        self.patch_size: tuple[int, ...] = ensure_tuple_rep(patch_size, spatial_dims)
        self.hidden_size, self.mlp_dim, self.num_layers, self.num_heads = hidden_size, mlp_dim, num_layers, num_heads
        self.class_token, self.pos_embed_type, self.norm_eps = class_token, pos_embed_type, norm_eps
        self.use_checkpoint = use_checkpoint
        self._check()
        self.grid = tuple(size // patch for size, patch in zip(self.img_size, self.patch_size, strict=True))

        self.patch_embedding = PatchEmbedding(in_channels, self.img_size, self.patch_size, hidden_size, pos_embed_type)
        if class_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, hidden_size).normal_(std=0.02))
        rates = [drop_path_rate * i / max(num_layers - 1, 1) for i in range(num_layers)]
        self.blocks = nn.ModuleList(Block(hidden_size, mlp_dim, num_heads, qkv_bias, rate, norm_eps) for rate in rates)
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        init_transformer(self)
        nn.init.xavier_uniform_(self.patch_embedding.patch_embeddings.weight.data.view(hidden_size, -1))

    def _check(self) -> None:
        if self.hidden_size % self.num_heads:
            raise InputError(f"hidden_size {self.hidden_size} is not divisible by num_heads {self.num_heads}.")
        for size, patch in zip(self.img_size, self.patch_size, strict=True):
            if size % patch:
                below, above = max(size // patch, 1) * patch, (size // patch + 1) * patch
                choice = f"{below} or {above}" if below < size else above
                raise InputError(
                    f"roi_size (img_size) {list(self.img_size)} is not divisible by patch_size "
                    f"{list(self.patch_size)}: {size} is no multiple of {patch}, {choice} would be."
                )
        one_of("pos_embed_type", self.pos_embed_type, POSITION_TYPES)

    def forward(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        hidden_states: list[int] | None = None,
        attention_block: int | None = None,
    ) -> ViTOutput:
        """Encode an image, or only some of its patches.

        Args:
            x: image (B, C, *img_size).
            keep: (B, K) int64 indices of the patches to embed and encode; None means all, in order.
            hidden_states: 0-based blocks whose output is returned.
            attention_block: 0-based block whose class-token attention is returned; the others stay on the fused kernel.
        """
        if attention_block is not None and not self.class_token:
            raise ValueError("Class-token attention was asked for, but the network has no class token.")
        x = self.patch_embedding(x, keep)
        if self.class_token:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        collected: list[Tensor] = []
        attention: Tensor | None = None
        for i, block in enumerate(self.blocks):
            if attention_block is not None and attention_block == i:
                attention = block.class_attention(x)  # type: ignore[operator]
            x = self._checkpointed(i, x) if self.use_checkpoint and self.training else block(x)
            if hidden_states is not None and i in hidden_states:
                collected.append(x)
        return ViTOutput(self.norm(x), collected, attention)

    @torch.jit.unused
    def _checkpointed(self, i: int, x: Tensor) -> Tensor:
        return checkpoint(self.blocks[i], x, use_reentrant=False)
