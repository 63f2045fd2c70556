"""Data set whose deterministic part is cached and whose random part depends on (seed, epoch, item) alone."""

import copy
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from custom_components.distributed import gather_objects, is_main, rank_and_world
from custom_components.errors import InputError
from custom_components.seeding import mix_seed
from monai.transforms import Compose, Transform
from monai.transforms.traits import RandomizableTrait
from nibabel.filebasedimages import ImageFileError
from torch.utils.data import Dataset
from tqdm import tqdm

from ..failures import find_input_error
from .cache import DiskCache, Prepared, to_plain
from .verify import Found, refuse, show, unusable

# What readers raise for a file that is missing, truncated or of another kind.
UNREADABLE = (OSError, EOFError, zlib.error, ImageFileError)


def split_transform(transform: Callable | Sequence[Callable]) -> tuple[Compose, Compose]:
    """Split a pipeline at its first random transform.

    Returns:
        The deterministic part and the rest; a callable that is no MONAI `Transform` counts as random, as MONAI has it.
    """
    # Relatives of Compose such as OneOf choose at random, so they are one step.
    whole = (transform if type(transform) is Compose else Compose(transform)).flatten()
    first = whole.get_index_of_first(
        lambda step: isinstance(step, RandomizableTrait) or not isinstance(step, Transform)
    )
    first = len(whole.transforms) if first is None else first

    def part(steps: Sequence[Callable]) -> Compose:
        return Compose(
            steps,
            map_items=whole.map_items,
            unpack_items=whole.unpack_items,
            log_stats=whole.log_stats,
            lazy=whole.lazy,
            overrides=whole.overrides,
        )

    return part(whole.transforms[:first]), part(whole.transforms[first:])


