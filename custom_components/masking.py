"""Which patches are hidden: pure functions on patch indices, without a host-device synchronisation."""

import math
from typing import NamedTuple

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


class PatchSplit(NamedTuple):
    """Three disjoint sets of patches, indices in the order in which they were drawn.

    Attributes:
        masked: (B, M) hidden from the encoder and to be reconstructed.
        thrown: (B, T) seen by nobody.
        visible: (B, V) encoded.
    """

    masked: Tensor
    thrown: Tensor
    visible: Tensor


def attention_weights(attention: Tensor) -> Tensor:
    """How much each patch matters: the class token's attention, each head from 0 to 1, then the mean over the heads.

    MSMAE (arXiv 2305.05871), supervised attention-driven masking. A head that attends evenly gives zeros: the small
    addend keeps its 0 / 0 from becoming NaN.

    Args:
        attention: (B, H, N) attention of the class token over the patches, without the class token itself.

    Returns:
        (B, N) float32 in [0, 1).
    """
    rows = attention.float()
    low, high = rows.amin(dim=-1, keepdim=True), rows.amax(dim=-1, keepdim=True)
    return ((rows - low) / (high - low + 1e-6)).mean(dim=1)


def weighted_order(weights: Tensor, noise: Tensor) -> Tensor:
    """Draw all patches without replacement, each time with a probability proportional to the weight.

    Sorting log(weight) plus Gumbel noise gives that distribution (Efraimidis and Spirakis, 2006; the Gumbel-top-k trick
    of arXiv 1903.06059) in one go on the device. 1e-6 is added to the weights: a patch of weight 0 comes late, and
    several of them in random order.

    Args:
        weights: (B, N), 0 or more; only their ratios matter.
        noise: (B, N) independent uniform numbers in [0, 1).

    Returns:
        (B, N) int64 patch indices, the first drawn first.
    """
    uniform = noise.float().clamp(1e-20, 1 - 1e-7)
    gumbel = -(-uniform.log()).log()
    return ((weights.float() + 1e-6).log() + gumbel).argsort(dim=1, descending=True)


def split_counts(num_patches: int, mask_ratio: float, throw_ratio: float) -> tuple[int, int, int]:
    """How many patches are masked, thrown away and visible: 88, 59 and 49 of 196 at 0.45 and 0.30.

    floor(N * mask_ratio), then floor(N * (mask_ratio + throw_ratio)) less that, then the rest.

    Raises:
        InputError: a ratio is out of range, or no patch would be masked or visible.
    """
    if not 0.0 < mask_ratio < 1.0 or not 0.0 <= throw_ratio < 1.0:
        raise InputError(
            f"mask_ratio is {mask_ratio} and throw_ratio is {throw_ratio}; the first must lie between 0 and 1, "
            "the second from 0 to below 1."
        )
    # The small addend keeps products such as 100 * 0.29 = 28.999... on the number that is meant.
    masked = math.floor(num_patches * mask_ratio + 1e-6)
    thrown = math.floor(num_patches * (mask_ratio + throw_ratio) + 1e-6) - masked
    visible = num_patches - masked - thrown
    if masked < 1 or visible < 1:
        raise InputError(
            f"mask_ratio {mask_ratio} and throw_ratio {throw_ratio} of {num_patches} patches: {masked} masked, "
            f"{thrown} thrown, {num_patches} - {masked} - {thrown} = {visible} visible; at least one must be masked "
            "and one visible, so change the ratios or take a smaller patch_size."
        )
    return masked, thrown, visible


def split_order(order: Tensor, mask_ratio: float, throw_ratio: float) -> PatchSplit:
    """Cut an order of patches into masked, thrown and visible ones (MSMAE, arXiv 2305.05871).

    Args:
        order: (B, N) patch indices, see `weighted_order`.
        mask_ratio: share of the patches, from the front, that is masked.
        throw_ratio: share behind them that is thrown away.

    Raises:
        InputError: see `split_counts`.
    """
    return PatchSplit(*order.split(split_counts(order.shape[1], mask_ratio, throw_ratio), dim=1))
