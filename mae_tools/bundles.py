"""What the command line knows of a bundle: its own `configs/tools.yaml`, no table here."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from custom_components.errors import InputError

_BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SEGMENTATION = "_segmentation"  # ends the names of the stages of bundles that classify and segment


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # compiled where PyYAML has it
    """Refuses a key that is written twice, of which YAML takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' is written twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Tools:
    """The contents of `configs/tools.yaml`.

    Attributes:
        source: layout (`mae_tools datalist <source>`) that reads a folder which has no datalist yet.
        sources: layouts that travel in the package.
        draw: kind of synthetic data (`mae_tools draw <kind>`) of the demo; None where the bundle has none.
        least: fewest cases of a drawn set in which every list and class occurs.
        masks: in the drawn set, the datalist of its pictures with masks, for the segmentation stages.
        slides: kind of synthetic slides, for the stages that read slides.
        commands: what else travels in the package.
    """

    source: str
    sources: tuple[str, ...]
    draw: str | None = None
    least: int = 3
    masks: str | None = None
    slides: str | None = None
    commands: tuple[str, ...] = ("datalist", "check", "compare")


def read_tools(root: str | Path) -> Tools:
    """Read `<root>/configs/tools.yaml`.

    Raises:
        InputError: as `load`, it is missing, lacks a key or has one that is not known.
    """
    path = Path(root) / "configs" / "tools.yaml"
    if not path.is_file():
        raise InputError(f"{path} is missing; copy that of another bundle and fill it in.")
    known = [field.name for field in fields(Tools)]
    given = load(path)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{path}: there is no key '{unknown[0]}'; there are {', '.join(known)}.")
    if "source" not in given:
        raise InputError(f"{path}: the key 'source' is missing; name the layout that reads a folder of images.")
    given["sources"] = tuple(dict.fromkeys((given["source"], *(given.get("sources") or ()))))
    if given.get("commands") is not None:
        given["commands"] = tuple(given["commands"])
    return Tools(**given)


def find_bundle(bundle: str) -> Path:
    """The folder of a bundle, given by its path or by its name in `bundles/`.

    Raises:
        InputError: there is none.
    """
    places = [Path(bundle), _BUNDLES / bundle]
    for place in places:
        if (place / "configs").is_dir():
            return place.resolve()
    known = ", ".join(path.name for path in every_bundle())
    raise InputError(f"There is no bundle '{bundle}'; give the folder of one, or one of {known}.")


def every_bundle() -> list[Path]:
    """The folders of `bundles/`."""
    return sorted(path.parent for path in _BUNDLES.glob("*/configs"))


def stages(root: str | Path) -> dict[str, dict[str, Any]]:
    """Name -> content of each stage's config; overlays are none."""
    found = {path.stem: load(path) for path in sorted((Path(root) / "configs").glob("*.yaml"))}
    return {name: content for name, content in found.items() if "stage" in content}


def load(path: Path) -> dict[str, Any]:
    """The content of a config.

    Raises:
        InputError: it cannot be read, holds no settings or a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = (json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader)) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a config ({reason}).") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds {type(content).__name__}, expected keys with values.")
    return dict(content)


def read_overlay(path: str | Path, root: Path) -> dict[str, Any]:
    """The content of an overlay for stages of a bundle.

    Raises:
        InputError: as `load`, or a key that none of them has.
    """
    content = load(Path(path))
    refuse_unknown([re.split("::|#", key.lstrip("+"))[0] for key in content], [root], f"{path}: ")
    return content


def refuse_unknown(keys: Iterable[str], roots: Sequence[Path], where: str = "") -> None:
    """Refuse settings that no stage of some bundles has.

    Raises:
        InputError: naming the first of them.
    """
    known = {key for root in roots for content in stages(root).values() for key in content}
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise InputError(
                f"{where}No stage has a setting '{key}'{hint}; see the top of {roots[0]}/configs/train.yaml."
            )


def overlays(configs: Path, stage: str, suffix: str = ".yaml") -> list[Path]:
    """The demo's own files for a stage.

    `demo`, and what the stage has beside it; a further group of stages, whose sizes differ, has one in its place.
    """
    if stage.endswith(SEGMENTATION):
        return [configs / f"demo{SEGMENTATION}{suffix}"]
    own = configs / f"demo_{stage}{suffix}"
    return [configs / f"demo{suffix}", *([own] if own.exists() else [])]
