"""Pictures decoded, equalised and resized once into memory-mapped uint8 blocks that all processes and runs share."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from custom_components.distributed import first_on_main, is_main
from custom_components.errors import InputError
from torch import Tensor
from tqdm import tqdm

from ..files import write_json
from .cache_folder import CacheFolder
from .image_blocks import BlockBuilder, Contents, Reject, look, read_contents, sweep
from .image_prepare import Recipe
from .inference import CaseLoader, InferenceInputs
from .schema import Item
from .verify import refuse, show
from .verify_pictures import Seen, file_problems

if TYPE_CHECKING:  # handed in by stages that have one
    from .record import Record

_FORMAT = 5  # of the pixels and files; to be raised when the same settings would give other pixels
_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 1024
_LIST_BYTES = 640  # of a row in the list of its block, generously


class ImageCache:
    """The prepared pictures of a list of items.

    The folder may serve several lists: a picture is known by path, size and modification time of its file, or by its
    content where the file was moved or touched, so only pictures that are in no block yet are decoded. Blocks appear
    whole or not at all: a build that was killed goes on where it was, and so does one that stopped at unreadable files.
    The pass that decodes also verifies: what is wrong with pictures that can be used is printed at every start.

    In a distributed run the main process builds and the others wait.

    Args:
        items: each with `image`, the path of one picture file; as `datalist.items` gives them.
        folder: made if it does not exist. It holds the settings, the blocks (see `image_blocks`) and, where files
            cannot be used, `rejects.json`.
        recipe: how a picture is prepared.
        skip_unreadable: go on without the files that cannot be used.
        inputs: of a run that lists failures; told what each file holds, and then nothing is refused here.
        record: of the network's training; an item's `warning` says how its picture differs from those.
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
        inputs: InferenceInputs | None = None,
        record: "Record | None" = None,
    ) -> None:
        self.recipe = recipe
        self._place = CacheFolder(folder, self.recipe.settings(), _FORMAT)
        self.folder = self._place.path
        self._maps: dict[int, np.ndarray] = {}
        files = [_file(item) for item in items]
        self._patients: dict[str, str] = {}
        contents, digests, rejects = first_on_main(lambda: self._open(files, num_workers, progress))
        self.rejects = sorted(rejects)
        self._edges = {file: contents.facts[name].edges for file, name in digests.items()}
        self._edges.update({reject.file: "unusable" for reject in rejects})
        seen = {file: contents.facts[name].seen(self._patients.get(name, "")) for file, name in digests.items()}
        seen.update({reject.file: Seen(reject.reason) for reject in rejects})
        if inputs is not None:
            items = inputs.take(items, {item["file"]: seen[file] for item, file in zip(items, files, strict=True)})
            files = [_file(item) for item in items]
        else:
            self._judge(items, files, seen, skip_unreadable)
        used = [(item, digests[file]) for item, file in zip(items, files, strict=True) if file in digests]
        self.items = [item for item, _ in used]
        facts = [seen[_file(item)].facts() for item in self.items]
        self._sides = np.array([(entry["side"], entry["grey"]) for entry in facts], np.int32).reshape(-1, 2)
        self._looks = np.array([entry["look"] for entry in facts], "S")
        if record is not None:
            self.items = [
                {**item, "warning": "; ".join(filter(None, [item.get("warning"), *record.differences(found)]))}
                for item, found in zip(self.items, self.facts, strict=True)
            ]
        # Arrays, not paths: a copy of this object in a worker stays small.
        self.digests = np.array([name for _, name in used], "S32")
        self._blocks = contents.blocks
        self._rows = np.array([contents.rows[name] for _, name in used], np.int32)  # N 2: block, row

    def _judge(self, items: Sequence[Item], files: Sequence[str], seen: Mapping[str, Seen], skip: bool) -> None:
        """Print what is wrong with the pictures, and refuse what cannot be used, if that is not to be skipped."""
        count = len(seen)
        if self.rejects and not skip:
            self._refuse(self.rejects, count)
        if len(self.rejects) == count:
            first = f" (the first: {self.rejects[0].file}: {self.rejects[0].reason})" if self.rejects else ""
            raise InputError(f"None of the {count} pictures for the cache {self.folder} can be used{first}.")
        parts: dict[str, list[Item]] = {}
        for item, file in zip(items, files, strict=True):
            if not seen[file].problem:
                parts.setdefault(item.get("section", ""), []).append({**item, "image": file})
        problems = [problem for part, listed in parts.items() for problem in file_problems(part, listed, seen, skip)]
        if is_main():
            show(problems)
            if self.rejects:
                path = self.folder / "rejects.json"
                first = f"the first {self.rejects[0].file}: {self.rejects[0].reason}"
                print(
                    f"cache: {len(self.rejects)} of {count} pictures are left out, {first}; all are in {path}.",
                    flush=True,
                )
        refuse(problems)

    def edges(self, file: str) -> str | None:
        """What `verify.edges` says of a file of the list, "unusable" of one that is left out; None of another one."""
        return self._edges.get(os.path.abspath(file))

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What the training's record keeps of each picture."""
        pairs = zip(self._sides.tolist(), self._looks.tolist(), strict=True)
        return [{"picture": {"side": side, "grey": bool(grey), "look": look.decode()}} for (side, grey), look in pairs]

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}, "_edges": {}, "_patients": {}}  # another process maps the files itself

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
        self._place.make()
        contents = read_contents(self.folder)
        missing = [file for file in distinct if (file, *look(file)) not in contents.files]
        rejects: list[Reject] = []
        if missing:
            sweep(self.folder)
            rejects = self._build(missing, contents, num_workers, progress and is_main())
            contents = read_contents(self.folder)
        refused = {reject.file for reject in rejects}
        digests = {}
        for file in distinct:
            found = contents.files.get((file, *look(file)))
            if found is not None:
                digests[file] = found
            elif file not in refused:
                rejects.append(Reject(file, "was changed while the cache was built; start again"))
        with self._place.writing():
            self._note_rejects(distinct, rejects)
        return contents, digests, rejects

    def _build(self, files: Sequence[str], contents: Contents, num_workers: int, progress: bool) -> list[Reject]:
        """Read files and write those of unknown content into new blocks; the others were moved, touched or copied."""
        sizes = {size for _, size, _ in contents.files}
        self._place.require(self._needed(sum(look(file)[0] not in sizes for file in files)))
        # Small enough that little is lost by a kill, and that all workers have something to do.
        share = max(16, math.ceil(len(files) / (4 * max(1, num_workers))))
        rows = max(1, min(_BLOCK_BYTES // math.prod(self.shape), _BLOCK_ROWS, share))
        plan = [files[start : start + rows] for start in range(0, len(files), rows)]
        rejects: list[Reject] = []
        left = len(files)
        with tqdm(total=left, desc="Caching pictures", disable=not progress) as bar:
            while plan:
                builder = BlockBuilder(self.recipe, self.folder, plan, contents.rows)
                lost: list[Sequence[str]] = []
                for part, outcome in zip(plan, CaseLoader(builder, num_workers, batched=True), strict=True):
                    if outcome.failure is not None:
                        number, reason = outcome.failure
                        self._place.stop(number, reason, self._needed(left))
                    rejects += outcome.rejects
                    self._patients.update(outcome.patients)
                    left -= outcome.looked_at
                    bar.update(outcome.looked_at)
                    lost += [] if outcome.looked_at else [[file] for file in part]
                plan = lost  # a process died over them: each file alone, so that only the culprit is rejected
        return rejects

    def _needed(self, pictures: int) -> int:
        """Bytes that some pictures take."""
        return pictures * (math.prod(self.shape) + _LIST_BYTES)

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
            write_json(path, dict(sorted(now.items())))
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
