"""Interrupted equals uninterrupted: exceptions everywhere, signals, SIGKILL in processes of their own."""

import io
import json
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path

import launch
import pytest
import torch
from bundle_runtime.engine import checkpoint
from bundle_runtime.engine.checkpoint import Checkpoint, plain, write_checkpoint
from bundle_runtime.engine.common import keep
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Events
from tiny_training import EPOCH_LENGTH, At, Tiny, items, train_in_process
from torch import nn

EPOCHS = 3
LAST = EPOCHS * EPOCH_LENGTH


class Killed(BaseException):
    pass


def kill():
    raise Killed


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return Tiny(tmp_path_factory.mktemp("whole")).run().result()


def assert_same(result: dict, expected: dict) -> None:
    different = [name for name in expected if result[name] != expected[name]]
    assert not different, [(result[name], expected[name]) for name in different[:1]]


def kill_then_resume(folder: Path, event: Events, iteration: int) -> dict:
    with pytest.raises(Killed):
        Tiny(folder, handlers=lambda tiny: [At(event, iteration, kill)]).run()
    return Tiny(folder, resume=True).run().result()


@pytest.mark.parametrize("iteration", range(1, LAST + 1))
def test_a_run_killed_at_any_iteration_ends_as_the_uninterrupted_one(tmp_path, uninterrupted, iteration):
    assert_same(kill_then_resume(tmp_path, Events.ITERATION_COMPLETED, iteration), uninterrupted)


def test_a_run_killed_after_each_validation_ends_as_the_uninterrupted_one(tmp_path, uninterrupted):
    for epoch in range(1, EPOCHS + 1):
        folder = tmp_path / str(epoch)
        assert_same(kill_then_resume(folder, Events.EPOCH_COMPLETED, epoch * EPOCH_LENGTH), uninterrupted)


def test_a_larger_interval_between_saves_changes_nothing(tmp_path, uninterrupted):
    with pytest.raises(Killed):
        Tiny(tmp_path, interval=2, handlers=lambda tiny: [At(Events.ITERATION_COMPLETED, 11, kill)]).run()
    assert_same(Tiny(tmp_path, resume=True, interval=2).run().result(), uninterrupted)


@settings(max_examples=6, deadline=None, database=None)
@given(stops=st.sets(st.integers(1, LAST - 1), min_size=1, max_size=4))
def test_any_number_of_signals_changes_nothing(tmp_path_factory, uninterrupted, stops):
    folder = tmp_path_factory.mktemp("stops")
    for stop in sorted(stops):
        interrupt = At(Events.ITERATION_STARTED, stop, lambda: os.kill(os.getpid(), signal.SIGTERM))
        tiny = Tiny(folder, resume=True, handlers=lambda tiny, interrupt=interrupt: [interrupt]).run()
        assert tiny.trainer.state.interrupted == "SIGTERM"
        assert tiny.trainer.state.iteration == stop
    assert_same(Tiny(folder, resume=True).run().result(), uninterrupted)


def test_a_signal_saves_inside_the_epoch_and_puts_the_old_handlers_back(tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    completed = []
    handlers = [
        At(Events.ITERATION_STARTED, 6, lambda: os.kill(os.getpid(), signal.SIGINT)),
        At(Events.COMPLETED, 6, lambda: completed.append(1)),
    ]
    Tiny(tmp_path, handlers=lambda tiny: handlers).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (saved["iteration"], saved["epoch"]) == (6, 1)
    assert not completed
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["status"], manifest["error"]) == ("interrupted", "SIGINT")
    assert "Stopped by SIGINT at iteration 6; --resume true goes on from there." in capsys.readouterr().out
    Tiny(tmp_path, resume=True).run()
    assert "epoch 2 of 3, after 2 of its iterations (iteration 6)" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert [run["status"] for run in manifest["earlier_runs"]] == ["interrupted"]


