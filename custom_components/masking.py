"""Which patches are hidden: pure functions on patch indices, without a host-device synchronisation."""

import math

import torch
from torch import Tensor

from .errors import InputError


def hidden_count(num_patches: int, mask_ratio: float) -> int:
    """Number of hidden patches: floor(num_patches * mask_ratio); at least one patch is hidden and one stays visible.

    27 of 216 at 0.125, 147 of 196 at 0.75, 117 of 196 at 0.6. (MONAI's `MaskedAutoEncoderViT` rounds the kept count
    after a float product and keeps none of 10 patches at 0.9.)

    Raises:
        InputError: `mask_ratio` is not inside (0, 1), or there are fewer than two patches.
    """
    if not 0.0 < mask_ratio < 1.0:
        raise InputError(f"mask_ratio is {mask_ratio}; it must lie between 0 and 1, both excluded.")
    if num_patches < 2:
        raise InputError(f"The image has {num_patches} patch; masking needs at least two: use a smaller patch_size.")
    # The small addend keeps products such as 100 * 0.29 = 28.999... on the number that is meant.
    return min(max(math.floor(num_patches * mask_ratio + 1e-6), 1), num_patches - 1)


def shared_rand(rows: int, columns: int, device: torch.device) -> Tensor:
    """Uniform random numbers (rows, columns) that do not depend on how a batch is spread over processes.

    All ranks are seeded alike before a step; each draws the numbers of the whole batch and takes every world-size-th
    row, which is how `DistributedSampler` deals out samples. (With several crops per volume whole volumes are dealt
    out, so the same masks fall on other crops than in one process.) Without torch.distributed this is `torch.rand`.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        return torch.rand(rows * world, columns, device=device)[rank::world]
    return torch.rand(rows, columns, device=device)


def random_masking(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """Choose hidden patches uniformly at random, per sample (MAE, arXiv 2111.06377, section 3).

    Args:
        noise: (B, N) independent uniform numbers on the device of the images.
        mask_ratio: fraction of patches to hide.

    Returns:
        Indices of the visible patches (B, V) and of the hidden ones (B, M), both in random order, V + M = N.
    """
    order = noise.argsort(dim=1)
    visible = noise.shape[1] - hidden_count(noise.shape[1], mask_ratio)
    return order[:, :visible], order[:, visible:]
