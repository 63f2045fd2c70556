"""What the command line knows of a bundle: its own `configs/tools.yaml`, no table here."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from custom_components.errors import InputError

_BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SEGMENTATION = "_segmentation"  # ends the names of the stages of bundles that classify and segment


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
        InputError: it is missing, is no YAML mapping, lacks a key or has one that is not known.
    """
    path = Path(root) / "configs" / "tools.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; copy that of another bundle and fill it in.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    known = [field.name for field in fields(Tools)]
    given: dict[str, Any] = dict(content) if isinstance(content, Mapping) else {}
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
    """The content of a config."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def overlays(configs: Path, stage: str, suffix: str = ".yaml") -> list[Path]:
    """The demo's own files for a stage.

    `demo`, and what the stage has beside it; a further group of stages, whose sizes differ, has one in its place.
    """
    if stage.endswith(SEGMENTATION):
        return [configs / f"demo{SEGMENTATION}{suffix}"]
    own = configs / f"demo_{stage}{suffix}"
    return [configs / f"demo{suffix}", *([own] if own.exists() else [])]
