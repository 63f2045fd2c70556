"""Sine-cosine position tables on grids of any shape."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def sincos_table(grid: Sequence[int], hidden_size: int, temperature: float = 10000.0) -> Tensor:
    """Sine-cosine position table for a 2D or 3D grid (SelfMedMAE's form: axes in the order of the array).

    With A axes and K = hidden_size // (2 A) frequencies temperature^(-k/K), a row is
    [sin x1, cos x1, sin x2, cos x2, ...], K entries each; positions are patch counts 0, 1, 2, ... Columns that do not
    fill a frequency (1024 in 3D leaves four) stay zero. MONAI and Facebook's MAE order the axes differently, so tables
    of theirs are carried as stored and never rebuilt.

    Args:
        grid: number of patches along each axis; tokens are counted row-major.
        hidden_size: width of a row.
        temperature: base of the frequencies.

    Returns:
        (1, prod(grid), hidden_size) float32.

    Raises:
        ValueError: `hidden_size` is too small to hold one frequency per axis.
    """
    frequencies = hidden_size // (2 * len(grid))
    if frequencies == 0:
        raise ValueError(f"hidden_size {hidden_size} is too small for sine-cosine positions on {len(grid)} axes.")
    omega = temperature ** (-torch.arange(frequencies, dtype=torch.float64) / frequencies)
    axes = torch.meshgrid(*[torch.arange(length, dtype=torch.float64) for length in grid], indexing="ij")
    columns = [wave(axis.reshape(-1, 1) * omega) for axis in axes for wave in (torch.sin, torch.cos)]
    table = torch.cat(columns, dim=1).float()
    return torch.nn.functional.pad(table, (0, hidden_size - table.shape[1])).unsqueeze(0)


def sinusoid_table(grid: Sequence[int], hidden_size: int, temperature: float = 10000.0) -> Tensor:
    """One-dimensional sine-cosine position table over the patches counted row-major (arXiv 1706.03762, section 3.5).

    Column j of patch i is sin(i / temperature^(j/D)) for even j, and for odd j the cosine of the same frequency as the
    column before it. The released code of SD-MAE uses it. It does not know where a row of patches ends, so weights
    carried to another image size see other positions: `sincos_table` is the better choice but for comparisons.

    Args:
        grid: number of patches along each axis.
        hidden_size: width of a row.
        temperature: base of the frequencies.

    Returns:
        (1, prod(grid), hidden_size) float32.
    """
    pairs = torch.arange(hidden_size, dtype=torch.float64) // 2
    angles = torch.arange(math.prod(grid), dtype=torch.float64)[:, None] * temperature ** (-2 * pairs / hidden_size)
    angles[:, 0::2], angles[:, 1::2] = angles[:, 0::2].sin(), angles[:, 1::2].cos()
    return angles.float().unsqueeze(0)


FIXED_TABLES: dict[str, Callable[[Sequence[int], int], Tensor]] = {
    "sincos": sincos_table,
    "sinusoid_1d": sinusoid_table,
}


def position_table(kind: str, grid: Sequence[int], hidden_size: int) -> Tensor:
    """The fixed table of that name, and the sine-cosine table for any other: (1, prod(grid), hidden_size) float32."""
    return FIXED_TABLES.get(kind, sincos_table)(grid, hidden_size)
