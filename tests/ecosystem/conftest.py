"""What the tests with other people's tools share; see `tests/helpers/strangers.py`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from strangers import Packages, run

HERE = Path(__file__).parent


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a script of this folder in a tool's interpreter; gives its last line."""

    def call(python: str, script: str, *arguments: object) -> dict[str, Any]:
        said = run([python, "-W", "ignore", HERE / script, *arguments], tmp_path)
        found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
        print(script, *arguments, found)
        return found

    return call


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """See `Packages`."""
    return Packages(tmp_path_factory.mktemp("packages"))
