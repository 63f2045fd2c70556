"""Cases of several processes in one report; segmentation stands for all families that are scored case by case."""

import json
from pathlib import Path

import launch
import pytest
import torch
from bundle_runtime.scores.instance_handler import ScoreInstances
from custom_components.errors import InputError
from ignite.engine import Engine, Events
from torch import distributed as dist

NAMES = ["background", "lesion"]


def run(folder: Path, shifts: dict[str, int]) -> dict[str, float]:
    label = torch.zeros(1, 10, 20, dtype=torch.uint8)
    label[:, 2:6, 2:6] = 1

    def step(engine: Engine, case: str) -> list[dict]:
        engine.state.batch = [{"case": case, "patient_id": case, "label": label}]
        return [{"pred": label.roll(shifts[case], dims=2)}]

    engine = Engine(step)
    seen: dict[str, float] = {}
    ScoreInstances(NAMES, folder, score_objects=False, header={"seed": 0}).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.update(engine.state.metrics))
    engine.run(list(shifts))
    return seen


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    metrics = run(Path(folder) / "two", {"c": 2} if rank else {"a": 0, "b": 1})
    torch.save(metrics, f"{folder}/metrics_{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    alone = run(tmp_path / "one", {"a": 0, "b": 1, "c": 2})
    launch.together(work, str(tmp_path))
    for rank in (0, 1):
        assert torch.load(tmp_path / f"metrics_{rank}.pt", weights_only=False) == alone
    for name in ("scores.json", "cases.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert json.loads((tmp_path / "two" / "scores.json").read_text())["cases"] == 3


def test_an_empty_list_is_said_in_every_process(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: [])
    ScoreInstances(NAMES, tmp_path).attach(engine)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: setattr(engine.state, "batch", []))
    with pytest.raises(InputError, match="no case was scored"):
        engine.run([0])
    assert list(tmp_path.iterdir()) == []


def test_where_every_case_failed_the_run_says_why_at_its_end(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: [])
    ScoreInstances(NAMES, tmp_path, header={"failed": ["a.png: is empty"]}).attach(engine)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: setattr(engine.state, "batch", []))
    engine.run([0])
    assert list(tmp_path.iterdir()) == []