def test_a_second_signal_acts_at_once(tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Tiny(tmp_path, handlers=lambda tiny: [At(Events.ITERATION_STARTED, 2, twice)]).run()


def test_a_signal_in_the_last_iteration_lets_the_run_finish(tmp_path, uninterrupted):
    interrupt = At(Events.ITERATION_STARTED, LAST, lambda: os.kill(os.getpid(), signal.SIGTERM))
    tiny = Tiny(tmp_path, handlers=lambda tiny: [interrupt]).run()
    assert tiny.trainer.state.interrupted is None
    assert_same(tiny.result(), uninterrupted)


def test_outside_the_main_thread_no_signal_is_caught(tmp_path, uninterrupted):
    results = []
    thread = threading.Thread(target=lambda: results.append(Tiny(tmp_path).run().result()))
    thread.start()
    thread.join()
    assert_same(results[0], uninterrupted)


@pytest.fixture(scope="module")
def processes():
    return launch.context()


def has_started(folder: Path, after: float) -> bool:
    manifest = folder / "manifest.json"  # written anew at each start
    return manifest.exists() and manifest.stat().st_mtime > after


def test_sigkill_at_random_moments_ends_as_the_uninterrupted_one(tmp_path, processes):
    # Most of the time of so small a training goes into writing files, so many kills fall into a write.
    epochs, whole, folder = 8, tmp_path / "whole", tmp_path / "killed"
    train_in_process(str(whole), epochs)
    delays = random.Random(3)
    kills = 0
    while not (folder / "result.json").exists():
        process, now = processes.Process(target=train_in_process, args=(str(folder), epochs)), time.time()
        process.start()
        while process.exitcode is None and not has_started(folder, now):
            time.sleep(0.01)
        process.join(delays.uniform(0.02, 0.5) if kills < 6 else None)
        if process.exitcode is None:
            process.kill()
            process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
        if (folder / "checkpoint.pt").exists():
            assert checkpoint.read_checkpoint(folder / "checkpoint.pt")["epoch"] <= epochs
    assert kills > 0
    assert json.loads((folder / "result.json").read_text()) == json.loads((whole / "result.json").read_text())
    assert [path.name for path in folder.glob(".checkpoint*")] == []


def killed_while_writing(folder: str, call: int, step: str) -> None:
    """Train, and die of SIGKILL in the `call`-th checkpoint write, `step` of the way through."""
    torch.set_num_threads(1)
    calls = {"count": 0}

    def count_and_die():
        calls["count"] += 1
        if calls["count"] == call:
            os.kill(os.getpid(), signal.SIGKILL)

    real_save = torch.save

    def half_a_save(content, stream):
        if not isinstance(stream, io.BytesIO):  # the best model is saved too, to memory
            if calls["count"] + 1 == call:
                stream.write(b"PK" * 500)
                stream.flush()
            count_and_die()
        real_save(content, stream)

    def after_the_rename(path):
        count_and_die()

    if step == "half":
        torch.save = half_a_save
    else:
        checkpoint._sync_folder = after_the_rename
    Tiny(Path(folder), resume=True).run()


@pytest.mark.parametrize("step", ["half", "renamed"])
def test_sigkill_during_a_checkpoint_write_keeps_a_whole_checkpoint(tmp_path, processes, uninterrupted, step):
    process = processes.Process(target=killed_while_writing, args=(str(tmp_path), 2, step))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = list(tmp_path.glob(".checkpoint*"))
    saved = checkpoint.read_checkpoint(tmp_path / "checkpoint.pt")
    assert saved["epoch"] == (1 if step == "half" else 2)
    assert [path.name.startswith(".checkpoint.pt.") for path in left] == ([True] if step == "half" else [])
    tiny = Tiny(tmp_path, resume=True).run()
    assert_same(tiny.result(), uninterrupted)
    assert not list(tmp_path.glob(".checkpoint*"))
    assert json.loads((tmp_path / "manifest.json").read_text())["earlier_runs"][0]["status"] == "killed"


def test_sigterm_to_a_process_saves_and_leaves_with_code_143(tmp_path, processes):
    epochs = 2000
    process = processes.Process(target=train_in_process, args=(str(tmp_path), epochs))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    saved = checkpoint.read_checkpoint(tmp_path / "checkpoint.pt")
    assert 0 < saved["iteration"] < epochs * EPOCH_LENGTH
    assert json.loads((tmp_path / "manifest.json").read_text())["iterations"] == saved["iteration"]


def test_resume_without_a_checkpoint_starts_at_epoch_0_and_says_so(tmp_path, capsys, uninterrupted):
    assert_same(Tiny(tmp_path, resume=True).run().result(), uninterrupted)
    assert f"There is no checkpoint {tmp_path / 'checkpoint.pt'} yet: starting at epoch 0." in capsys.readouterr().out


def test_resume_of_a_finished_run_does_nothing_and_says_so(tmp_path, capsys, uninterrupted):
    Tiny(tmp_path).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    for epochs in (EPOCHS, EPOCHS - 1):
        tiny = Tiny(tmp_path, resume=True, epochs=epochs).run()
        assert "nothing left to train" in capsys.readouterr().out
        assert_same(tiny.result(), uninterrupted)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_fresh_run_says_that_it_replaces_an_older_checkpoint(tmp_path, capsys, uninterrupted):
    Tiny(tmp_path, epochs=1).run()
    assert_same(Tiny(tmp_path).run().result(), uninterrupted)
    assert "checkpoint.pt of an earlier run will be replaced" in capsys.readouterr().out


def refusal(**changes) -> str:
    with pytest.raises(InputError) as caught:
        Tiny(resume=True, **changes).run()
    return str(caught.value)


class Keep:
    def __init__(self, name: str, item: nn.Module) -> None:
        self.name, self.item = name, item

    def attach(self, engine):
        keep(engine, self.name, self.item)


def test_resume_with_another_run_names_the_first_difference(tmp_path):
    Tiny(tmp_path, epochs=1, settings={"seed": 1, "batch_size": 2}).run()
    text = refusal(folder=tmp_path, width=5)
    assert (
        "checkpoint.pt does not belong to this run: its tensor '1.weight' is (6, 8), this network needs (5, 8)" in text
    )
    assert "--overwrite true in place of --resume true" in text
    assert "its epochs have 4 iterations, this run's 5" in refusal(folder=tmp_path, data=items(11))
    assert "trained with seed 1, this run has seed 2" in refusal(folder=tmp_path, settings={"seed": 2})
    Tiny(tmp_path / "other", epochs=1, settings={"data_fingerprint": "0123456789" * 6}).run()
    text = refusal(folder=tmp_path / "other", settings={"data_fingerprint": "abcdefghij" * 6})
    assert "this run: the training list is another one (fingerprint 01234567..., here abcdefgh...). Restore" in text
    text = refusal(folder=tmp_path, handlers=lambda tiny: [Keep("ema", nn.Linear(1, 1))])
    assert "it holds no state of 'ema'" in text


def test_a_changed_weight_decay_is_taken_from_the_config_and_noted(tmp_path, capsys):
    Tiny(tmp_path, epochs=1).run()
    tiny = Tiny(tmp_path, resume=True)
    for group in tiny.optimizer.param_groups:
        group["weight_decay"] = 0.2
    tiny.run()
    assert "the optimizer's weight_decay 0.05 -> 0.2" in capsys.readouterr().out
    assert {group["weight_decay"] for group in tiny.optimizer.param_groups} == {0.2}


class WantsToRunCode:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_damaged_or_dangerous_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pt"
    Tiny(tmp_path, epochs=1).run()
    path.write_bytes(path.read_bytes()[:2000])
    assert f"The checkpoint {path} cannot be read" in refusal(folder=tmp_path)
    torch.save({"format": WantsToRunCode()}, path)
    assert "cannot be read" in refusal(folder=tmp_path)
    assert not Path("executed").exists()
    torch.save({"state_dict": {}}, path)
    assert "is not a training checkpoint" in refusal(folder=tmp_path)
    torch.save({"format": 1}, path)  # that of version 0.1
    assert "has format 1, this version reads 3: finish that training with the version that wrote it" in refusal(
        folder=tmp_path
    )


def test_a_full_disk_is_one_sentence_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    Tiny(tmp_path, epochs=1).run()
    before = (tmp_path / "checkpoint.pt").read_bytes()
    real = tempfile.mkstemp

    def full(prefix, **options):
        handle, name = real(prefix=prefix, **options)
        if prefix != ".checkpoint.pt.":
            return handle, name
        os.close(handle)
        return os.open("/dev/full", os.O_WRONLY), name  # takes no byte

    monkeypatch.setattr(tempfile, "mkstemp", full)
    text = refusal(folder=tmp_path)
    monkeypatch.undo()
    assert f"No space to write the checkpoint {tmp_path / 'checkpoint.pt'} (No space left on device)" in text
    assert "MiB are free; the one before it is untouched" in text
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_broken_weights_are_never_saved(tmp_path):
    class Break:
        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_COMPLETED(once=2), self.call)

        def call(self, engine):
            engine.network[1].bias.data[0] = float("inf")

    with pytest.raises(InputError, match=r"After iteration 8 the weight '1.bias' is NaN or infinite"):
        Tiny(tmp_path, handlers=lambda tiny: [Break()]).run()
    assert checkpoint.read_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 1


