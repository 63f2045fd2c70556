"""Change the shape of patch kernels and position tables: channels, 2D to 3D, another grid (pure functions)."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from custom_components.networks.patches import sincos_table


def fold_channels(kernel: Tensor, channels: int) -> Tensor:
    """Give a patch kernel another number of input channels, keeping its sum over channels.

    An image whose channels are all equal gives the same response before and after: RGB weights are summed for a grey
    image, grey weights are repeated and divided for several sequences.

    Args:
        kernel: (D, C, *patch).
        channels: Number of input channels wanted.

    Returns:
        (D, channels, *patch); the kernel itself when the number is right already.
    """
    if kernel.shape[1] == channels:
        return kernel
    return (kernel.sum(dim=1, keepdim=True) / channels).repeat(1, channels, *[1] * (kernel.ndim - 2))


def inflate_kernel(kernel: Tensor, depth: int) -> Tensor:
    """Repeat a 2D patch kernel along the last axis and divide by its length (arXiv 1705.07750).

    A volume that is constant along depth gives the response of its slice.

    Args:
        kernel: (D, C, p1, p2).
        depth: Patch size along the third axis, voxels.

    Returns:
        (D, C, p1, p2, depth).
    """
    return (kernel / depth).unsqueeze(-1).repeat(1, 1, 1, 1, depth)


def linear_to_kernel(weight: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Turn a linear patch embedding over channel-last patch vectors into a convolution kernel.

    Args:
        weight: (D, prod(patch_size) * C); a patch vector is (p1, p2[, p3], C) row-major.
        patch_size: Voxels per axis.

    Returns:
        (D, C, *patch_size).
    """
    # D (p... C) -> D p... C -> D C p...
    return weight.reshape(weight.shape[0], *patch_size, -1).movedim(-1, 1).contiguous()


def resample_positions(table: Tensor, source: Sequence[int], target: Sequence[int]) -> Tensor:
    """Interpolate a position table to another grid: bicubic in 2D, trilinear in 3D; the same grid is left untouched.

    Args:
        table: (1, prod(source), D), row-major over the grid, without class slot.
        source: Grid of the table.
        target: Grid wanted, with as many axes.

    Returns:
        (1, prod(target), D).
    """
    if tuple(source) == tuple(target):
        return table
    grid = table.float().reshape(1, *source, -1).movedim(-1, 1)  # 1 N D -> 1 D g...
    mode = "bicubic" if len(source) == 2 else "trilinear"
    grid = F.interpolate(grid, size=tuple(target), mode=mode, align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(table.dtype).contiguous()


def inflate_positions(table: Tensor, grid: Sequence[int], depth: int) -> Tensor:
    """Give a 2D position table a third axis: each place's row, plus a sine-cosine wave along depth.

    Repeated rows alone would leave the encoder blind to depth. The wave has mean 0 over depth, so that the mean over
    depth is the table, and half the table's variance over places: what each of the table's own two axes has on average.

    Args:
        table: (1, g1 * g2, D).
        grid: (g1, g2).
        depth: Positions along the third axis.

    Returns:
        (1, g1 * g2 * depth, D), the third axis fastest.
    """
    if table.shape[1] != math.prod(grid):
        raise ValueError(f"table of {table.shape[1]} positions is not a {tuple(grid)} grid")
    wave = sincos_table((depth,), table.shape[2])
    wave = wave - wave.mean(dim=1, keepdim=True)
    strength = table.var(dim=1, correction=0).mean() / 2 / wave.var(dim=1, correction=0).mean().clamp(min=1e-12)
    return (table[:, :, None] + strength.sqrt() * wave[:, None]).flatten(1, 2)
