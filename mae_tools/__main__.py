"""`python -m mae_tools <command>`: everything around the bundles that is not a bundle run itself."""

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fire

from custom_components.errors import InputError, install_excepthook

# Command -> the module and what in it: a function, or a table of them. Nothing is imported before it is asked for, and
# the package of a bundle holds some of these modules only.
COMMANDS = {
    "datalist": "mae_tools.sources:SOURCES",
    "check": "mae_tools.check.command:check",
    "draw": "mae_tools.demo_data:PAINTERS",
    "demo": "mae_tools.demo:demo",
    "compare": "mae_tools.__main__:_compare",
    "weights": "mae_tools.weights.cli:COMMANDS",
    "package": "mae_tools.package:package",
    "tiles": "mae_tools.tiles.tiles:tiles",
}
_ROOT = Path(__file__).resolve().parents[1]


def available() -> list[str]:
    """The commands whose modules are here."""
    return [name for name, place in COMMANDS.items() if _file(place) is not None]


def module_of(command: str) -> str:
    """The module of a command, as it is imported."""
    return COMMANDS[command].partition(":")[0]


def _file(place: str) -> Path | None:
    path = _ROOT.joinpath(*place.partition(":")[0].split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def resolve(command: str) -> Any:
    """A command as Fire takes it: a function, or a table of functions.

    Raises:
        InputError: it is unknown, or not part of this package of a bundle.
    """
    if command not in COMMANDS:
        raise InputError(f"There is no command '{command}'; there are {', '.join(available())}.")
    if command not in available():
        raise InputError(
            f"The command '{command}' does not travel in the package of a bundle (here are {', '.join(available())}); "
            "use the repository that the bundle comes from."
        )
    module, _, name = COMMANDS[command].partition(":")
    found = _compare if name == _compare.__name__ else getattr(importlib.import_module(module), name)
    return {word: _quiet(inner) for word, inner in found.items()} if isinstance(found, Mapping) else _quiet(found)


def _compare(path_a: str, path_b: str, name_a: str = "A", name_b: str = "B", out: str | None = None) -> str:
    """Compare two evaluations of the same cases: a table by organ, region or class, and paired differences.

    Args:
        path_a: output folder of one evaluation.
        path_b: output folder of the other; differences are B minus A.
        name_a: what to call the first.
        name_b: what to call the second.
        out: folder for comparison.txt and comparison.json; None only prints.
    """
    from .compare.command import compare

    return compare(path_a, path_b, name_a, name_b, write=out)[0]


def _quiet(command: Any) -> Any:
    """Fire prints whatever a command returns; a reader wants texts only, as commands print what they did."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        # Fire reads `--parity false` as text, which is true; and it gives most flags by position.
        result = command(*map(_truth, args), **{key: _truth(value) for key, value in kwargs.items()})
        if isinstance(result, str):
            print(result)

    return run


def _truth(value: Any) -> Any:
    """`true` and `false` as what they mean; anything else as it is."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def main() -> None:
    """Entry point."""
    install_excepthook()
    given = sys.argv[1:]
    asked = given[0] if given and not given[0].startswith("-") else None
    command: Any = {asked: resolve(asked)} if asked else {name: resolve(name) for name in available()}
    table, words = command, 0
    while isinstance(command, dict) and words < len(given) and given[words] in command:
        command = command[given[words]]
        words += 1
    if {"--help", "-h"} & set(given):
        given = [*given[:words], "--", "--help"]  # otherwise a command that takes further settings gets it as one
    elif callable(command):
        refuse_unknown_flags(command, given[words:])
    fire.Fire(table, command=given, name="python -m mae_tools")


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
