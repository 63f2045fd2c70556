"""The one exception for mistakes in data, files or settings."""

from collections.abc import Collection
from typing import TypeVar

Value = TypeVar("Value")


class InputError(ValueError):
    """Something the user gave is wrong: a file, a datalist, a setting, a checkpoint.

    The message is one clear sentence: which file or key, what was found, what was expected, what to do.
    """


def one_of(what: str, value: Value, allowed: Collection[Value]) -> Value:
    """Return a setting that is one of those allowed.

    Raises:
        InputError: it is not; the sentence names it and them.
    """
    if value not in allowed:
        raise InputError(f"{what} is {value!r}; choose one of {', '.join(map(str, allowed))}.")
    return value
