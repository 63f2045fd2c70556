"""A CSV table as people and spreadsheets write it: any usual separator, columns found by name, rows by line."""

import csv
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bundle_runtime.data.find import some
from custom_components.errors import InputError

_SEPARATORS = ",;\t"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BLANKS = {"", "nan", "na", "n/a", "null"}


class Row(NamedTuple):
    """One row: its line in the file, from 1 on, and its cells by column."""

    line: int
    cells: dict[str, str]


class CsvTable:
    """The rows of a CSV file; cells are stripped of spaces around them, and empty rows left out.

    Args:
        path: the file, UTF-8, separated by commas, semicolons or tabs.

    Attributes:
        path: the same.
        columns: names of the columns, in their order.
        rows: list of `Row`.

    Raises:
        InputError: unreadable, no rows, or a row with more cells than there are columns.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        try:
            with open(path, encoding="utf-8-sig", newline="") as stream:
                first = stream.readline()
                separator = max(_SEPARATORS, key=first.count)
                stream.seek(0)
                reader = csv.reader(stream, delimiter=separator)
                lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}: the table is not in UTF-8{_instead(path)}; save it again in UTF-8 (in a spreadsheet program: "
                "save as 'CSV UTF-8')."
            ) from error
        except (OSError, csv.Error) as error:
            raise InputError(f"{path}: the table cannot be read ({error}); expected a CSV file in UTF-8.") from error
        lines = [(number, cells) for number, cells in lines if any(cells)]
        if len(lines) < 2:
            raise InputError(f"{path}: the table has no rows; expected a line of column names and rows below it.")
        self.columns = lines[0][1]
        self.rows = [Row(number, self._cells(number, cells)) for number, cells in lines[1:]]

    def _cells(self, number: int, cells: list[str]) -> dict[str, str]:
        width = len(self.columns)
        if any(cells[width:]):
            raise InputError(
                f"{self.path}: line {number} has {len(cells)} cells, and there are {width} columns; put quotes around "
                "a cell that contains the separator."
            )
        return dict(zip(self.columns, cells + [""] * (width - len(cells)), strict=False))

    def column(self, *names: str, key: str = "") -> str:
        """The column of this name, in the table's spelling; case, spaces and punctuation do not matter.

        Args:
            *names: the name, and others that it may have.
            key: the setting that gave the name, for the message.

        Raises:
            InputError: there is none, or two.
        """
        wanted = {plain(name) for name in names}
        found = [column for column in self.columns if column in names] or [
            column for column in self.columns if plain(column) in wanted
        ]
        if len(found) == 1:
            return found[0]
        source = f"{key} names {names[0]!r}, and " if key else ""
        if found:
            raise InputError(
                f"{self.path}: {source}{len(found)} columns are called {' and '.join(found)}; rename all but one."
            )
        raise InputError(f"{self.path}: {source}there is no column {names[0]!r}; {nearest(names[0], self.columns)}")


def _instead(path: str | Path) -> str:
    """What a file is that is not UTF-8, where its first bytes tell."""
    with open(path, "rb") as stream:
        return " but in UTF-16 ('Unicode text')" if stream.read(2) in _UTF_16 else ""


def is_blank(cell: str) -> bool:
    """Whether a cell says nothing: empty, nan, NA or null."""
    return cell.lower() in _BLANKS


def plain(name: str) -> str:
    """A name without case, spaces and punctuation, to compare it."""
    return re.sub(r"[\W_]", "", name.lower())


def nearest(name: str, known: Sequence[str]) -> str:
    """Advice for a name that is not known, with its full stop: the nearest known ones, or all of them."""
    spellings = {plain(one): one for one in known}
    near = [spellings[one] for one in difflib.get_close_matches(plain(name), spellings, n=3)]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {some(filter(None, known), 20)}."


def name_list(names: str | Iterable[object], key: str) -> list[str]:
    """Names given as a list or as one text, with or without brackets: `[a, b]`, `a,b`.

    Raises:
        InputError: none, or one of them twice.
    """
    if isinstance(names, str):
        names = [part.strip().strip("'\"") for part in names.strip().strip("[]()").split(",")]
    listed = [str(name) for name in names]
    if not listed or "" in listed or len(set(listed)) != len(listed):
        raise InputError(f"{key} is {listed}; expected different names, such as [Effusion, Mass].")
    return listed
