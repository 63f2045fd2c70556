from pathlib import Path

import pytest
from mae_tools.closure import ROOT, closure, imports_of, named_in


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two floors whose modules import each other in all the ways there are."""
    files = {
        "custom_components/__init__.py": "",
        "custom_components/base.py": "import os",
        "custom_components/unused.py": "",
        "bundle_runtime/__init__.py": "",
        "bundle_runtime/data/__init__.py": "",
        "bundle_runtime/data/first.py": "from ..engine import second\nfrom custom_components.base import thing",
        "bundle_runtime/engine/__init__.py": "",
        "bundle_runtime/engine/second.py": "def inside():\n    from .third import deep\n",
        "bundle_runtime/engine/third.py": "if TYPE_CHECKING:\n    import custom_components.unused",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_all_that_is_imported_and_nothing_else(tree: Path) -> None:
    found = {path.relative_to(tree).as_posix() for path in closure(["bundle_runtime.data.first"], tree)}
    every = {path.relative_to(tree).as_posix() for path in tree.rglob("*.py")}
    assert found == every - {"custom_components/unused.py"}


def test_names_in_a_config(tree: Path) -> None:
    text = "_target_: bundle_runtime.engine.third.Thing\nx: [$import bundle_runtime.data as d, custom_components.A]"
    assert named_in(text, tree) == {"bundle_runtime.engine.third", "bundle_runtime.data", "custom_components"}


def test_it_agrees_with_what_python_imports() -> None:
    found = imports_of("custom_components.networks.unetr")
    assert found == {"custom_components.errors", "custom_components.networks.vit"}
    assert ROOT / "custom_components/networks/vit.py" in closure(["custom_components.networks.unetr"])
