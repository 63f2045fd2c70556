"""Change the shape of patch kernels and position tables: channels, 2D to 3D, another grid (pure functions)."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from custom_components.networks.vit import sincos_table
from torch import Tensor


def fold_channels(kernel: Tensor, channels: int) -> Tensor:
    """Give a patch kernel another number of input channels, (D, C, *patch) -> (D, channels, *patch); their sum is kept.

    An image whose channels are all equal gives the same response before and after: RGB weights are summed for a grey
    image, grey weights are repeated and divided for several sequences.
    """
    if kernel.shape[1] == channels:
        return kernel
    return (kernel.sum(dim=1, keepdim=True) / channels).repeat(1, channels, *[1] * (kernel.ndim - 2))


def inflate_kernel(kernel: Tensor, depth: int) -> Tensor:
    """Repeat a 2D patch kernel along a third axis and divide by its length: (D, C, p1, p2) -> (D, C, p1, p2, depth).

    A volume that is constant along depth gives the response of its slice (arXiv 1705.07750).
    """
    return (kernel / depth).unsqueeze(-1).repeat(1, 1, 1, 1, depth)


def linear_to_kernel(weight: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Turn a linear patch embedding into a convolution kernel: (D, prod(patch_size) * C) -> (D, C, *patch_size).

    Its patch vectors are channel-last, (p1, p2[, p3], C) row-major.
    """
    # D (p... C) -> D p... C -> D C p...
    return weight.reshape(weight.shape[0], *patch_size, -1).movedim(-1, 1).contiguous()


def resample_positions(table: Tensor, source: Sequence[int], target: Sequence[int]) -> Tensor:
    """Interpolate a position table to another grid of as many axes: (1, prod(source), D) -> (1, prod(target), D).

    Bicubic in 2D, trilinear in 3D; row-major over the grid, without class slot. The same grid is left untouched.
    """
    if tuple(source) == tuple(target):
        return table
    grid = table.float().reshape(1, *source, -1).movedim(-1, 1)  # 1 N D -> 1 D g...
    mode = "bicubic" if len(source) == 2 else "trilinear"
    grid = F.interpolate(grid, size=tuple(target), mode=mode, align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(table.dtype).contiguous()


def inflate_positions(table: Tensor, grid: Sequence[int], depth: int) -> Tensor:
    """Give a 2D position table a third, fastest axis: (1, g1 * g2, D) -> (1, g1 * g2 * depth, D).

    Each place's row, plus a sine-cosine wave along depth: repeated rows alone would leave the encoder blind to depth.
    The wave has mean 0 over depth, so that the mean over depth is the table, and half the table's variance over places:
    what each of the table's own two axes has on average.
    """
    if table.shape[1] != math.prod(grid):
        raise ValueError(f"table of {table.shape[1]} positions is not a {tuple(grid)} grid")
    wave = sincos_table((depth,), table.shape[2])
    wave = wave - wave.mean(dim=1, keepdim=True)
    strength = table.var(dim=1, correction=0).mean() / 2 / wave.var(dim=1, correction=0).mean().clamp(min=1e-12)
    return (table[:, :, None] + strength.sqrt() * wave[:, None]).flatten(1, 2)
