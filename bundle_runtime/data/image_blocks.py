"""Files of the picture cache: blocks of finished pixels, each with a list of what is in it.

A block is `block-<id>.npy`, uint8 (rows, C, size, size), and `block-<id>.json` beside it, which is written last: a
block without a whole list does not count, so nothing half-written is ever taken for finished. The id is made from the
content of the source files, so that two processes that build the same block write the same bytes under the same name.

A list holds `bytes`: the size of the pixel file, `rows`: a digest of the source file's content for each row, `facts`:
what its decoding showed, and `files`: size, modification time and digest of each source file by path. A list with
`files` alone says that they were moved or touched since, or are copies.
"""

import hashlib
import io
import json
import os
import time
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from custom_components.errors import InputError
from torch.utils.data import Dataset

from ..failures import sentence_of
from ..files import write_atomically
from .image_file import Picture, read_bytes, read_picture
from .image_prepare import Recipe
from .verify import edges, sentence
from .verify_pictures import Seen

_STALE_SECONDS = 600  # a temporary file this old belongs to a build that was killed


class Stamp(NamedTuple):
    """What a file was when it was read: size in bytes, modification time in ns, digest of the whole content."""

    size: int
    mtime_ns: int
    digest: str


class Reject(NamedTuple):
    """A file that gave no picture, and why."""

    file: str
    reason: str


class Facts(NamedTuple):
    """What a content showed: `verify_pictures.Seen` without what may name a patient, and `verify.edges`."""

    kind: str
    height: int
    width: int
    constant: bool
    modality: str
    view: str
    look: str
    edges: str

    @classmethod
    def of(cls, picture: Picture, content: bytes) -> "Facts":
        """The facts of a decoded file."""
        seen = Seen.of(picture)._asdict()
        return cls(**{name: seen[name] for name in cls._fields if name in seen}, edges=edges(content))

    def seen(self, patient: str = "") -> Seen:
        """The same as a check has it."""
        known = {name: value for name, value in self._asdict().items() if name != "edges"}
        return Seen(**known, patient=patient)


class Outcome(NamedTuple):
    """What became of the files of one planned block.

    Attributes:
        looked_at: number of files.
        rejects: those that cannot be used.
        failure: error number and text of writing the block, None if it was written.
        patients: the patient that a DICOM file names, by digest. It is kept out of the lists on disk.
    """

    looked_at: int
    rejects: list[Reject]
    failure: tuple[int, str] | None
    patients: dict[str, str]


@dataclass
class Contents:
    """What the blocks of a folder hold together.

    Attributes:
        blocks: pixel files.
        rows: block number and row, by digest.
        facts: what the content showed, by digest.
        files: digest by path, size and modification time. A path may occur with several contents, one after the other.
    """

    blocks: list[Path] = field(default_factory=list)
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    files: dict[tuple[str, int, int], str] = field(default_factory=dict)


