"""Pictures decoded, equalised and resized once into memory-mapped uint8 blocks that all processes and runs share."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from custom_components.distributed import first_on_main, is_main
from custom_components.errors import InputError

from ..files import write_atomically
from .image_blocks import (
    FULL,
    BlockBuilder,
    Contents,
    Reject,
    Stamp,
    damaged_blocks,
    look,
    read_contents,
    read_stamped,
    sweep,
    write_block,
)
from .image_prepare import Recipe
from .schema import Item

_FORMAT = 1  # of the pixels and files; to be raised when the same settings would give other pixels
_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 1024
_LIST_BYTES = 512  # of a row in the list of its block, generously


class ImageCache:
    """The prepared pictures of a list of items.

    The folder may serve several lists: a picture is known by path, size and modification time of its file, or by its
    content where the file was moved or touched, so only pictures that are in no block yet are decoded. Blocks appear
    whole or not at all: a build that was killed goes on where it was, and so does one that stopped at unreadable files.
    Damage of a block that keeps its size is found by `verify`.

    In a distributed run the main process builds and the others wait.

    Args:
        items: each with `image`, the path of one picture file; as `datalist.items` gives them.
        folder: made if it does not exist. It holds the settings, the blocks (see `image_blocks`) and, where files
            cannot be used, `rejects.json`.
        recipe: how a picture is prepared.
        skip_unreadable: go on without the files that cannot be used.
        num_workers: processes that decode; 0 decodes in this one.
        progress: show a progress bar meanwhile.

    Attributes:
        items: the usable items, in their order. `rows` counts in this list.
        rejects: the files that cannot be used, with reasons; never filled without `skip_unreadable`.
        digests: for each item the digest of its file's content, bytes (N,); equal for copies of a file.

    Raises:
        InputError: unusable files (all of them, in one sentence) without `skip_unreadable`, or no usable file at all;
            a folder made with other settings, not writable, or on a disk without enough space.
    """

    def __init__(
        self,
        items: Sequence[Item],
        folder: str | os.PathLike[str],
        recipe: Recipe,
        skip_unreadable: bool = False,
        num_workers: int = 0,
        progress: bool = True,
    ) -> None:
        self.recipe = recipe
        self.folder = Path(os.path.abspath(folder))
        self._maps: dict[int, np.ndarray] = {}
        files = [_file(item) for item in items]
        count = len(set(files))
        contents, digests, rejects = first_on_main(lambda: self._open(files, num_workers, progress))
        if rejects and not skip_unreadable:
            self._refuse(rejects, count)
        self.rejects = sorted(rejects)
        if not digests:
            reason = f" (the first: {self.rejects[0].file}: {self.rejects[0].reason})" if rejects else ""
            raise InputError(f"None of the {count} pictures for the cache {self.folder} can be used{reason}.")
        if rejects and is_main():
            path = self.folder / "rejects.json"
            first = f"the first {self.rejects[0].file}: {self.rejects[0].reason}"
            print(f"cache: {len(rejects)} of {count} pictures are left out, {first}; all are in {path}.", flush=True)
        self.items = [item for item, file in zip(items, files, strict=True) if file in digests]
        # Arrays, not paths: a copy of this object in a worker stays small.
        used = [digests[file] for file in files if file in digests]
        self.digests = np.array(used, "S32")
        self._blocks = contents.blocks
        self._rows = np.array([contents.rows[name] for name in used], np.int32)  # N 2: block, row

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # another process maps the files itself

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a picture."""
        return self.recipe.channels, self.recipe.size, self.recipe.size

    def rows(self, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """The pictures of some items, copied out of the blocks.

        Args:
            indices: positions in `items`, (B,).

        Returns:
            uint8 (B, C, H, W).

        Raises:
            IndexError: there is no such item.
        """
        places = self._rows[np.asarray(indices, np.int64).reshape(-1)]
        pixels = torch.empty((len(places), *self.shape), dtype=torch.uint8)
        target = pixels.numpy()
        for position, (block, row) in enumerate(places.tolist()):
            target[position] = self._map(block)[row]
        return pixels

    def verify(self) -> None:
        """Read all blocks of the folder and compare their checksums; for one process, while no other builds.

        Raises:
            InputError: some are damaged; their lists were removed, so that the next run makes their pictures anew.
        """
        damaged = list(damaged_blocks(self.folder))
        for path, _ in damaged:
            path.unlink()
        if damaged:
            listed = "; ".join(text for _, text in damaged)
            raise InputError(
                f"cache: {len(damaged)} block(s) of {self.folder} are damaged: {listed}; start again, and their "
                "pictures are made anew."
            )

    def _map(self, block: int) -> np.ndarray:
        if block not in self._maps:
            self._maps[block] = np.load(self._blocks[block], mmap_mode="r")
        return self._maps[block]

    def _open(
        self, files: Sequence[str], num_workers: int, progress: bool
    ) -> tuple[Contents, dict[str, str], list[Reject]]:
        """Find what is there and build what is not.

        Returns:
            The blocks, the digest of every usable file by path, and the other files.
        """
        distinct = list(dict.fromkeys(files))
        with self._writing(len(distinct)):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_settings()
        contents = read_contents(self.folder)
        missing = self._unknown(distinct, contents, num_workers)
        rejects: list[Reject] = []
        if missing:
            sweep(self.folder)
            rejects = self._build(missing, num_workers, progress and is_main())
            contents = read_contents(self.folder)
        refused = {reject.file for reject in rejects}
        digests = {}
        for file in distinct:
            found = contents.files.get((file, *look(file)))
            if found is not None:
                digests[file] = found
            elif file not in refused:
                rejects.append(Reject(file, "was changed while the cache was built; start again"))
        with self._writing(0):
            self._note_rejects(distinct, rejects)
        return contents, digests, rejects

    def _check_settings(self) -> None:
        """Compare the settings with those that the folder was made with; note them in a new one."""
        path = self.folder / "settings.json"
        wanted = {"format": _FORMAT, **self.recipe.settings()}
        if not path.exists():
            write_atomically(path, json.dumps(wanted, indent=2) + "\n")
            return
        try:
            noted = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(f"cache: {path} is damaged ({error}); remove the folder or name another one.") from error
        other = [key for key in {**wanted, **noted} if wanted.get(key) != noted.get(key)]
        if other:
            listed = "; ".join(f"{key}: {_said(noted.get(key))} there, {_said(wanted.get(key))} here" for key in other)
            raise InputError(
                f"cache: the folder {self.folder} was made with other settings ({listed}); name another one with "
                "--cache <another folder>, remove this one, or go back to its settings."
            )

    def _unknown(self, files: Sequence[str], contents: Contents, num_workers: int) -> list[str]:
        """The files whose pictures are in no block; those that were moved or touched are noted under their new name."""
        seen = {file: look(file) for file in files}
        changed = [file for file in files if (file, *seen[file]) not in contents.files]
        sizes = {size for _, size, _ in contents.files}
        again = [file for file in changed if seen[file][0] in sizes]
        with ThreadPoolExecutor(max(1, num_workers)) as pool:
            stamps = dict(zip(again, pool.map(_stamp, again), strict=True))
        known = {file: stamp for file, stamp in stamps.items() if stamp is not None and stamp.digest in contents.rows}
        if known:
            with self._writing(len(known)):
                write_block(self.folder, np.empty(0, np.uint8), [], known)
            contents.files.update({(file, stamp.size, stamp.mtime_ns): stamp.digest for file, stamp in known.items()})
        return [file for file in changed if file not in known]

    def _build(self, files: Sequence[str], num_workers: int, progress: bool) -> list[Reject]:
        """Decode files into new blocks."""
        if shutil.disk_usage(self.folder).free < self._needed(len(files)):
            self._stop(errno.ENOSPC, "not enough space", len(files))
        # Small enough that little is lost by a kill, and that all workers have something to do.
        share = max(16, math.ceil(len(files) / (4 * max(1, num_workers))))
        rows = max(1, min(_BLOCK_BYTES // math.prod(self.shape), _BLOCK_ROWS, share))
        plan = [files[start : start + rows] for start in range(0, len(files), rows)]
        loader: DataLoader = DataLoader(
            BlockBuilder(self.recipe, self.folder, plan),
            batch_size=None,
            num_workers=min(num_workers, len(plan)),
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # its own: building a cache must not shift the random numbers of the run
        )
        rejects: list[Reject] = []
        left = len(files)
        with tqdm(total=left, desc="Caching pictures", disable=not progress) as bar:
            for outcome in loader:
                if outcome.failure is not None:
                    number, reason = outcome.failure
                    self._stop(number, reason, left)
                rejects += outcome.rejects
                left -= outcome.looked_at
                bar.update(outcome.looked_at)
        return rejects

    def _needed(self, pictures: int) -> int:
        """Bytes that some pictures take."""
        return pictures * (math.prod(self.shape) + _LIST_BYTES)

    @contextmanager
    def _writing(self, pictures: int) -> Iterator[None]:
        """Say in a sentence why the folder cannot be written; `pictures` are still to come."""
        try:
            yield
        except OSError as error:
            self._stop(error.errno or 0, error.strerror or str(error), pictures)

    def _stop(self, number: int, reason: str, pictures: int) -> NoReturn:
        if number in FULL:
            needed, free = self._needed(pictures), shutil.disk_usage(self.folder).free
            raise InputError(
                f"cache: the disk of {self.folder} is too full: the pictures still to be cached need {needed} bytes "
                f"({needed / 1e9:.2f} GB), {free} bytes ({free / 1e9:.2f} GB) are free; free some space and start "
                "again (what is finished is kept), or name another folder."
            )
        raise InputError(f"cache: the folder {self.folder} cannot be used ({reason}); name one that can be written.")

    def _note_rejects(self, files: Sequence[str], rejects: Sequence[Reject]) -> None:
        """Bring `rejects.json` up to date for the files of this list; those of other lists stay."""
        path = self.folder / "rejects.json"
        try:
            noted = dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
        except (ValueError, TypeError):  # a mere report, made anew for the files of this list
            noted = {}
        here = set(files)
        now = {file: reason for file, reason in noted.items() if file not in here} | dict(rejects)
        if now:
            write_atomically(path, json.dumps(now, indent=2, sort_keys=True) + "\n")
        else:
            path.unlink(missing_ok=True)

    def _refuse(self, rejects: Sequence[Reject], count: int) -> NoReturn:
        listed = "; ".join(f"{reject.file}: {reject.reason}" for reject in sorted(rejects)[:5])
        more = f"; and {len(rejects) - 5} more" if len(rejects) > 5 else ""
        raise InputError(
            f"{len(rejects)} of {count} pictures cannot be used: {listed}{more}. All are listed in "
            f"{self.folder / 'rejects.json'}; replace or remove them, or go on without them: --skip_unreadable true."
        )


def _file(item: Item) -> str:
    image = item["image"]
    if isinstance(image, (list, tuple)) and len(image) == 1:
        image = image[0]
    if not isinstance(image, (str, os.PathLike)):
        raise InputError(f"image is {image!r}; the picture cache takes one file an item.")
    return os.path.abspath(image)


def _stamp(file: str) -> Stamp | None:
    """The stamp of a file as it is now; None where it cannot be read, which decoding then reports."""
    try:
        return read_stamped(file)[0]
    except InputError:
        return None


def _as_it_is(outcome: Any) -> Any:
    """Keeps the loader from turning numbers into tensors; a named function, so that workers can be spawned."""
    return outcome


def _said(value: Any) -> str:
    return "unset" if value is None else str(value)
