import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from custom_components.errors import InputError
from custom_components.masking import (
    BOX_PATCHES,
    STRATEGIES,
    attention_weights,
    block_order,
    find_strategy,
    hidden_count,
    random_order,
    shared_rand,
    split_counts,
    split_order,
    visible_and_hidden,
    weighted_order,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

DOCS = Path(__file__).parents[2] / "docs" / "how_it_works.md"
GRIDS = st.one_of(
    st.tuples(st.integers(1, 14), st.integers(2, 14)),
    st.tuples(st.integers(1, 8), st.integers(2, 8), st.integers(1, 8)),
)
PAPERS = [((14, 14), 0.75), ((14, 14), 0.6), ((6, 6, 6), 0.125), ((8, 8, 8), 0.125)]


def uniform(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))


def hidden_map(strategy: str, noise: Tensor, ratio: float, grid: tuple[int, ...]) -> np.ndarray:
    """(B, *grid), 1 where hidden."""
    _, hidden = visible_and_hidden(STRATEGIES[strategy](noise, ratio, grid), ratio)
    return torch.zeros(len(noise), math.prod(grid)).scatter(1, hidden, 1).reshape(-1, *grid).numpy().astype(int)


@pytest.fixture
def third_strategy() -> Iterator[str]:
    """The strategy that the documentation writes, registered for one test."""
    section = DOCS.read_text().partition("## Another way to hide patches")[2]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    before = set(STRATEGIES)
    exec(code.group(1), {})
    (name,) = set(STRATEGIES) - before
    yield name
    del STRATEGIES[name]


@pytest.mark.parametrize(
    ("patches", "ratio", "hidden"),
    [(216, 0.125, 27), (512, 0.125, 64), (196, 0.75, 147), (196, 0.6, 117), (216, 0.25, 54), (216, 0.875, 189)],
)
def test_counts_of_the_papers(patches: int, ratio: float, hidden: int) -> None:
    assert hidden_count(patches, ratio) == hidden


def test_monai_masked_autoencoder_vit_rounding_defect() -> None:
    """MONAI 1.6.1 networks/nets/masked_autoencoder_vit.py:181-187 keeps 0 of 10 patches at 0.9 and 3 of 20 at 0.8."""
    assert hidden_count(10, 0.9) == 9
    assert hidden_count(20, 0.8) == 16
    assert hidden_count(100, 0.29) == 29  # 100 * 0.29 is 28.999... in floating point


@given(st.integers(2, 700), st.floats(0.001, 0.999))
def test_at_least_one_hidden_and_one_visible(patches: int, ratio: float) -> None:
    assert 1 <= hidden_count(patches, ratio) <= patches - 1


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
def test_ratio_out_of_range_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="mask_ratio"):
        hidden_count(10, ratio)


