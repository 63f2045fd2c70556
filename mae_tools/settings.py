"""Commands whose settings come from several places: one signature and one help for the command line."""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any


def settings_of(*others: Callable[..., Any], without: Collection[str] = (), told_by: Sequence[Any] = ()) -> Any:
    """Give a command that ends in `**settings` the parameters of other functions or classes, by name.

    Args:
        *others: where they come from; the docstrings describe them.
        without: parameters that the command does not pass on.
        told_by: further docstrings that describe parameters.
    """

    def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.VAR_KEYWORD]
        found = {each.name: each for other in others for each in inspect.signature(other).parameters.values()}
        known = {*without, *(each.name for each in own)}
        added = [found[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in found if name not in known]
        signature = inspect.Signature([*own, *added])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__doc__ = with_arguments(command, [*others, *told_by], signature.parameters)
        return command

    return with_settings


def with_arguments(command: Any, others: Sequence[Any], names: Collection[str]) -> str:
    """The docstring of a command with those of its arguments that it does not describe itself, but others do."""
    own = inspect.getdoc(command) or ""
    known, *said = (_arguments(inspect.getdoc(each) or "") for each in (command, *others))
    added = [next(each[name] for each in said if name in each) for name in names if name not in known]
    return own.replace("\n\nRaises:", "\n" + "\n".join(added) + "\n\nRaises:", 1)


def _arguments(text: str) -> dict[str, str]:
    """Name -> lines of each argument that a docstring describes."""
    return {found[1]: found[0] for found in re.finditer(r"^ {4}(\w+): .*(?:\n {5,}.*)*", text, re.MULTILINE)}
