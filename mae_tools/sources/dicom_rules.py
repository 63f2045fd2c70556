"""Which series of an export are taken, and what drawn structures are called: flags, or a small YAML file."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bundle_runtime.dicom.pixels import text
from bundle_runtime.dicom.series import Series
from custom_components.errors import InputError

_KEYS = ("modality", "description", "body_part", "min_slices")
_EXAMPLE = "series: [{modality: CT, description: '*venous*', min_slices: 20}] and classes: {liver: ['Leber*']}"


@dataclass(frozen=True)
class Rules:
    """A series is taken if it fits one of `series`; `classes` has patterns for the names of structures."""

    series: tuple[Mapping[str, Any], ...]
    classes: Mapping[str, tuple[str, ...]]

    def refusal(self, series: Series) -> str | None:
        """Why a series is not taken; None where it is."""
        if any(_fits(rule, series) for rule in self.series):
            return None
        return f"fits no rule: {'; '.join(', '.join(f'{k} {v}' for k, v in rule.items()) for rule in self.series)}"


def _fits(rule: Mapping[str, Any], series: Series) -> bool:
    def like(key: str, *elements: str) -> bool:
        wanted = rule.get(key)
        values = [text(series.header, element).lower() for element in elements]
        return wanted is None or any(fnmatch.fnmatch(value, str(wanted).lower()) for value in values)

    return (
        like("modality", "Modality")
        and like("description", "SeriesDescription", "ProtocolName")
        and like("body_part", "BodyPartExamined")
        and len(series.frames) >= int(rule.get("min_slices", 0))
    )


def read_rules(
    path: str | Path | None, modality: str | None, description: str | None, class_names: Sequence[str] | None
) -> Rules:
    """The rules of a file, or those that the flags make.

    Raises:
        InputError: both, or a file that makes no sense.
    """
    if path is None:
        given = {"modality": modality, "description": description}
        kinds = [modality] if modality is not None else ["CT", "MR"]
        rule = {key: value for key, value in given.items() if value is not None}
        return Rules(tuple({**rule, "modality": kind} for kind in kinds), {})
    if modality is not None or description is not None:
        raise InputError("rules and modality or series are both given; write them into the rules.")
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: the rules cannot be read ({error}).") from error
    table = content if isinstance(content, Mapping) else {"": content}
    series, classes = table.get("series"), table.get("classes") or {}
    sound = isinstance(series, list) and series and all(isinstance(r, Mapping) and set(r) <= set(_KEYS) for r in series)
    if not sound or series is None or set(table) - {"series", "classes"} or not isinstance(classes, Mapping):
        raise InputError(f"{path}: expected e.g. {_EXAMPLE}; a rule has the keys {', '.join(_KEYS)}.")
    unknown = [name for name in classes if name not in (class_names or ())[1:]]
    if unknown:
        raise InputError(f"{path}: the class {unknown[0]!r} is not among class_names {list(class_names or ())}.")
    return Rules(
        tuple(series), {name: tuple([p] if isinstance(p, str) else map(str, p)) for name, p in classes.items()}
    )
