"""Two processes on the CPU: one history, one checkpoint, one decision when to stop."""

import json
import os
import signal
from pathlib import Path

import launch
import pytest
import torch
import torch.distributed as dist
from bundle_runtime.engine.checkpoint import read_checkpoint
from custom_components.errors import InputError
from ignite.engine import Events
from tiny_training import At, Tiny, items

# Not in the default run: once, in a full run on a busy machine, the two processes did not find each other in time.
pytestmark = pytest.mark.slow

EPOCHS = 3


def train(rank: int, store: str, folder: str, stop_at: int, poison: bool) -> None:
    """One of two processes; `stop_at` is an iteration in which only the second one gets a signal."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        data = items(8)
        if poison and rank == 1:  # only this process sees it
            for item in data:
                item["label"] = torch.full_like(item["label"], float("nan"))
        stop = At(Events.ITERATION_STARTED, stop_at, lambda: rank == 1 and os.kill(os.getpid(), signal.SIGTERM))
        tiny = Tiny(Path(folder), resume=True, epochs=EPOCHS, data=data, handlers=lambda tiny: [stop])
        tiny.trainer.network = torch.nn.parallel.DistributedDataParallel(tiny.network)
        try:
            tiny.run()
            outcome = {"iteration": tiny.trainer.state.iteration, "weights": str(tiny.network.state_dict())}
        except InputError as error:
            outcome = {"error": str(error)}
        (Path(folder) / f"outcome_{rank}.json").write_text(json.dumps(outcome))
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def start():
    context = launch.context()

    def run(folder: Path, stop_at: int = 0, poison: bool = False) -> list[dict]:
        folder.mkdir(exist_ok=True)
        store = folder / f"store_{len(list(folder.glob('store_*')))}"  # a file: no port that another process may take
        pair = [context.Process(target=train, args=(rank, str(store), str(folder), stop_at, poison)) for rank in (0, 1)]
        for process in pair:
            process.start()
        for process in pair:
            process.join(90)
            if process.exitcode is None:
                process.kill()
                pytest.fail("the processes wait for each other for ever")
        return [json.loads((folder / f"outcome_{rank}.json").read_text()) for rank in (0, 1)]

    return run


def test_a_signal_to_one_process_stops_both_and_resume_ends_the_same(tmp_path, start):
    whole = start(tmp_path / "whole")
    assert whole[0] == whole[1]
    stopped = start(tmp_path / "stopped", stop_at=3)
    assert [outcome["iteration"] for outcome in stopped] == [4, 4]  # both at the end of the second epoch
    assert read_checkpoint(tmp_path / "stopped" / "checkpoint.pt")["epoch"] == 2
    assert json.loads((tmp_path / "stopped" / "manifest.json").read_text())["processes"] == 2
    assert start(tmp_path / "stopped") == whole
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("whole", "stopped")]
    assert histories[0] == histories[1]
    assert len(histories[0].splitlines()) == EPOCHS + 1


def test_a_loss_that_is_not_finite_in_one_process_stops_both(tmp_path, start):
    first, second = start(tmp_path / "run", poison=True)
    assert "The loss is nan at iteration" in second["error"]
    assert "not finite" in first["error"] or "The loss is nan" in first["error"]
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
