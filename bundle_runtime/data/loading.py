"""Which items come in which order and batch: seeded by epoch, dealt to processes, able to go on inside an epoch."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from custom_components.distributed import rank_and_world
from custom_components.errors import InputError
from custom_components.seeding import mix_seed
from monai.data.utils import list_data_collate
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler


class EpochSampler(DistributedSampler):
    """Gives (epoch, index) pairs in an order that depends on (seed, epoch) only, and can start inside an epoch.

    MONAI's engines set the epoch of a `DistributedSampler` at the start of each epoch, so this is one also without
    torch.distributed. With it every rank gets every world-size-th item. What does not divide evenly is left out, others
    in each epoch; none is given twice. `loader` tells the size of a batch, see `fit`.

    Args:
        dataset: what the indices are for.
        seed: the run's seed.
        shuffle: False keeps the order of the data set.

    Raises:
        InputError: there is nothing to give.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, shuffle: bool = True) -> None:
        mix_seed(seed)  # refuses a seed that is not a whole number
        rank, world = rank_and_world()
        super().__init__(dataset, world, rank, shuffle=shuffle, seed=seed)
        self.fit(1, drop_last=False)
        if self.num_samples == 0:
            raise InputError(f"The training list has {len(self._items())} items for {world} processes; add items.")
        self._skip: dict[int, int] = {}

    def fit(self, batch_size: int, drop_last: bool) -> None:
        """Decide what becomes of an incomplete last batch.

        Left out, any number of processes makes the same updates of the same items, and none of a few. Kept, it is cut
        to an even number that the processes can share: one and two make the same updates, and none is of one item. The
        only batch of a list that is shorter than a batch is kept.

        Args:
            batch_size: items per batch and process.
            drop_last: leave it out.
        """
        count, size = len(self._items()), batch_size * self.num_replicas
        left = size if drop_last and count >= size else self.num_replicas
        if not drop_last and count >= size > 1:
            left = math.lcm(2, self.num_replicas)
        self.total_size = count - (count % size if count >= size else count) % left
        self.num_samples = self.total_size // self.num_replicas

    def _items(self) -> range:
        return range(len(self.dataset))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.array(self._items())
        if self.shuffle:
            np.random.default_rng(mix_seed(self.seed, self.epoch)).shuffle(order)
        own = order[: self.total_size][self.rank :: self.num_replicas][self._skip.get(self.epoch, 0) :]
        # A list, not a generator: the epoch is the one at this moment even if it is read ahead.
        return iter([(self.epoch, index) for index in own.tolist()])

    def resume_at(self, epoch: int, n_items: int) -> None:
        """Leave out the first `n_items` of this rank in `epoch`: those that were used before the interruption.

        Args:
            epoch: as the engine counts, from 1.
            n_items: iterations done in that epoch times items per batch of one rank.

        Raises:
            InputError: the epoch has fewer items.
        """
        if not 0 <= n_items <= self.num_samples:
            raise InputError(
                f"The checkpoint lies {n_items} items inside epoch {epoch}, which has {self.num_samples} per process; "
                "resume with the datalist, batch size and number of processes of the interrupted run."
            )
        self._skip = {epoch: n_items}


def loader(
    dataset: Dataset, batch_size: int, sampler: Sampler | None = None, num_workers: int = 0, drop_last: bool = False
) -> DataLoader:
    """PyTorch's loader with the settings that every stage shares.

    Workers stay alive between epochs, and memory is pinned where there is a CUDA device. Batches that the data set
    makes whole (`ImageDataset`) stay as they are; of others, lists of crops are flattened into the batch.

    Args:
        dataset: usually a `PreparedDataset` or an `ImageDataset`, which need no seeding of workers.
        batch_size: items per batch and process; with k crops per item the batch holds k times as many samples.
        sampler: an `EpochSampler` for training; None keeps the order.
        num_workers: worker processes; 0 loads in the main one.
        drop_last: leave out an incomplete last batch; for an `EpochSampler` see its `fit`.

    Raises:
        InputError: there would be no batch.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    if isinstance(sampler, EpochSampler):
        sampler.fit(batch_size, drop_last)
        drop_last = False
    result = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        drop_last=drop_last,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )
    if len(result) == 0:
        raise InputError(f"A batch takes {batch_size} items and the list gives fewer; add items or lower batch_size.")
    return result


def _collate(batch: Any) -> Any:
    return batch if isinstance(batch, Mapping) else list_data_collate(batch)


def items_per_process(batch_size: int, crops_per_item: int = 1) -> int:
    """Items that one process loads per update, so that all processes together give `batch_size` samples.

    Args:
        batch_size: samples per update.
        crops_per_item: samples that an item gives each time.

    Raises:
        InputError: the batch cannot be dealt out evenly.
    """
    world = rank_and_world()[1]
    items, rest = divmod(batch_size, crops_per_item * world)
    if rest or not items:
        crops = f"crops_per_volume ({crops_per_item}) times " if crops_per_item > 1 else ""
        raise InputError(
            f"batch_size is {batch_size}; it must be a multiple of {crops}the number of processes ({world})."
        )
    return items
