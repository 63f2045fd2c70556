"""What reading an item showed: problems in sentences, facts about the whole list, and what a fingerprint needs.

The pass that fills a cache, or loads the cases of an inference, verifies what it decodes: no file is read for that
alone. `python -m mae_tools check` says the same in the same words, and more.
"""

import dataclasses
import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.errors import InputError

EDGE_BYTES = 64 * 1024
_SHOWN = 40  # problems printed at a time
STRIPPED = 0.1  # least share of exact zeros in a skull-stripped head; cropped to the brain it still is about a third
CHECK_HINT = "python -m mae_tools check shows them all"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One finding: `level` is "error" (the item cannot be used) or "warning" (it can, but look at it)."""

    section: str
    case: str
    file: str
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message


class ItemInputError(InputError):
    """An item that is needed and cannot be used.

    Attributes:
        problems: its errors; lost on the way from a loader process, which sends the text alone.
    """

    problems: Sequence[Problem] = ()


@dataclasses.dataclass
class Found:
    """What was found in one item.

    Attributes:
        section: name of its list, where several are looked at.
        case: its name.
        image: its first file.
        problems: what is wrong with it.
        voxels: label value -> voxels or pixels; None without a label.
        tissues: tissue -> voxels, where a convention says what the values mean.
        unlabelled: classes that the datalist or the convention declares not drawn in this item.
        edges: file -> size and digest, see `edges`.
        facts: plain values that only concern the list as a whole, see the loader's `sum_up`.
    """

    section: str
    case: str
    image: str
    problems: list[Problem] = dataclasses.field(default_factory=list)
    voxels: dict[int, int] | None = None
    tissues: dict[str, int] | None = None
    unlabelled: list[str] = dataclasses.field(default_factory=list)
    edges: dict[str, str] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def errors(self) -> list[Problem]:
        """The problems for which the item cannot be used."""
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def failed(self) -> bool:
        """Whether any problem is an error."""
        return bool(self.errors)

    def add(self, level: str, file: str, message: str) -> None:
        """Note a problem of this item."""
        self.problems.append(Problem(self.section, self.case, file, level, message))

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists, numbers and strings, for a cache."""
        return _plain(dataclasses.asdict(self))

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> "Found":
        """The same again."""
        return cls(**{**plain, "problems": [Problem(**problem) for problem in plain["problems"]]})


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's: a cache that holds others is not read back."""
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def unusable(found: Found) -> ItemInputError:
    """The error for an item that is needed and has errors."""
    first, *others = found.errors
    more = f" (and {len(others)} more)" if others else ""
    error = ItemInputError(f"{first}{more}; python -m mae_tools check shows all such files.")
    error.problems = found.errors
    return error


def sentence(error: Exception, file: str) -> str:
    """What an error says of a file, without its name and the full stop."""
    return str(error).removeprefix(f"{file}: ").removesuffix(".")


def edges(content: bytes) -> str:
    """Size of a file and digest of its first and last 64 KiB: what `datalist.fingerprint` takes of it."""
    ends = content[:EDGE_BYTES] + content[max(len(content) - EDGE_BYTES, 0) :]
    return f"{len(content)} {hashlib.sha256(ends).hexdigest()}"


def parts_of(file: str) -> list[str]:
    """A file, and those with the voxels that the header of an `.mhd` or `.nhdr` names."""
    if not file.lower().endswith((".mhd", ".nhdr")):
        return [file]
    with open(file, encoding="latin-1") as stream:  # a header may end in the voxels themselves
        values = [re.split("[:=]", line)[-1].strip() for line in stream.read(EDGE_BYTES).splitlines()]
    patterns = [glob.escape(re.sub(r"%0?\d*d.*", "\0", value)).replace("\0", "*") for value in values if value]
    folder = glob.escape(os.path.dirname(file))
    found = [path for pattern in patterns for path in glob.glob(os.path.join(folder, pattern)) if os.path.isfile(path)]
    return list(dict.fromkeys([file, *sorted(found)]))


def edges_of(file: str) -> str:
    """The same, of which only these are read; with the voxels that a header names.

    Raises:
        OSError: it cannot be.
    """
    parts = parts_of(file)
    return combined_edges({part: _edges(part) for part in parts}) if len(parts) > 1 else _edges(file)


def _edges(file: str) -> str:
    size = os.path.getsize(file)
    with open(file, "rb") as stream:
        digest = hashlib.sha256(stream.read(EDGE_BYTES))
        stream.seek(max(size - EDGE_BYTES, 0))
        digest.update(stream.read(EDGE_BYTES))
    return f"{size} {digest.hexdigest()}"


def combined_edges(parts: Mapping[str, str]) -> str:
    """The same for an image of several files, from that of each, wherever they lie."""
    listed = "\n".join(sorted(f"{os.path.basename(file)} {part}" for file, part in parts.items()))
    return f"{len(parts)} files {hashlib.sha256(listed.encode(errors='surrogateescape')).hexdigest()}"


def refuse(problems: Iterable[Problem], hint: str = CHECK_HINT, path: Path | None = None) -> None:
    """Refuse to go on if any of the problems is an error.

    Raises:
        InputError: with the number of errors, the first of them, and where to see all.
    """
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        where = f"{path}: " if path is not None else ""
        raise InputError(f"{where}{len(errors)} error(s) in the data, the first: {errors[0]} ({hint}).")


def show(problems: Iterable[Problem], rest: str = CHECK_HINT) -> None:
    """Print one line a problem to stderr: the first ones, errors before warnings."""
    ordered = sorted(problems, key=lambda problem: problem.level)
    for problem in ordered[:_SHOWN]:
        print(f"{problem.level}: {problem}", file=sys.stderr)
    if len(ordered) > _SHOWN:
        print(f"note: {len(ordered) - _SHOWN} more, {rest}", file=sys.stderr)


def of_list(part: str) -> str:
    """` of training`, or nothing where a list has no name."""
    return f" of {part}" if part else ""


def millimetres(lengths: Sequence[float] | np.ndarray) -> str:
    """`(1.5, 1.5, 2)` as `1.5 x 1.5 x 2 mm`."""
    return " x ".join(f"{value:.3g}" for value in lengths) + " mm"
