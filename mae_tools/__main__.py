"""`python -m mae_tools <command>`: everything around the bundles that is not a bundle run itself."""

import functools
import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any

import fire

from bundle_runtime.check.check import check
from custom_components.errors import InputError, install_excepthook

from .compare.command import compare
from .demo import demo
from .demo_data import make_abdomen, make_heads, make_histology, make_lesions, make_radiographs
from .demo_data.slide import make_slides
from .package import package
from .sources import SOURCES
from .tiles.tiles import tiles
from .weights.cli import WeightsCommands


def _compare(path_a: str, path_b: str, name_a: str = "A", name_b: str = "B", out: str | None = None) -> str:
    """Compare two evaluations of the same cases: a table by organ, region or class, and paired differences.

    Args:
        path_a: output folder of one evaluation.
        path_b: output folder of the other; differences are B minus A.
        name_a: what to call the first.
        name_b: what to call the second.
        out: folder for comparison.txt and comparison.json; None only prints.
    """
    return compare(path_a, path_b, name_a, name_b, write=out)[0]


def _quiet(command: Any) -> Any:
    """Fire prints what a command returns; these have already printed what a reader wants."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        # Fire reads `--parity false` as text, which is true; and it gives most flags by position.
        command(*map(_truth, args), **{key: _truth(value) for key, value in kwargs.items()})

    return run


def _truth(value: Any) -> Any:
    """`true` and `false` as what they mean; anything else as it is."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


_WEIGHTS = WeightsCommands()
COMMANDS: dict[str, Any] = {
    "datalist": {name: _quiet(source) for name, source in SOURCES.items()},
    "check": _quiet(check),
    "draw": {
        "abdomen": _quiet(make_abdomen),
        "heads": _quiet(make_heads),
        "histology": _quiet(make_histology),
        "lesions": _quiet(make_lesions),
        "radiographs": _quiet(make_radiographs),
        "slide": _quiet(make_slides),
    },
    "demo": _quiet(demo),
    "compare": _compare,
    "weights": {"show": _WEIGHTS.show, "convert": _WEIGHTS.convert, "verify": _WEIGHTS.verify},
    "package": _quiet(package),
    "tiles": _quiet(tiles),
}


def main() -> None:
    """Entry point."""
    install_excepthook()
    given = sys.argv[1:]
    command: Any = COMMANDS
    words = 0
    while isinstance(command, dict) and words < len(given) and given[words] in command:
        command = command[given[words]]
        words += 1
    if {"--help", "-h"} & set(given):
        given = [*given[:words], "--", "--help"]  # otherwise a command that takes further settings gets it as one
    elif callable(command):
        refuse_unknown_flags(command, given[words:])
    fire.Fire(COMMANDS, command=given, name="python -m mae_tools")


def refuse_unknown_flags(command: Any, arguments: Sequence[str]) -> None:
    """Stop before a command runs with a flag that it does not have: Fire would call it first and complain later.

    Raises:
        InputError: naming the flag and those that there are.
    """
    parameters = inspect.signature(command).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # it looks at its settings itself
    for argument in arguments:
        if argument == "--":  # what follows is for Fire
            return
        flag = re.match(r"--?([A-Za-z][\w-]*)", argument)
        name = flag[1].replace("-", "_") if flag else ""
        short = len(name) == 1 and any(known.startswith(name) for known in parameters)
        if name and not short and not {name, name.removeprefix("no")} & set(parameters):
            raise InputError(f"Unknown flag {argument}; there are --{', --'.join(parameters)}.")


if __name__ == "__main__":
    main()
