"""A table as people, R and spreadsheets write it: the one reader of CSV and TSV files."""

import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from custom_components.errors import InputError

from .find import some
from .sequences import file_stem

_SEPARATORS = ",;\t"
_HEAD = 100_000  # characters in which the first line ends
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_MISSING = {"nan", "-nan", "na", "n/a", "#n/a", "#na", "<na>", "null"}


class Row(NamedTuple):
    """One row: its line in the file, from 1 on, and its cells by column."""

    line: int
    cells: dict[str, str]


class Table:
    """The rows of a CSV or TSV file.

    UTF-8 or UTF-16; separated by what parts its first line into most columns (comma, semicolon, tab) or by what a line
    `sep=;` names. Cells are stripped of spaces, words for missing values (NA, nan, null) are "", empty rows left out.

    Args:
        path: the file.

    Attributes:
        path: the same.
        columns: names of the columns, in their order.
        rows: list of `Row`.

    Raises:
        InputError: unreadable, no rows, or a row with more cells than there are columns.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        text = self._text()
        named = re.match(r'"?sep=(.)"?\r?\n', text)
        begin = text[named.end() :] if named else text
        separator = named[1] if named else _separator(begin)
        lines = [(number + bool(named), cells) for number, cells in self._lines(begin, separator) if any(cells)]
        if len(lines) < 2:
            raise InputError(f"{path}: the table has no rows; expected a line of column names and rows below it.")
        self.columns = lines[0][1]
        self.rows = [Row(number, self._cells(number, cells)) for number, cells in lines[1:]]

    def _text(self) -> str:
        try:
            content = Path(self.path).read_bytes()
            return content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.path}: the table is not in UTF-8; save it again in UTF-8 (in a spreadsheet program: save as "
                "'CSV UTF-8')."
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.path}: the table cannot be read ({error.strerror or error}); expected a CSV file in UTF-8."
            ) from error

    def _lines(self, text: str, separator: str) -> list[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
        except csv.Error as error:
            raise InputError(
                f"{self.path}: the table cannot be read ({error}); expected a CSV file in UTF-8."
            ) from error

    def _cells(self, number: int, cells: list[str]) -> dict[str, str]:
        width = len(self.columns)
        if any(cells[width:]):
            raise InputError(
                f"{self.path}: line {number} has {len(cells)} cells, and there are {width} columns; put quotes around "
                "a cell that contains the separator."
            )
        known = ["" if cell.lower() in _MISSING else cell for cell in cells]
        return dict(zip(self.columns, known + [""] * (width - len(cells)), strict=False))

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

    def mapping(self, key: Sequence[str], value: Sequence[str]) -> dict[str, str]:
        """What one column says of the other, without the rows where one of them is empty.

        Args:
            key: names that the first column may have.
            value: names of the second.

        Raises:
            InputError: a column is missing, or a key has two values; named by their lines.
        """
        first, second = self.column(*key), self.column(*value)
        found: dict[str, tuple[str, int]] = {}
        for line, cells in self.rows:
            if cells[first] and cells[second]:
                known, before = found.setdefault(cells[first], (cells[second], line))
                if known != cells[second]:
                    raise InputError(
                        f"{self.path}: {first} {cells[first]} has the {second} {known} in line {before} and "
                        f"{cells[second]} in line {line}; keep one of them."
                    )
        return {name: known for name, (known, _) in found.items()}


def _separator(text: str) -> str:
    """What parts the first line that is not blank into most cells, quotes respected."""
    unquoted = re.sub(r'"(?:[^"]|"")*"', '""', text[:_HEAD])
    first = next((line for line in unquoted.splitlines() if line.strip()), "")
    return max(_SEPARATORS, key=first.count)


def of_cases(found: dict[str, str], cases: Sequence[str], path: str | Path, what: str) -> dict[str, str]:
    """Case -> what a `Table.mapping` says of it; a case goes by its path, or by a name or stem that no other has.

    Raises:
        InputError: some are not named, or one has two values under two spellings.
    """
    said: dict[str, set[str]] = {}
    for name, value in found.items():
        for spelling in _spellings(name):
            said.setdefault(spelling, set()).add(value)
    uses = Counter(spelling for case in cases for spelling in _spellings(case))
    result = {}
    for case in cases:
        own = [spelling for spelling in _spellings(case) if uses[spelling] == 1]
        values = {found[name] for name in {case, *own} if name in found} | (
            said.get(case, set()) if case in own else set()
        )
        if len(values) > 1:
            raise InputError(f"{path}: names {' and '.join(sorted(values))} as {what} of {case}; keep one of them.")
        several = [said.get(spelling, set()) for spelling in own]
        chosen = next((next(iter(each)) for each in [values, *several] if len(each) == 1), None)
        if chosen is not None:
            result[case] = chosen
    absent = [case for case in cases if case not in result]
    if absent:
        raise InputError(f"{path}: names no {what} for {some(absent)}; add a row for each case.")
    return result


def _spellings(name: str) -> list[str]:
    """A path as it is, its file's name, and that without its ending."""
    return list(dict.fromkeys((name, Path(name.replace("\\", "/")).name, file_stem(name))))


def read_patients(path: str | Path | None, cases: Sequence[str]) -> dict[str, str]:
    """Case -> patient from a table with the columns `case` and `patient_id`, see `of_cases`; {} without one.

    Raises:
        InputError: unreadable, without these columns, a case with two patients, or one that is not named.
    """
    if path is None:
        return {}
    return of_cases(Table(path).mapping(("case",), ("patient_id",)), cases, path, "patient")


def plain(name: str) -> str:
    """A name without case, spaces and punctuation, to compare it."""
    return re.sub(r"[\W_]", "", name.lower())


def nearest(name: str, known: Sequence[str]) -> str:
    """Advice for a name that is not known, with its full stop: the nearest known ones, or all of them."""
    spellings = {plain(one): one for one in known}
    near = [spellings[one] for one in difflib.get_close_matches(plain(name), spellings, n=3)]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {some(filter(None, known), 20)}."
