"""Cutting an image into patch vectors and back, for any number of spatial axes; what is known of a patch."""

import torch
from torch import Tensor


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


def patch_statistics(patches: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch vector, (..., P) -> two (..., 1), in float32.

    The variance is that of the population with `eps` inside the root (SelfMedMAE's 3D code); Facebook's MAE divides by
    P - 1, which differs by 2e-4 or less at the sizes used here. A constant patch becomes all zeros.
    """
    patches = patches.float()
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True, correction=0)
    return mean, (variance + eps).sqrt()
