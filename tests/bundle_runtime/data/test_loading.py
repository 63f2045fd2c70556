"""The order of items: a function of seed and epoch, shared by ranks, resumable inside an epoch."""

from typing import Any

import pytest
import torch
from bundle_runtime.data.loading import EpochSampler, items_per_process, loader
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler


def order(size: int, epoch: int, seed: int = 0, skip: tuple[int, int] | None = None, **changes: Any) -> list[int]:
    sampler = EpochSampler(list(range(size)), seed, **changes)  # type: ignore[arg-type]
    sampler.set_epoch(epoch)
    if skip is not None:
        sampler.resume_at(*skip)
    pairs = list(sampler)
    assert {pair[0] for pair in pairs} <= {epoch}
    return [index for _, index in pairs]


@given(st.integers(1, 40), st.integers(0, 1000), st.integers(0, 1000))
def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch(size: int, epoch: int, seed: int) -> None:
    first = order(size, epoch, seed)
    assert sorted(first) == list(range(size))
    assert first == order(size, epoch, seed)
    assert order(size, epoch, seed, shuffle=False) == list(range(size))


def test_epochs_and_seeds_differ() -> None:
    assert len({tuple(order(20, epoch, seed)) for epoch in range(5) for seed in range(5)}) == 25


def test_torch_sampler_repeats_epochs_under_another_seed() -> None:
    """Upstream: `torch.utils.data.DistributedSampler` seeds with seed + epoch."""
    first, second = (DistributedSampler(list(range(20)), 1, 0, seed=seed) for seed in (0, 1))  # type: ignore[arg-type]
    first.set_epoch(1)
    assert list(first) == list(second)
    assert order(20, 1, 0) != order(20, 0, 1)


@given(st.integers(1, 20), st.data())
def test_a_resumed_epoch_is_the_rest_of_the_whole_one(size: int, data: st.DataObject) -> None:
    done = data.draw(st.integers(0, size))
    assert order(size, 4)[done:] == order(size, 4, skip=(4, done))
    assert order(size, 5, skip=(4, done)) == order(size, 5)


def test_resuming_outside_the_epoch_gets_a_sentence() -> None:
    sampler = EpochSampler(list(range(3)))  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match="lies 4 items inside epoch 2, which has 3 per process; resume with the datalist"
    ):
        sampler.resume_at(2, 4)


def shares(size: int, world: int, batch: int, drop_last: bool) -> list[list[int]]:
    """What each rank gets in an epoch, `batch` items per update and process."""
    found = []
    for rank in range(world):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.distributed, "is_initialized", lambda: True)
            patch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
            patch.setattr(torch.distributed, "get_world_size", lambda: world)
            sampler = EpochSampler(list(range(size)))  # type: ignore[arg-type]
            assert loader(torch.arange(size), batch, sampler, drop_last=drop_last).batch_size == batch  # type: ignore[arg-type]
            found.append([index for _, index in sampler])
            assert len(sampler) == len(found[-1])
    return found


@settings(max_examples=100)
@given(st.integers(5, 40), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_ranks_share_an_epoch(size: int, world: int, batch: int, drop_last: bool) -> None:
    found = shares(size, world, batch, drop_last)
    assert len({len(share) for share in found}) == 1
    together = [index for share in found for index in share]
    assert len(set(together)) == len(together), "none is given twice"
    rest = len(together) % (batch * world)
    if size >= batch * world:
        assert rest == 0 if drop_last else size - len(together) < max(2, 2 * world)
        assert rest != 1 or batch * world == 1, "no update of one item"
    else:
        assert size - len(together) < world


@settings(max_examples=100)
@given(st.integers(2, 60), st.integers(1, 8), st.booleans())
def test_one_and_two_processes_make_the_same_updates(size: int, half: int, drop_last: bool) -> None:
    """They were padded differently: one process took 37 items where two took 38, one of them twice."""
    if size < 2 * half and size % 2:
        return  # the only batch, kept whole by one process
    (one,), (first, second) = shares(size, 1, 2 * half, drop_last), shares(size, 2, half, drop_last)
    together = [index for pair in zip(first, second, strict=True) for index in pair]
    assert together == one


@pytest.mark.parametrize(
    ("size", "batch", "drop_last", "taken"),
    [
        (1025, 1024, True, 1024),
        (1025, 1024, False, 1024),
        (1027, 1024, False, 1026),
        (37, 64, True, 37),
        (1, 4, True, 1),
    ],
)
def test_an_incomplete_last_batch_is_left_out(size: int, batch: int, drop_last: bool, taken: int) -> None:
    """1,025 tiles made an update of 1,024 and one of a single tile, which counted as much."""
    assert len(shares(size, 1, batch, drop_last)[0]) == taken


def test_other_items_are_left_out_in_each_epoch() -> None:
    sampler = EpochSampler(list(range(10)))  # type: ignore[arg-type]
    sampler.fit(8, drop_last=True)
    left = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        left |= set(range(10)) - {index for _, index in sampler}
    assert left == set(range(10))


def test_an_empty_list_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="has 0 items for 1 processes; add items"):
        EpochSampler([])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="A batch takes 4 items and the list gives fewer"):
        loader(torch.utils.data.TensorDataset(torch.zeros(3)), 4, drop_last=True)


def test_items_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def items(batch: int, crops: int, world: int) -> int:
        monkeypatch.setattr("bundle_runtime.data.loading.rank_and_world", lambda: (0, world))
        return items_per_process(batch, crops)

    assert items(24, 4, 1) == 6
    assert items(24, 4, 2) == 3
    assert items(24, 1, 2) == 12
    for batch, crops, world in ((24, 4, 4), (10, 4, 1), (2, 4, 1)):
        with pytest.raises(InputError, match=r"a multiple of crops_per_volume \(4\) times the number of processes"):
            items(batch, crops, world)
    with pytest.raises(InputError, match=r"batch_size is 5; it must be a multiple of the number of processes \(2\)"):
        items(5, 1, 2)
