"""The handlers of every training: all there, in the right order, and through an interruption."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from bundle_runtime.engine import manifest, standard
from bundle_runtime.engine.run import STATE
from bundle_runtime.engine.standard import StandardHandlers
from custom_components.errors import InputError
from ignite.engine import Events
from monai.bundle import ConfigParser
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import EPOCH_LENGTH, At, Tiny

_FOUND = (Path(__file__).resolve().parents[3] / "bundles").glob("*/configs/*train*.yaml")
TRAININGS = sorted(path for path in _FOUND if not path.name.startswith(("demo", "multi_gpu")))
SETTINGS = {"seed": 1, "batch_size": 2, "max_epochs": 3, "mask_ratio": 0.5}


class Probe:
    """Measures something in each epoch; `EarlyStop` may stop by it."""

    def __init__(self) -> None:
        self.interval = 1

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update(probed=2.0))


class Late:
    """Measures behind the standard handlers in the list."""

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update(late=float(e.state.epoch)))


class Standard(Tiny):
    """`Tiny` with the standard handlers in place of its own."""

    def __init__(self, folder: Path, more: tuple[Any, ...] = (), epochs: int = 3, **arguments: Any) -> None:
        self.arguments = {"warmup_epochs": 0.5, "same_on_resume": ["mask_ratio"], **arguments}
        super().__init__(folder, epochs=epochs, handlers=lambda tiny: more)

    def usual(self, validate_every: int) -> list[Any]:
        self.handlers = StandardHandlers("train", self.step, self.evaluator, self.folder, **self.arguments)
        return [self.handlers, self.best]


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The running config."""
    values = dict(SETTINGS)
    for module in (manifest, standard):
        monkeypatch.setattr(module, "resolve", values.__getitem__)
    monkeypatch.setattr(manifest, "settings", lambda: dict(values))
    return values


def test_it_is_what_the_single_handlers_do(tmp_path: Path) -> None:
    tiny, whole = Tiny(tmp_path / "tiny").run(), Standard(tmp_path / "standard").run()
    assert whole.result() == tiny.result()
    content = json.loads((tmp_path / "standard" / "manifest.json").read_text())
    assert (content["status"], content["seed"], content["config"]) == ("finished", 1, SETTINGS)
    assert (tmp_path / "standard" / STATE).exists()


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_every_training_has_it_once_and_an_overlay_adds_to_it(path: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "log.yaml"
    overlay.write_text("+train::handlers: [{_target_: StatsHandler, iteration_log: false}]\n")
    handlers = ConfigParser.load_config_files([str(path), str(overlay)])["train"]["handlers"]
    assert [entry["_target_"].rsplit(".", 1)[-1] for entry in handlers].count("StandardHandlers") == 1
    assert handlers[-1]["_target_"] == "StatsHandler"


def test_tensorboard_shows_what_handlers_behind_it_in_the_list_measured(tmp_path: Path) -> None:
    Standard(tmp_path, (Late(),), probe=Probe(), metrics=["probed"]).run()
    tags: dict[str, list[float]] = {}
    for file in (tmp_path / "tensorboard").iterdir():
        events = EventAccumulator(str(file))
        events.Reload()
        tags |= {tag: [entry.value for entry in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert tags["late"] == [1.0, 2.0, 3.0]
    assert tags.keys() == {"late", "probed", "train_loss", "mse"}
    with (tmp_path / "history.csv").open() as stream:
        assert [row["probed"] for row in csv.DictReader(stream)] == ["2.0"] * 3


def test_interrupted_and_resumed_it_ends_as_the_uninterrupted_run(tmp_path: Path) -> None:
    whole = Standard(tmp_path / "whole").run().result()
    stop = At(Events.ITERATION_STARTED, EPOCH_LENGTH + 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert Standard(tmp_path / "part", (stop,)).run().trainer.state.interrupted == "SIGTERM"
    assert Standard(tmp_path / "part", resume=True).run().result() == whole


@pytest.mark.parametrize(("key", "value"), [("seed", 2), ("mask_ratio", 0.25)])
def test_a_resumed_run_shares_the_settings(tmp_path: Path, config: dict[str, Any], key: str, value: float) -> None:
    Standard(tmp_path, epochs=1).run()
    was, config[key] = config[key], value
    with pytest.raises(InputError, match=f"it was trained with {key} {was}, this run has {key} {value}"):
        Standard(tmp_path, resume=True).run()


def test_a_resumed_run_shares_the_training_list(tmp_path: Path) -> None:
    Standard(tmp_path, epochs=1, data_fingerprint="0123456789").run()
    with pytest.raises(InputError, match="the training list is another one"):
        Standard(tmp_path, resume=True, data_fingerprint="9876543210").run()


def test_early_stopping_by_the_evaluator_or_the_probe(tmp_path: Path) -> None:
    probe = Probe()
    tiny = Standard(tmp_path, early_stop=2, probe=probe)
    assert tiny.handlers.early_stop.evaluator is tiny.evaluator
    assert Standard(tmp_path, early_stop_by="probe", probe=probe).handlers.early_stop.evaluator is probe
    with pytest.raises(InputError, match="early_stop_by is 'dice'; choose one of loss, probe"):
        Standard(tmp_path, early_stop_by="dice", probe=probe)
    with pytest.raises(InputError, match="early_stop_by is 'probe'; choose one of loss"):
        Standard(tmp_path, early_stop_by="probe")
