"""Which patches are hidden: pure functions on patch indices, without a host-device synchronisation.

A strategy is one function, chosen by its name in a config (`mask_strategy`). `docs/how_it_works.md` adds a third.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .distributed import rank_and_world
from .errors import InputError, one_of, within

# (noise (B, N), mask_ratio, grid) -> (B, N) all patch indices; the last `hidden_count(N, mask_ratio)` are hidden.
# N = prod(grid), patches counted row-major. The noise is all a strategy has of chance, so equal noise hides equally.
MaskStrategy = Callable[[Tensor, float, Sequence[int]], Tensor]
STRATEGIES: dict[str, MaskStrategy] = {}

BOX_PATCHES = 16  # of a box in `block`, on average: the least that a block of BEiT has (arXiv 2106.08254, algorithm 1)
_LONGEST = 1 / 0.3  # of a box's sides to another, as in BEiT


def mask_strategy(name: str) -> Callable[[MaskStrategy], MaskStrategy]:
    """Decorator: configs choose the function by this name."""

    def register(strategy: MaskStrategy) -> MaskStrategy:
        STRATEGIES[name] = strategy
        return strategy

    return register


def find_strategy(name: str) -> MaskStrategy:
    """The strategy of that name.

    Raises:
        InputError: there is none.
    """
    one_of("mask_strategy", name, sorted(STRATEGIES))
    return STRATEGIES[name]


@mask_strategy("random")
def random_order(noise: Tensor, mask_ratio: float, grid: Sequence[int]) -> Tensor:
    """Every patch with the same chance, by itself (MAE, arXiv 2111.06377, section 3): (B, N) noise -> (B, N)."""
    return noise.argsort(dim=1)


@mask_strategy("block")
def block_order(noise: Tensor, mask_ratio: float, grid: Sequence[int]) -> Tensor:
    """Contiguous boxes, so that a patch cannot be guessed from its neighbours (as in BEiT, arXiv 2106.08254).

    Boxes at random places and of random proportions grow together until they hold the wanted number of patches, which
    sorting by the distance to the nearest box does in one go: the patches at one distance from a centre are a box's
    surface. The last surface may be filled in part, from its middle. Centres lie up to one patch outside the image;
    otherwise its corners would hardly ever be hidden.

    Args:
        noise: (B, N) independent uniform numbers on the device of the images.
        mask_ratio: fraction of patches to hide; more of them are more boxes.
        grid: patches along each axis.

    Returns:
        (B, N) patch indices, the farthest from all boxes first.
    """
    patches, axes = noise.shape[1], len(grid)
    boxes = max(1, round(hidden_count(patches, mask_ratio) / BOX_PATCHES))
    index = torch.arange(patches, device=noise.device)
    columns = torch.arange(2 * axes * boxes, device=noise.device) % patches
    # The digits behind the first ten bits: what sorts by the noise itself does not depend on where the boxes are.
    draws = (noise[:, columns] * 1024).frac().unflatten(1, (2, axes, boxes, 1))  # B 2 A K 1
    distances, stride = [], patches
    for axis, side in enumerate(grid):
        stride //= side
        place = index // stride % side  # N
        centre = draws[:, 0, axis] * (side + 2) - 1.5  # B K 1
        stretch = ((draws[:, 1, axis] - 0.5) * math.log(_LONGEST)).exp()
        distances.append((place - centre).abs() * stretch)  # B K N
    apart = torch.stack(distances)
    to_nearest = (apart.amax(dim=0) + 1e-4 * apart.sum(dim=0)).amin(dim=1)  # B N; the sum decides within a surface
    return to_nearest.argsort(dim=1, descending=True, stable=True)


def visible_and_hidden(order: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """Cut what a strategy gives, (B, N) -> indices of the visible patches (B, V) and of the hidden ones (B, M)."""
    visible = order.shape[1] - hidden_count(order.shape[1], mask_ratio)
    return order[:, :visible], order[:, visible:]


def hidden_count(num_patches: int, mask_ratio: float) -> int:
    """Number of hidden patches: floor(num_patches * mask_ratio); at least one patch is hidden and one stays visible.

    27 of 216 at 0.125, 147 of 196 at 0.75, 117 of 196 at 0.6. (MONAI's `MaskedAutoEncoderViT` rounds the kept count
    after a float product and keeps none of 10 patches at 0.9.)

    Raises:
        InputError: `mask_ratio` is not inside (0, 1), or there are fewer than two patches.
    """
    within("mask_ratio", mask_ratio, "(0, 1)")
    if num_patches < 2:
        raise InputError(f"The image has {num_patches} patch; masking needs at least two: use a smaller patch_size.")
    return min(max(_whole(num_patches * mask_ratio), 1), num_patches - 1)


def _whole(count: float) -> int:
    """Round down; the small addend keeps products such as 100 * 0.29 = 28.999... on the number that is meant."""
    return math.floor(count + 1e-6)


def shared_rand(rows: int, columns: int, device: torch.device) -> Tensor:
    """Uniform random numbers (rows, columns) that do not depend on how a batch is spread over processes.

    All ranks are seeded alike before a step; each draws the numbers of the whole batch and takes every world-size-th
    row, which is how `DistributedSampler` deals out samples. (With several crops per volume whole volumes are dealt
    out, so the same masks fall on other crops than in one process.) Without torch.distributed this is `torch.rand`.
    """
    rank, world = rank_and_world()
    return torch.rand(rows * world, columns, device=device)[rank::world]


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
    within("mask_ratio", mask_ratio, "(0, 1)")
    within("throw_ratio", throw_ratio, "[0, 1)")
    masked = _whole(num_patches * mask_ratio)
    thrown = _whole(num_patches * (mask_ratio + throw_ratio)) - masked
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
