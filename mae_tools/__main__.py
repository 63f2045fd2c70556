"""`python -m mae_tools <command>`: everything around the bundles that is not a bundle run itself."""

import functools
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import fire
from bundle_runtime.failures import install_excepthook
from custom_components.errors import InputError
from fire import decorators
from fire.parser import DefaultParseValue

# Command -> the module and what in it: a function, or a table of them. Nothing is imported before it is asked for, and
# the package of a bundle holds some of these modules only.
COMMANDS = {
    "datalist": "mae_tools.sources:SOURCES",
    "check": "mae_tools.check.command:check",
    "draw": "mae_tools.demo_data:PAINTERS",
    "demo": "mae_tools.demo:demo",
    "doctor": "mae_tools.doctor.command:doctor",
    "compare": "mae_tools.compare.command:command",
    "embed": "mae_tools.embed:embed",
    "attention": "mae_tools.attention:attention",
    "roc": "mae_tools.embed:roc",
    "weights": "mae_tools.weights.cli:COMMANDS",
    "adopt": "mae_tools.adopt:adopt",
    "folds": "mae_tools.folds:folds",
    "package": "mae_tools.package:package",
    "tiles": "mae_tools.tiles.tiles:tiles",
}
_ROOT = Path(__file__).resolve().parents[1]
# Where Fire notes how to read arguments: its help lists attributes of a command, but for private ones.
decorators.FIRE_METADATA = "_fire_metadata"
_FURTHER = re.compile(r"\n {4}\*\*\w+: (.*(?:\n {5,}.*)*)")


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
    found = getattr(importlib.import_module(module), name)
    return {word: _quiet(inner) for word, inner in found.items()} if isinstance(found, Mapping) else _quiet(found)


def _quiet(command: Any) -> Any:
    """Fire prints whatever a command returns; a reader wants texts only, as commands print what they did."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        result = command(*args, **kwargs)
        if isinstance(result, str):
            print(result)

    parameters = inspect.signature(command).parameters.values()
    readers = {each.name: functools.partial(read_argument, each.name, each.annotation) for each in parameters}
    run.__doc__ = _for_fire(inspect.getdoc(command) or "")
    return decorators.SetParseFns(**readers)(run)


def _for_fire(text: str) -> str:
    """A docstring whose `**settings` stand above its arguments: Fire takes them for the end of the one before."""
    further = _FURTHER.search(text)
    if further is None:
        return text
    said = " ".join(further[1].split())
    return _FURTHER.sub("", text).replace("\n\nArgs:", f"\n\nOther flags: {said}\n\nArgs:", 1)


def read_argument(name: str, annotation: Any, text: str) -> Any:
    """A value of the command line as what its parameter takes: a folder called 2017 or a class 1_2 stays a text.

    Raises:
        InputError: a switch that is neither true nor false, or a list that cannot be read.
    """
    kinds = _kinds(annotation)
    value = {"true": True, "false": False}.get(text.lower(), DefaultParseValue(text))
    if kinds == {bool} and not isinstance(value, bool):
        raise InputError(f"{name} is {text!r}, expected true or false.")
    if kinds <= {str, Path, type(None)}:
        return None if value is None else text
    if isinstance(value, str) and text.startswith("[") and text.endswith("]") and kinds >= {str, Sequence}:
        return [part.strip().strip("'\"") for part in text[1:-1].split(",")]  # words that Fire takes for no list
    if isinstance(value, str) and text.startswith("[") and str not in get_args(annotation):
        raise InputError(f"{name} is {text}, which is no list; quote its words: --{name} \"['one','two words']\".")
    if str in kinds and not kinds & {int, float}:
        if isinstance(value, list | tuple):
            return [str(entry) if isinstance(entry, int | float) else entry for entry in value]
        cut = isinstance(value, str) and text.partition("#")[0].strip() == value  # to Fire `a #1` has a comment
        return text if cut or (isinstance(value, int | float) and not isinstance(value, bool)) else value
    return value


def _kinds(annotation: Any) -> set[Any]:
    """The types in an annotation: of `str | Sequence[int] | None` str, Sequence, int and NoneType."""
    outer = {get_origin(annotation) or annotation} - {Union, UnionType}
    return outer.union(*map(_kinds, get_args(annotation)))


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
        refuse_stray_words(command, given[words:])
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


def refuse_stray_words(command: Any, arguments: Sequence[str]) -> None:
    """Stop where a shell cut a value at a blank: Fire would take its second word for another setting, by position.

    Raises:
        InputError: naming the flag and its value with quotes.
    """
    flags = {argument.lstrip("-").partition("=")[0].replace("-", "_") for argument in arguments if argument[:1] == "-"}
    needed, flag, value = 0, "", ""
    for each in inspect.signature(command).parameters.values():
        if each.kind is each.VAR_POSITIONAL:
            return
        needed += each.default is each.empty and each.kind is not each.VAR_KEYWORD and each.name not in flags
    for argument in itertools.takewhile("--".__ne__, arguments):
        if re.match("--?[A-Za-z]", argument):
            flag, _, value = argument.partition("=")
        elif flag and not value:
            value = argument
        elif flag and needed < 1:
            raise InputError(
                f"{argument!r} follows {flag} {value} and is no flag; put quotes around words that belong together: "
                f'{flag} "{value} {argument}".'
            )
        else:
            needed -= 1


if __name__ == "__main__":
    main()
