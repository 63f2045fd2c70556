"""Results that must stay equal while code moves: whole runs of every bundle, and the datalist of every source.

The golden files beside this one were written by the code before it was moved. `python -m tests.golden.write` makes them
anew; that is a change of results, never part of a commit that refactors.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from mae_tools.sources import SOURCES

from . import compare
from .collect import array, collect
from .datalists import made_by
from .draw_trees import TREES
from .stages import BUNDLES, ROOT, run_bundle

_SHOWN = 60


def _refuse(differences: Iterable[str]) -> None:
    found = list(differences)
    more = f"\n... and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    assert not found, f"{len(found)} difference(s), golden first:\n" + "\n".join(found[:_SHOWN]) + more


@pytest.mark.parametrize("bundle", sorted(BUNDLES))
def test_a_bundle_gives_what_it_gave(bundle: str, tmp_path: Path) -> None:
    """Losses, weights, scores, tables and predictions of all stages, one after the other."""
    run_bundle(bundle, tmp_path)
    _refuse(compare.differences(compare.read(bundle), collect(tmp_path / "run")))


@pytest.mark.parametrize("source", sorted(TREES))
def test_a_source_writes_what_it_wrote(source: str, tmp_path: Path) -> None:
    _refuse(compare.differences(compare.read("datalists")[source], made_by(source, tmp_path)))


def test_what_has_a_golden_file_is_still_there() -> None:
    """A new bundle or source may have one, and needs none: nothing earlier says what it has to give."""
    assert set(BUNDLES) <= {path.name for path in (ROOT / "bundles").iterdir() if (path / "configs").is_dir()}
    assert set(TREES) == set(compare.read("datalists")) <= set(SOURCES)


def test_a_difference_is_named_by_its_path() -> None:
    golden = {"a": {"loss": [1.0, 2.0]}, "m": {"weights": {"w": [0.001, 50.0], "b": [1.0, 1.0]}}, "n": 3, "text": "x"}
    near = {"a": {"loss": [1.0005, 2.0]}, "m": {"weights": {"w": [0.04, 50.0], "b": [1.0, 1.0]}}, "n": 3, "text": "x"}
    far = {"a": {"loss": [1.0, 2.01, 3.0]}, "m": {"weights": {"w": [0.2, 50.0]}}, "n": 4, "text": None, "new": 1}
    assert not list(compare.differences(golden, near))
    assert [line.partition(":")[0] for line in compare.differences(golden, far)] == [
        "/a/loss", "/a/loss[1]", "/m/weights/b", "/m/weights/w", "/n", "/text", "/new",
    ]  # fmt: skip


def test_predicted_maps_may_differ_in_a_voxel_of_a_thousand_and_lie_where_they_lay() -> None:
    values = np.zeros((20, 30, 10), np.uint8)
    values[3:9, 4:20, 2:6] = 1
    near = values.copy()
    near[9, 4:8, 2] = 1
    golden = array(values)
    assert not list(compare.differences(golden, array(near)))
    assert list(compare.differences(golden, array(values[::-1])))  # as large, elsewhere
    near[9, 4:20, 2:6] = 1
    assert list(compare.differences(golden, array(near)))
