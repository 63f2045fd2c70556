"""Values of overlays and the command line that have another type than the stage's own config gives them."""

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pydoc import locate
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent

from custom_components.errors import InputError

_REFERENCES = ("$", "@", "%")
_SEPARATOR = "::"


def read_value(key: str, value: Any, default: Any) -> Any:
    """A setting's value in the type that its default has; text that says a number, a switch or null is turned into it.

    Args:
        key: the setting's name, for the message.
        value: what an overlay or the command line gave it.
        default: what the stage's own config gives it; a default that is null, text or a reference says no type.

    Raises:
        InputError: a text stands where a number, a switch or a list is expected, or one of these for another.
    """
    if isinstance(value, str) and value.startswith(_REFERENCES):
        return value
    # "none" is itself a word that some settings may have, `equalise` for one.
    null_words = ("null",) if isinstance(default, str) else ("null", "none")
    if isinstance(value, str) and value.lower() in null_words:
        return None
    if value is None or isinstance(default, str) or default is None:
        return value
    words = {"true": True, "false": False}
    if isinstance(default, bool):
        read = words.get(value.lower(), value) if isinstance(value, str) else value
        return _expect(isinstance(read, bool), key, value, read, "true or false")
    if isinstance(default, int | float):
        read = _number(value)
        fits = isinstance(read, int | float | Sequence) and not isinstance(read, bool | str)  # one a axis is a list
        return _expect(fits, key, value, read, "a number")
    if isinstance(default, list):
        fits = isinstance(value, Sequence) and not isinstance(value, str)
        words_too = any(isinstance(entry, str) for entry in default)
        hint = "; quote its words: \"['one','two words']\"" if words_too else f" such as {default}" if default else ""
        return _expect(fits, key, value, value, f"a list{hint}")
    return value


def _expect(fits: bool, key: str, given: Any, read: Any, what: str) -> Any:
    if not fits:
        said = f"the text {given!r}" if isinstance(given, str) else repr(given)
        raise InputError(f"{key} is {said}, expected {what}.")
    return read


def _number(value: Any) -> Any:
    """YAML takes `1e-4` for a text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def default_of(key: str, content: Mapping[str, Any]) -> Any:
    """What a stage's own config says under a key, its expression evaluated; the text of one that cannot be."""
    default = content[key]
    if not (isinstance(default, str) and default.startswith(("$", "@"))):
        return default
    try:
        return ConfigParser(dict(content)).get_parsed_content(key)
    except Exception:  # whatever an expression may raise without the overrides that it counts on
        return default


def refuse_unknown_paths(paths: Iterable[str], config: Mapping[str, Any], file: str) -> None:
    """Refuse overrides inside a section (`validate#inferer#overlap`) of what is not there.

    Args:
        paths: keys of overrides, `#` or `::` between their parts.
        config: the merged config without these overrides.
        file: its name, for the message.

    Raises:
        InputError: the config has no such entry, and the object that it would be given to knows no such argument.
    """
    for path in (path.replace("#", _SEPARATOR) for path in paths):
        parent: Any = config
        parts = path.split(_SEPARATOR)
        for depth, part in enumerate(parts):
            known = _entries(parent)
            if part not in known and not (depth == len(parts) - 1 and part in _arguments(parent)):
                near = difflib.get_close_matches(part, [*known, *_arguments(parent)], n=1)
                hint = f" (did you mean '{near[0]}'?)" if near else ""
                raise InputError(f"Unknown setting '{'#'.join(parts)}'{hint}: {file} has no entry '{part}' there.")
            parent = known.get(part)


def _entries(parent: Any) -> dict[str, Any]:
    if isinstance(parent, list):
        return {str(index): entry for index, entry in enumerate(parent)}
    return dict(parent) if isinstance(parent, Mapping) else {}


def _arguments(parent: Any) -> list[str]:
    """Names of the arguments that a section's `_target_` takes beyond those written down."""
    if not ConfigComponent.is_instantiable(parent):
        return []
    try:
        target: Any = ConfigComponent(parent).resolve_module_name()
        target = locate(target) if isinstance(target, str) else target
        return ["_disabled_", "_requires_", *inspect.signature(target).parameters]
    except (TypeError, ValueError, ImportError):
        return []
