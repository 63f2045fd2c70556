"""An image as patches: cut, put back, picked, normalised, and where each lies; for any number of spatial axes."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
    return torch.nn.functional.pad(table, (0, hidden_size - table.shape[1])).unsqueeze(0)


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