def digest(content: bytes) -> str:
    """A 128-bit BLAKE2 digest, as hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_contents(folder: Path) -> Contents:
    """Read the lists of all blocks; a block whose pixels or list are not whole is left out with a warning."""
    contents = Contents()
    for path in sorted(folder.glob("block-*.json")):
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))
            files = {file: Stamp(*stamp) for file, stamp in listed["files"].items()}
            facts = {name: Facts(*found) for name, found in zip(listed["rows"], listed["facts"], strict=True)}
            if listed["rows"]:
                size = path.with_suffix(".npy").stat().st_size
                if size != listed["bytes"]:
                    raise ValueError(f"its pixel file has {size} bytes, expected {listed['bytes']}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(f"{path} is not whole and its pictures are made anew ({error}).", stacklevel=2)
            continue
        if listed["rows"]:
            block = len(contents.blocks)
            contents.blocks.append(path.with_suffix(".npy"))
            contents.rows.update({row_digest: (block, row) for row, row_digest in enumerate(listed["rows"])})
            contents.facts.update(facts)
        contents.files.update({(file, stamp.size, stamp.mtime_ns): stamp.digest for file, stamp in files.items()})
    # A list of moved files may outlive its block.
    contents.files = {key: found for key, found in contents.files.items() if found in contents.rows}
    return contents


def write_block(folder: Path, pixels: np.ndarray, rows: dict[str, Facts], files: dict[str, Stamp]) -> None:
    """Write a block, its list last.

    Args:
        folder: of the cache.
        pixels: uint8 (rows, C, size, size); empty for a list of moved files.
        rows: facts by digest, in their order.
        files: stamps by path.

    Raises:
        OSError: it could not be written; no file is left behind under a final name that counts.
    """
    listed: dict[str, Any] = {"bytes": 0, "rows": list(rows), "facts": list(rows.values()), "files": files}
    name = digest(json.dumps([listed["rows"], sorted(files.items())]).encode())
    if len(rows):
        buffer = io.BytesIO()
        np.save(buffer, pixels)
        listed["bytes"] = buffer.tell()
        write_atomically(folder / f"block-{name}.npy", buffer.getvalue())
    write_atomically(folder / f"block-{name}.json", json.dumps(listed) + "\n")


def sweep(folder: Path) -> None:
    """Remove what killed builds left behind: old temporary files, and pixels without a list."""
    for path in [*folder.glob(".block-*"), *folder.glob("block-*.npy")]:
        try:
            old = time.time() - path.stat().st_mtime > _STALE_SECONDS
            if old and not path.with_suffix(".json").exists():
                path.unlink()
        except FileNotFoundError:  # another process has just swept it or given it its final name
            continue


class BlockBuilder(Dataset):
    """Item k is the work of decoding the k-th planned list of files and writing them as a block.

    As a data set it runs in the workers of a PyTorch loader, which keeps their number, ends them when the main process
    is killed, and passes errors on.

    Args:
        recipe: the preparation of each picture.
        folder: of the cache.
        plan: files of each block.
        known: digests that are in a block already; files with such a content are noted, not decoded.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, plan: Sequence[Sequence[str]], known: Collection[str] = frozenset()
    ) -> None:
        self.recipe, self.folder, self.plan, self.known = recipe, folder, plan, frozenset(known)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Outcome:
        """Build block `number`."""
        paths = self.plan[number]
        pixels = np.empty((len(paths), self.recipe.channels, self.recipe.size, self.recipe.size), np.uint8)
        files: dict[str, Stamp] = {}
        rows: dict[str, Facts] = {}
        rejects, patients = [], {}
        for path in paths:
            try:
                stamp, content = read_stamped(path)
                if stamp.digest not in rows and stamp.digest not in self.known:
                    picture = read_picture(path, content)
                    pixels[len(rows)] = self.recipe.apply(picture.pixels)
                    rows[stamp.digest] = Facts.of(picture, content)
                    if picture.header[0]:
                        patients[stamp.digest] = picture.header[0]
                files[path] = stamp
            except InputError as error:
                rejects.append(Reject(path, sentence(error, path)))
            except Exception as error:  # whatever a decoder may raise, it is the failure of this file alone
                rejects.append(Reject(path, f"it could not be read ({sentence_of(error).removesuffix('.')})"))
        try:
            if files:
                write_block(self.folder, pixels[: len(rows)], rows, files)
        except OSError as error:
            return Outcome(len(paths), rejects, (error.errno or 0, error.strerror or str(error)), patients)
        return Outcome(len(paths), rejects, None, patients)

    def failed(self, number: int, reason: str) -> Outcome:
        """What stands for a block whose process died, for a `CaseLoader`; of several files none is to blame yet."""
        *others, last = self.plan[number]
        return Outcome(0, [], None, {}) if others else Outcome(1, [Reject(last, reason)], None, {})


def read_stamped(path: str) -> tuple[Stamp, bytes]:
    """A file's stamp and content. The time is taken first: a change while it is read shows at the next look.

    Raises:
        InputError: it cannot be read.
    """
    seen = look(path)
    content = read_bytes(path)
    return Stamp(len(content), seen[1], digest(content)), content


def look(path: str) -> tuple[int, int]:
    """Size and modification time (ns) of a file as it is now; (-1, -1) if it is not there."""
    try:
        found = os.stat(path)
    except OSError:  # decoding refuses it with the reason
        return -1, -1
    return found.st_size, found.st_mtime_ns
