"""Give a bundle its own Python, whatever else the process has imported; run by path, before any import of ours.

MONAI looks up a config's `_target_` by name, so the bundle's folder has to be on `sys.path`; and `sys.modules` holds
one `custom_components` alone, so a second bundle of another version would run the code of the first. The line `shared`
of every config runs this file. From then on each question to that config's parser puts the modules of this folder in
place first; those of another bundle are laid aside, not imported anew, until its own parser is asked again.
"""

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from monai.bundle.config_item import ConfigExpression, ConfigItem
from monai.bundle.reference_resolver import ReferenceResolver

_FLOORS = ("custom_components", "bundle_runtime", "mae_tools")
_ROOT = Path(__file__).resolve().parents[1]
# Folder -> its modules while those of another have their place. This file runs once a config and is no module itself.
_ASIDE: dict[Path, dict[str, ModuleType]] = vars(
    sys.modules.setdefault("_modules_of_bundles", ModuleType("_modules_of_bundles"))
).setdefault("aside", {})


def claim() -> None:
    """Put this folder first on `sys.path`, and its modules in the place of another folder's."""
    if sys.path[0] != str(_ROOT):
        if str(_ROOT) in sys.path:
            sys.path.remove(str(_ROOT))
        sys.path.insert(0, str(_ROOT))
    if all(_origin(floor) in (None, _ROOT) for floor in _FLOORS):
        return
    for name in [name for name in sys.modules if name.partition(".")[0] in _FLOORS]:
        origin = _origin(name.partition(".")[0])
        _ASIDE.setdefault(origin or _ROOT, {})[name] = sys.modules[name]
    for modules in _ASIDE.values():
        for name in modules:
            sys.modules.pop(name, None)
    sys.modules.update(_ASIDE.pop(_ROOT, {}))


def _origin(floor: str) -> Path | None:
    """The folder that a package was imported from."""
    module = sys.modules.get(floor)
    return None if module is None else Path(next(iter(module.__path__))).resolve().parent


def _follow(resolver: ReferenceResolver) -> None:
    """Claim at each question to a config."""
    ask = resolver.get_resolved_content

    def claim_and_ask(id: str, **settings: Any) -> Any:
        claim()
        return ask(id, **settings)

    resolver.get_resolved_content = claim_and_ask  # type: ignore[method-assign]


def _amend(resolver: ReferenceResolver) -> None:
    """Import once more what a config imported before this file ran, and tell it its folder where nobody has."""
    root = resolver.items.get("bundle_root")
    if root is not None and root.get_config() == "." and (_ROOT / "configs" / "metadata.json").is_file():
        resolver.items["bundle_root"] = ConfigItem(str(_ROOT), "bundle_root")
        resolver.resolved_content["bundle_root"] = str(_ROOT)
    for key, item in resolver.items.items():
        if isinstance(item, ConfigExpression) and item.is_import_statement(item.get_config()):
            resolver.resolved_content[key] = item.evaluate()


def _asking() -> ReferenceResolver | None:
    """The resolver of the config whose line runs this file; MONAI hands it to no config item."""
    frame = inspect.currentframe()  # `inspect.stack` looks for the file of every call, a tenth of a short run
    while frame is not None:
        if isinstance(owner := frame.f_locals.get("self"), ReferenceResolver):
            return owner
        frame = frame.f_back
    return None


if __name__ != "bundle_runtime.own_modules":
    claim()
    resolver = _asking()
    if resolver is not None:
        _amend(resolver)
        if "get_resolved_content" not in vars(resolver):
            _follow(resolver)
