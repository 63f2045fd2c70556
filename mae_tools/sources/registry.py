"""The data set layouts by name: a module of this folder registers its own."""

from collections.abc import Callable
from typing import Any, TypeVar

Source = TypeVar("Source", bound=Callable[..., dict[str, Any]])
SOURCES: dict[str, Callable[..., dict[str, Any]]] = {}


def source(function: Source) -> Source:
    """Make a function the command `python -m mae_tools datalist <its name>`.

    Its first argument is the folder, `out` the datalist to write; it returns the datalist. The docstring is the
    command's help.
    """
    SOURCES[function.__name__] = function
    return function
