"""The clock stops a stage as soon as it has seen enough, and writes what it saw."""

import json
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine, Events
from mae_tools.doctor import measure


class Left(BaseException):
    """Stands for the end of the process."""


class Steps(Engine):
    """An evaluator, or a trainer of some epochs, of so many steps."""

    def __init__(self, count: int, seconds: float, epochs: int = 1) -> None:
        super().__init__(lambda engine, batch: time.sleep(seconds))
        self.count, self.epochs, self.ended = count, epochs, False
        self.add_event_handler(Events.COMPLETED, lambda: setattr(self, "ended", True))

    def run(self) -> Any:  # type: ignore[override]
        return super().run(range(self.count), max_epochs=self.epochs)


@pytest.mark.parametrize(("count", "epochs", "seconds", "dataset", "steps"), [
    (9, 1, 1.0, None, measure._ENOUGH), (9, 1, 0.001, "data", 2), (9, 1, 0.001, None, 1), (3, 1, 1.0, None, 3),
    (1, 1, 1.0, "data", 1), (1, 3, 1.0, "data", 3),
])  # fmt: skip
def test_steps_are_timed_until_there_are_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, epochs: int, seconds: float, dataset: str | None,
    steps: int,
) -> None:  # fmt: skip
    engine, asked = Steps(count, 0.02, epochs), []

    def leave(code: int) -> None:
        assert code == 0
        raise Left

    monkeypatch.setattr(measure, "resolve", lambda key: asked.append(key) or engine)
    monkeypatch.setattr(measure.os, "_exit", leave)
    with pytest.raises(Left):
        measure.clock(str(tmp_path / "found.json"), seconds, "evaluator", dataset)
    found = json.loads((tmp_path / "found.json").read_text())
    assert asked == [*filter(None, [dataset]), "evaluator"]
    assert found["steps"] == steps
    assert 0.02 <= found["step"] < 1
    assert found["preparation"] >= 0
    assert found["peak_host_mib"] > 50
    assert not engine.ended  # what handlers do at the end of a run, such as saving weights, is not reached


def test_a_server_forks_a_process_for_each_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "apart", lambda plan, said: Path(said).write_text(plan) if plan else sys.exit(3))
    before = set(multiprocessing.active_children())
    with measure.server() as run:
        assert run("a plan", str(tmp_path / "said")) == 0
        assert run("", "") == 3
    assert (tmp_path / "said").read_text() == "a plan"
    assert set(multiprocessing.active_children()) <= before
