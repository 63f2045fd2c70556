"""Which Python files a bundle needs: what its configs name and all that this imports, found without running it."""

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("custom_components", "bundle_runtime", "mae_tools")
_NAME = re.compile(rf"\b(?:{'|'.join(FLOORS)})(?:\.\w+)+")


def named_in(text: str, root: Path = ROOT) -> set[str]:
    """The modules that a config names: of `custom_components.losses.DenseLoss` that is `custom_components.losses`."""
    return {module for name in _NAME.findall(text) if (module := _longest(name, root)) is not None}


def closure(modules: Iterable[str], root: Path = ROOT) -> list[Path]:
    """The files of modules and of all that they import, inside functions too, with the packages that hold them.

    Args:
        modules: dotted names below the three floors.
        root: folder of the floors.

    Returns:
        Sorted paths below `root`.
    """
    waiting, seen = set(modules), set[str]()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= {*imports_of(module, root), *_packages(module)} - seen
    return sorted(file_of(module, root) for module in seen)


def file_of(module: str, root: Path = ROOT) -> Path:
    """Where a module is, or would be."""
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _longest(name: str, root: Path) -> str | None:
    """The longest beginning of a dotted name that is a module; None where there is none."""
    parts = name.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((module for module in names if file_of(module, root).is_file()), None)


def _packages(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts))}


def _run_statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements but those below `if TYPE_CHECKING:`, which never run."""
    for statement in body:
        yield statement
        if not (isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"):
            for field in ("body", "orelse", "handlers", "finalbody", "cases"):
                yield from _run_statements(getattr(statement, field, ()))


@functools.cache
def _imported(text: str) -> list[tuple[int, str]]:
    """What a module with this text imports, with the number of dots in front."""
    found = []
    for node in _run_statements(ast.parse(text).body):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = f"{node.module}." if node.module else ""
            found += [(node.level, base + alias.name) for alias in node.names]
    return found


def imports_of(module: str, root: Path = ROOT) -> set[str]:
    """What a module imports from the floors."""
    path = file_of(module, root)
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for dots, name in _imported(path.read_text(encoding="utf-8")):
        start = package[: len(package) - dots + 1] if dots else []
        found.add(".".join([*start, name]))
    inside = (name for name in found if name.split(".")[0] in FLOORS)
    return {longest for name in inside if (longest := _longest(name, root)) is not None}
