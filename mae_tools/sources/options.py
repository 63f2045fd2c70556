"""Settings of sources that are more than a word: lists of names, and tables by case pattern."""

import fnmatch
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bundle_runtime.data.find import some
from custom_components.errors import InputError


def name_list(names: str | Iterable[object], key: str) -> list[str]:
    """Names given as a list or as one text, with or without brackets: `[a, b]`, `a,b`.

    Raises:
        InputError: none, or one of them twice.
    """
    if isinstance(names, str):
        names = [part.strip().strip("'\"") for part in _unwrapped(names.strip()).split(",")]
    listed = [str(name) for name in names]
    if not listed or "" in listed or len(set(listed)) != len(listed):
        raise InputError(f"{key} is {listed}; expected different names, such as [Effusion, Mass].")
    return listed


def _unwrapped(text: str) -> str:
    """A text without the brackets around all of it; those of a name stay, as in `Edema (mild), Mass (large)`."""
    closing = {"[": "]", "(": ")"}.get(text[:1])
    depths = list(itertools.accumulate((letter == text[0]) - (letter == closing) for letter in text))
    return text[1:-1] if closing and 0 in depths and depths.index(0) == len(text) - 1 else text


def read_table(text: str | Mapping[str, Any] | None, key: str, example: str) -> Mapping[str, Any]:
    """A table given as an argument, as such or as JSON; {} for None.

    Raises:
        InputError: neither.
    """
    table: Any = {} if text is None else text
    if isinstance(text, str):
        try:
            table = json.loads(text)
        except ValueError as error:
            raise InputError(f"{key} is not valid JSON ({error}); expected e.g. {example}.") from error
    if not isinstance(table, Mapping):
        raise InputError(f"{key} is {table!r}, expected a table by case pattern, e.g. {example}.")
    return table


def fitting(pattern: str, cases: Sequence[str], key: str) -> list[str]:
    """The cases that a pattern such as `btcv_*` fits.

    Raises:
        InputError: none.
    """
    matching = fnmatch.filter(cases, str(pattern))
    if not matching:
        raise InputError(f"{key}: the pattern {pattern!r} fits none of the cases {some(cases)}.")
    return matching