def _first_cause(error: BaseException) -> BaseException:
    """The exception that MONAI's wrappers were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class PreparedDataset(Dataset):
    """Items after their transforms; what is deterministic runs once, what is random depends on (seed, epoch, item).

    So an item is the same with any number of workers, with any cache, and after a restart, unlike in MONAI's own data
    sets. Items hold plain tensors (faster to collate and to send than `MetaTensor`), numbers and strings. A random part
    that makes several samples (crops) gives a list of them: collate with `monai.data.list_data_collate`.

    Args:
        data: items, as a datalist has them.
        transform: MONAI transforms; everything before the first random one is cached.
        cache: "none" (or None) prepares anew each time; "ram" keeps all items in memory; anything else is a folder,
            which processes and runs share: see `DiskCache`. Both are filled at construction.
            Where the first transform can `look` (`LoadVolumesd`, `LoadPictured`), this pass verifies the items as well;
            with "none" it reads them for that.
        seed: the run's seed.
        num_workers: threads that fill the cache.
        progress: show a progress bar meanwhile.
        track_meta: give images as `MetaTensor` with their affine, to the random part and from the data set.

    Attributes:
        data: the items.
        transform: as given.
        found: what was found in the items of all processes, where the first transform can look.

    Raises:
        InputError: items that cannot be used (all are printed), or the cache folder cannot be made or written.
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Callable | Sequence[Callable],
        cache: str | os.PathLike[str] | None = "none",
        seed: int = 0,
        num_workers: int = 0,
        progress: bool = True,
        track_meta: bool = False,
    ) -> None:
        mix_seed(seed)  # refuses a seed that is not a whole number
        self.data, self.transform, self.seed, self.track_meta = data, transform, seed, track_meta
        self._fixed, self._random = split_transform(transform)
        self._disk = None if cache in (None, "none", "ram") else DiskCache(cache, self._fixed.transforms)
        first = next(iter(self._fixed.transforms), None)
        self._loader: Any = first if hasattr(first, "look") else None
        self._edges: dict[str, str] = {}
        self.found: list[Found] = []
        self._ram: list[Prepared] | None = None
        if cache == "ram":
            made = self._fill(range(len(data)), num_workers, progress, in_ram=True)
            self._verify([prepared.found for prepared in made])
            self._ram = [prepared._replace(found=None) for prepared in made]
        elif self._disk is not None or self._loader is not None:
            rank, world = rank_and_world()  # ranks share the work; what another rank has not finished is made here too
            shared = self._fill(range(rank, len(data), world), num_workers, progress)
            self._verify([found for part in gather_objects([prepared.found for prepared in shared]) for found in part])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int | tuple[int, int]) -> Any:
        """Item `index` as in epoch 0, or (epoch, index) as `EpochSampler` gives it."""
        epoch, position = index if isinstance(index, tuple) else (0, index)
        if not -len(self.data) <= position < len(self.data):
            raise IndexError(f"item {position} of {len(self.data)}")
        position %= len(self.data)
        prepared = self._get(position)
        item = prepared.with_meta() if self.track_meta else prepared.item
        if self._random.transforms:
            item = self._randomise(item, mix_seed(self.seed, epoch, position))
        return item if self.track_meta else to_plain(item)

    def _randomise(self, item: Any, seed: int) -> Any:
        # A copy, because transforms keep their draws in attributes and threads would overwrite each other's.
        transform = copy.deepcopy(self._random)
        transform.set_random_state(seed)
        with torch.random.fork_rng(devices=[]):  # for transforms that draw from PyTorch's generator, such as TorchIO's
            torch.default_generator.manual_seed(seed)
            return transform(item)

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Plain values about each item."""
        return [entry.facts for entry in self.found]

    def edges(self, file: str) -> str | None:
        """What `verify.edges` says of a file that was read for this data set; None if it was not."""
        return self._edges.get(file)

    def _get(self, position: int) -> Prepared:
        """A prepared item that may be written into.

        Raises:
            InputError: it cannot be used.
        """
        if self._ram is not None:
            # Crops are views, and transforms such as NormalizeIntensity write in place: the stored item stays apart.
            return copy.deepcopy(self._ram[position])
        prepared = self._read_or_prepare(position)
        if prepared.item is None and prepared.found is not None:
            raise unusable(Found.of_plain(prepared.found))
        return prepared

    def _read_or_prepare(self, position: int) -> Prepared:
        if self._disk is None:
            return self._prepare(position)
        path = self._disk.path(self.data[position])
        prepared = self._disk.read(path)
        if prepared is None:
            prepared = self._prepare(position)
            if prepared.item is not None:
                self._disk.write(path, prepared)
        return prepared

    def _prepare(self, position: int) -> Prepared:
        """Run the deterministic transforms; the result has no item where the loader found an error.

        Raises:
            InputError: a file of the item cannot be read.
        """
        item, found = copy.deepcopy(self.data[position]), None
        try:
            if self._loader is not None:
                item, found = self._loader.look(item)
                if found.failed:
                    return Prepared(None, {}, found.to_plain())
            return Prepared.of(self._fixed(item, start=int(found is not None), threading=True), found)
        except Exception as error:
            if find_input_error(error) is not None:  # a transform has already said it in one sentence
                raise
            cause = _first_cause(error)
            # With a named reader MONAI drops the reason and says only that no reader was found.
            if not isinstance(cause, UNREADABLE) and "cannot find a suitable reader" not in str(cause):
                raise
            reason = str(cause).strip().splitlines()[0].rstrip(".") if str(cause).strip() else type(cause).__name__
            raise InputError(
                f"Item {position} of the list cannot be read ({reason}): {self.data[position]}. Replace or remove it; "
                "`python -m mae_tools check` finds all such files."
            ) from error

    def _fill(self, positions: Sequence[int], num_workers: int, progress: bool, in_ram: bool = False) -> list[Prepared]:
        """Prepare items in threads, with a progress bar on the first rank; the items themselves only if `in_ram`."""

        def ensure(position: int) -> Prepared:
            if self._disk is not None:
                if self._loader is None and self._disk.path(self.data[position]).exists():
                    return Prepared(None, {})
                return self._read_or_prepare(position)._replace(item=None, affines={})
            if in_ram:
                return self._prepare(position)
            return Prepared(None, {}, self._loader.look(copy.deepcopy(self.data[position]))[1].to_plain())

        pool = ThreadPoolExecutor(max(1, num_workers))
        try:
            results = pool.map(ensure, positions)
            return list(tqdm(results, "Preparing", len(positions), disable=not progress or rank_and_world()[0] > 0))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error the remaining items are not worth waiting for

    def _verify(self, plain: Sequence[dict[str, Any] | None]) -> None:
        """Print what was found in the items.

        Raises:
            InputError: some cannot be used.
        """
        if self._loader is None:
            return
        self.found = found = [Found.of_plain(entry) for entry in plain if entry is not None]
        self._edges = {file: edge for entry in found for file, edge in entry.edges.items()}
        problems = [problem for entry in found for problem in entry.problems] + self._loader.sum_up(found)
        if is_main():
            show(problems)
        refuse(problems)
