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


def within(what: str, value: float, interval: str) -> float:
    """Return a setting that lies in an interval, written as "[0, 1)" or "(0, inf)".

    Raises:
        InputError: it does not; the sentence names it and the interval.
    """
    low, high = map(float, interval[1:-1].split(","))
    above, below = ("at least", value >= low) if interval[0] == "[" else ("above", value > low)
    if not (below and (value <= high if interval[-1] == "]" else value < high)):
        upper = f" and {'at most' if interval[-1] == ']' else 'below'} {high:g}" if high < float("inf") else ""
        raise InputError(f"{what} is {value}; it must be {above} {low:g}{upper}.")
    return value
