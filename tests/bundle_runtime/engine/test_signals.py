"""A signal to the whole process group, as Ctrl-C, torchrun and schedulers send it."""

import os
import signal
import time
from pathlib import Path

import launch
import pytest
import tiny_training
import torch
from bundle_runtime.engine.checkpoint import read_checkpoint
from bundle_runtime.engine.signals import LeaveToParent, StopSignals, exit_if_interrupted
from ignite.engine import Engine
from monai.data import list_data_collate
from tiny_training import Tiny


def seed_worker(worker_id: int) -> None:
    torch.manual_seed(worker_id)


def train_with_workers(folder: str) -> None:
    """Train in a process group of its own, with a worker process that loads the data."""
    os.setsid()
    torch.set_num_threads(1)
    real = tiny_training.loader

    def with_worker(dataset, batch, sampler=None):
        if sampler is None:
            return real(dataset, batch)
        options = {"num_workers": 1, "persistent_workers": True, "collate_fn": list_data_collate}
        return torch.utils.data.DataLoader(
            dataset, batch, sampler=sampler, worker_init_fn=seed_worker, multiprocessing_context="fork", **options
        )

    tiny_training.loader = with_worker
    exit_if_interrupted(Tiny(Path(folder), epochs=100_000).run().trainer)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_group_spares_the_loaders_workers(tmp_path, number):
    context = launch.context()
    process = context.Process(target=train_with_workers, args=(str(tmp_path),))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    assert read_checkpoint(tmp_path / "checkpoint.pt")["iteration"] > 0


def test_ctrl_c_is_answered_at_once(capfd):
    """An update of a large batch takes minutes on a CPU, and nothing seemed to happen."""
    signals = StopSignals()
    signals.catch()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert "SIGINT: stopping after this update" in capfd.readouterr().err
        assert signals.received == "SIGINT"
    finally:
        signals.release()


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("a signal to another process", 143)])
def test_an_interrupted_training_ends_its_process_as_one(name, code):
    engine = Engine(lambda engine, batch: None)
    exit_if_interrupted(engine)
    engine.state.interrupted = None
    exit_if_interrupted(engine)
    engine.state.interrupted = name
    with pytest.raises(SystemExit) as left:
        exit_if_interrupted(engine)
    assert left.value.code == code


def test_a_loader_is_protected_once_and_keeps_its_own_set_up():
    loader = torch.utils.data.DataLoader([1], worker_init_fn=seed_worker)
    LeaveToParent.protect(loader)
    LeaveToParent.protect(loader)
    assert isinstance(loader.worker_init_fn, LeaveToParent)
    assert loader.worker_init_fn.before is seed_worker
    LeaveToParent.protect([1, 2])  # any iterable may be a MONAI engine's loader


END_OF_A_WORKER = """
import multiprocessing, time
from bundle_runtime.engine.signals import LeaveToParent

context = multiprocessing.get_context("fork")
ready = context.Event()

def work():
    LeaveToParent()(0)
    ready.set()
    time.sleep(60)

process = context.Process(target=work)
process.start()
assert ready.wait(20)
process.terminate()
process.join(20)
print(process.exitcode)
"""


def test_a_worker_still_ends_when_its_loader_says_so(tmp_path):
    # In a process of its own: PyTorch's thread pool, once its size was set, starts a thread in every forked child.
    (tmp_path / "end_of_a_worker.py").write_text(END_OF_A_WORKER)
    result = launch.run(tmp_path / "end_of_a_worker.py")
    assert result.stdout.split() == ["0"], result.stderr