def test_a_loader_without_resumable_sampler_stops_at_the_end_of_the_epoch(tmp_path):
    interrupt = At(Events.ITERATION_STARTED, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    tiny = Tiny(tmp_path, handlers=lambda tiny: [interrupt])
    tiny.trainer.data_loader = torch.utils.data.DataLoader(tiny.loader.dataset, batch_size=2)
    tiny.run()
    assert tiny.trainer.state.iteration == 8
    assert checkpoint.read_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 2


def test_a_mid_epoch_checkpoint_needs_its_sampler(tmp_path):
    interrupt = At(Events.ITERATION_STARTED, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    Tiny(tmp_path, handlers=lambda tiny: [interrupt]).run()
    tiny = Tiny(tmp_path, resume=True)
    tiny.trainer.data_loader = torch.utils.data.DataLoader(tiny.loader.dataset, batch_size=2)
    with pytest.raises(InputError, match="written inside an epoch, but this run's sampler cannot start there"):
        tiny.run()


def test_an_epoch_length_that_is_not_the_loaders_warns(tmp_path):
    tiny = Tiny(tmp_path, epochs=1)
    tiny.trainer.state.epoch_length = 3
    with pytest.warns(UserWarning, match="epoch_length is 3 but the data loader has 4 batches"):
        tiny.run()


def test_compiled_and_parallel_wrappers_are_not_in_the_names(tmp_path):
    network = nn.Linear(2, 2)
    saver, tiny = Checkpoint(tmp_path / "c.pt"), Tiny(tmp_path / "tiny", epochs=1)
    tiny.trainer.network = torch.compile(network)
    saver.save(tiny.trainer)
    assert list(checkpoint.read_checkpoint(tmp_path / "c.pt")["network"]) == ["weight", "bias"]


def test_resume_with_another_optimizer_names_what_differs():
    network = nn.Linear(2, 2)

    def adam(groups):
        return torch.optim.AdamW([{**group, "lr": 0.1} for group in groups])

    one = [{"params": [network.weight, network.bias], "name": "all"}]
    two = [{"params": [network.weight], "name": "decay"}, {"params": [network.bias], "name": "rest"}]
    other = [{"params": [network.weight], "name": "decay"}, {"params": [network.bias], "name": "head"}]
    longer = {"params": [network.bias, nn.Parameter(torch.zeros(1))], "name": "rest"}
    state = adam(two).state_dict()
    difference = checkpoint.optimizer_difference
    assert difference(state, adam(two), "AdamW") is None
    assert difference(state, adam(two), "SGD") == "its optimizer is SGD, this run uses AdamW"
    assert "2 parameter groups, this run has 1" in difference(state, adam(one), "AdamW")
    assert "group 1 is 'rest', this run has 'head'" in difference(state, adam(other), "AdamW")
    assert "holds 1 tensors, this run 2" in difference(state, adam([two[0], longer]), "AdamW")


def test_a_disk_that_fills_up_during_the_write_leaves_nothing(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match="there is none before it"):
            write_checkpoint(tmp_path / "new" / "checkpoint.pt", {"weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"checkpoint.pt cannot be written \(File exists\)"):
        write_checkpoint(tmp_path / "file" / "checkpoint.pt", {})


def test_only_plain_values_are_stored():
    import numpy as np
    from monai.data import MetaTensor

    stored = plain({"a": [np.float64(2.5), (1, None)], "b": MetaTensor(torch.ones(2))})
    assert stored["a"] == [2.5, (1, None)]
    assert type(stored["a"][0]) is float
    assert type(stored["b"]) is torch.Tensor
    with pytest.raises(TypeError, match=r"entry 'step.config' is a Path|PosixPath"):
        plain({"config": Path("x")}, "step")
