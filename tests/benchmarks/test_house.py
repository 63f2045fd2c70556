"""The import graph in the documentation is that of the code, and the floors stay small."""

from pathlib import Path
from types import ModuleType

import pytest
import scripts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house() -> ModuleType:
    return scripts.load(ROOT / "benchmarks" / "house.py")


def test_the_graph_in_the_documentation_is_true(house: ModuleType) -> None:
    drawn = house.DOCUMENT.read_text().split(house.MARKS[0])[1].split(house.MARKS[1])[0].strip()
    assert drawn == house.mermaid(), "run `python benchmarks/house.py --write`"


def test_rooms_know_what_they_import(house: ModuleType) -> None:
    graph = house.rooms()
    assert "custom_components/networks" in graph["bundle_runtime/weights"] | graph["bundle_runtime/figures"]
    assert not {name for name in graph["custom_components/networks"] if not name.startswith("custom_components/")}
    assert "mae_tools/sources" in graph["mae_tools/demo"]