@pytest.mark.parametrize("strategy", ["random", "block"])
@given(GRIDS, st.integers(1, 4), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_every_patch_is_visible_or_hidden_exactly_once(
    strategy: str, grid: tuple[int, ...], batch: int, ratio: float, seed: int
) -> None:
    patches = math.prod(grid)
    order = STRATEGIES[strategy](uniform(batch, patches, seed), ratio, grid)
    visible, hidden = visible_and_hidden(order, ratio)
    assert hidden.shape == (batch, hidden_count(patches, ratio))
    everything = torch.cat([visible, hidden], dim=1).sort(dim=1).values
    assert torch.equal(everything, torch.arange(patches).expand(batch, -1))


@pytest.mark.parametrize("strategy", ["random", "block"])
@given(GRIDS, st.floats(0.05, 0.95), st.integers(0, 1000))
def test_a_mask_follows_from_its_own_noise(strategy: str, grid: tuple[int, ...], ratio: float, seed: int) -> None:
    """Whatever the other samples of the batch are: micro-batches and processes hide what the whole batch hides."""
    noise = uniform(3, math.prod(grid), seed)
    order = STRATEGIES[strategy](noise, ratio, grid)
    assert torch.equal(STRATEGIES[strategy](noise[1:2], ratio, grid), order[1:2])
    assert torch.equal(STRATEGIES[strategy](noise, ratio, grid), order)


def test_random_masks_are_uniform_and_differ_between_samples() -> None:
    _, hidden = visible_and_hidden(random_order(uniform(4000, 8), 0.25, (2, 4)), 0.25)
    frequency = torch.bincount(hidden.flatten(), minlength=8) / 4000
    assert torch.allclose(frequency, torch.full((8,), 0.25), atol=0.03)
    assert len({tuple(sorted(row.tolist())) for row in hidden[:50]}) > 10


@given(GRIDS, st.floats(0.05, 0.95), st.integers(0, 1000))
def test_blocks_are_connected(grid: tuple[int, ...], ratio: float, seed: int) -> None:
    boxes = max(1, round(hidden_count(math.prod(grid), ratio) / BOX_PATCHES))
    for mask in hidden_map("block", uniform(3, math.prod(grid), seed), ratio, grid):
        assert ndimage.label(mask)[1] <= boxes


@given(GRIDS, st.integers(0, 1000))
def test_one_block_is_a_box_of_which_one_side_may_be_incomplete(grid: tuple[int, ...], seed: int) -> None:
    patches = math.prod(grid)
    ratio = min(0.7, 20 / patches)  # one box
    for mask in hidden_map("block", uniform(3, patches, seed), ratio, grid):
        box = mask[ndimage.find_objects(mask)[0]]
        sides = [np.delete(box, end, axis) for axis in range(box.ndim) for end in (0, -1)]
        assert box.all() or any(side.all() for side in sides)


@pytest.mark.parametrize(("grid", "ratio"), PAPERS)
def test_blocks_hang_together_and_random_masks_do_not(grid: tuple[int, ...], ratio: float) -> None:
    noise = uniform(200, math.prod(grid))
    random, block = (
        np.mean([ndimage.label(mask)[1] for mask in hidden_map(strategy, noise, ratio, grid)])
        for strategy in ("random", "block")
    )
    assert block < 0.6 * random  # 1.4 and 2.8 at 0.75, where nearly all hangs together; 1.6 and 19 in 3D


@pytest.mark.parametrize(("grid", "ratio"), PAPERS)
def test_blocks_lie_everywhere(grid: tuple[int, ...], ratio: float) -> None:
    """Corners too: hidden at least half as often as the average patch, and no patch always."""
    frequency = hidden_map("block", uniform(4000, math.prod(grid)), ratio, grid).mean(axis=0)
    assert frequency.min() > 0.5 * ratio
    assert frequency.max() < min(1.4 * ratio, 0.9)


def test_blocks_have_many_shapes_and_places() -> None:
    masks = hidden_map("block", uniform(200, 216), 0.125, (6, 6, 6))
    assert len({mask.tobytes() for mask in masks}) > 190
    extents = np.array([[ndimage.find_objects(mask)[0][axis].stop for axis in range(3)] for mask in masks])
    assert (extents.std(axis=0) > 1).all()


def test_blocks_do_not_follow_the_noise_of_single_patches() -> None:
    """`predict_ratio` takes the first of the hidden patches by their noise, which must not tell where the boxes lie."""
    noise = uniform(4000, 196)
    hidden = torch.from_numpy(hidden_map("block", noise, 0.6, (14, 14)).reshape(4000, -1)).float()
    correlation = ((noise - noise.mean(0)) * (hidden - hidden.mean(0))).mean(0) / noise.std(0) / hidden.std(0)
    assert correlation.abs().max() < 0.08  # 5 standard errors


def test_a_mask_is_made_on_the_device_alone() -> None:
    """The meta device holds no numbers: a strategy that asked for one, and so made the host wait, would fail."""
    for order in (random_order, block_order):
        assert order(torch.empty(2, 64, device="meta"), 0.5, (4, 4, 4)).shape == (2, 64)


def test_a_mistyped_strategy_is_refused() -> None:
    with pytest.raises(InputError, match=r"^mask_strategy is 'blocks'; choose one of block, random\.$"):
        find_strategy("blocks")


def test_the_strategy_of_the_documentation_hides_whole_slices(third_strategy: str) -> None:
    masks = hidden_map(third_strategy, uniform(50, 512), 0.25, (8, 8, 8))
    assert all(sorted(mask.sum(axis=(0, 1)).tolist()) == [0] * 6 + [64] * 2 for mask in masks)
    assert (masks.mean(axis=0) > 0).all()
    assert hidden_map(third_strategy, uniform(5, 196), 0.6, (14, 14)).sum(axis=(1, 2)).tolist() == [117] * 5


def test_masks_do_not_come_from_the_cpu_generator_of_another_device() -> None:
    """MONAI draws masks with the CPU generator whatever the device; ours follow the device that is asked for."""
    assert shared_rand(2, 3, torch.device("meta")).device.type == "meta"


def test_counts_of_msmae() -> None:
    assert split_counts(196, 0.45, 0.30) == (88, 59, 49)
    assert split_counts(100, 0.29, 0.29) == (29, 29, 42)  # 28.999... and 57.999... in floating point


@given(st.integers(2, 700), st.floats(0.01, 0.99), st.floats(0.0, 0.98))
def test_three_way_counts_add_up_or_are_refused(patches: int, mask: float, throw: float) -> None:
    masked, hidden = (math.floor(patches * ratio + 1e-6) for ratio in (mask, mask + throw))
    if masked < 1 or hidden >= patches:
        with pytest.raises(InputError, match=rf"{patches} patches.*visible"):
            split_counts(patches, mask, throw)
    else:
        assert split_counts(patches, mask, throw) == (masked, hidden - masked, patches - hidden)


def test_ratios_without_a_visible_patch_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(InputError, match=r"16 patches: 9 masked, 7 thrown, 16 - 9 - 7 = 0 visible"):
        split_counts(16, 0.6, 0.4)


@given(st.integers(1, 5), st.integers(4, 60), st.integers(0, 1000))
def test_every_patch_is_masked_thrown_or_visible_exactly_once(batch: int, patches: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights, noise = torch.rand(2, batch, patches, generator=generator)
    weights[0, ::2] = 0  # several weights of 0
    split = split_order(weighted_order(weights, noise), 0.45, 0.3)
    assert tuple(part.shape[1] for part in split) == split_counts(patches, 0.45, 0.3)
    everything = torch.cat(split, dim=1).sort(dim=1).values
    assert torch.equal(everything, torch.arange(patches).expand(batch, -1))


def test_a_hot_patch_is_masked() -> None:
    weights = torch.full((2000, 196), 0.02)
    weights[:, 77] = 1.0
    order = weighted_order(weights, torch.rand(2000, 196, generator=torch.Generator().manual_seed(0)))
    masked = (split_order(order, 0.45, 0.3).masked == 77).any(dim=1)
    assert masked.float().mean() > 0.95


def test_equal_weights_are_uniform() -> None:
    order = weighted_order(torch.ones(4000, 8), torch.rand(4000, 8, generator=torch.Generator().manual_seed(0)))
    for part, share in zip(split_order(order, 0.5, 0.25), (0.5, 0.25, 0.25), strict=True):
        frequency = torch.bincount(part.flatten(), minlength=8) / 4000
        assert torch.allclose(frequency, torch.full((8,), share), atol=0.03)


def test_the_first_patch_is_drawn_in_proportion_to_its_weight() -> None:
    """Oracle: numpy's weighted choice without replacement has these first-draw and pair frequencies."""
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    noise = torch.rand(40_000, 4, generator=torch.Generator().manual_seed(0))
    order = weighted_order(weights.expand(40_000, -1), noise)
    first = torch.bincount(order[:, 0], minlength=4) / 40_000
    assert torch.allclose(first, weights, atol=0.01)
    drawn = np.random.default_rng(0)
    pairs = [drawn.choice(4, 2, replace=False, p=[0.1, 0.2, 0.3, 0.4]) for _ in range(20_000)]
    second = torch.bincount(torch.tensor(np.array(pairs)[:, 1]), minlength=4) / 20_000
    assert torch.allclose(torch.bincount(order[:, 1], minlength=4) / 40_000, second, atol=0.015)


def test_extreme_noise_gives_a_whole_order() -> None:
    noise = torch.tensor([[0.0, 1 - 2**-24, 0.5, 0.0]])
    assert sorted(weighted_order(torch.zeros(1, 4), noise)[0].tolist()) == [0, 1, 2, 3]


def test_a_constant_head_gives_no_nan() -> None:
    """MSMAE's released code divides by the range of each head, which is 0 here."""
    attention = torch.rand(2, 3, 12).softmax(-1)
    attention[:, 1] = 1 / 12
    weights = attention_weights(attention)
    assert weights.isfinite().all()
    rest = attention[:, [0, 2]]
    low, high = rest.amin(-1, keepdim=True), rest.amax(-1, keepdim=True)
    assert torch.allclose(weights, ((rest - low) / (high - low)).sum(1) / 3, atol=1e-3)


@given(st.integers(1, 3), st.integers(1, 16), st.integers(2, 50), st.integers(0, 100))
def test_weights_lie_between_0_and_1_for_any_heads_and_grid(batch: int, heads: int, patches: int, seed: int) -> None:
    attention = torch.rand(batch, heads, patches, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    weights = attention_weights(attention)
    assert weights.shape == (batch, patches)
    assert 0 <= weights.min() <= weights.max() <= 1
