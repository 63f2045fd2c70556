"""A training from its first to its last step, as the one call of a config."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from bundle_runtime.engine.lock import in_use
from bundle_runtime.engine.run import STATE
from bundle_runtime.failures import find_input_error
from monai.bundle import ConfigParser, create_workflow

BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
OVERLAYS = {*BUNDLES.glob("*/configs/demo*.yaml"), *BUNDLES.glob("*/configs/multi_gpu*.yaml")}
CONFIGS = sorted({*BUNDLES.glob("*/configs/*train*.yaml")} - OVERLAYS)
PROBES = sorted(BUNDLES.glob("*/configs/linear_probe.yaml"))
MADE: list[str] = []


class Part:
    """Notes that it was made, or that it was run."""

    def __init__(self, name: str, weights: str, stopped: str | None = None) -> None:
        self.name, self.weights = name, Path(weights)
        self.state = type("State", (), {"interrupted": stopped})()
        MADE.append(name)

    def run(self) -> None:
        MADE.append(f"{self.name} ran")
        self.weights.touch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (STATE, "history.csv", "pictures/epoch_1.png", "tensorboard/events"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def train(folder: Path, stopped: str | None = None, **changes: Any) -> list[str]:
    """What was made, in its order."""
    MADE.clear()
    part = {"_target_": f"{__name__}.Part", "weights": str(folder / "model.pt"), "stopped": stopped}
    config = {
        "resume": False,
        "overwrite": False,
        "network": {**part, "name": "network"},
        "train": {"data": {**part, "name": "data"}, "trainer": {**part, "name": "trainer"}},
        "initialize": [{"_target_": "bundle_runtime.config.begin"}],
        "run": [
            {
                "_target_": "bundle_runtime.engine.run.train",
                "output_dir": str(folder),
                "weights": str(folder / "model.pt"),
                "resume": "@resume",
                "overwrite": "@overwrite",
                "before": ["network", "train::data"],
            }
        ],
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    create_workflow(config_file=str(folder / "train.yaml"), **changes).run()
    return MADE


def test_order_and_last_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path) == ["network", "data", "trainer", "trainer ran"]
    weights = tmp_path / "model.pt"
    assert capsys.readouterr().out == f"Weights: {weights}; history, pictures and logs: {tmp_path}\n"


def test_a_folder_with_a_run_is_refused_before_anything_is_made(folder: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        train(folder)
    sentence = str(find_input_error(caught.value))
    assert f"{folder} holds an earlier training" in sentence
    assert "--resume true" in sentence
    assert "--overwrite true" in sentence
    assert MADE == []
    assert (folder / "pictures" / "epoch_1.png").exists()


def test_pictures_of_two_runs_are_not_mixed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(folder, resume=True)
    assert (folder / "pictures" / "epoch_1.png").exists()
    train(folder, overwrite=True)
    assert f"Replacing the earlier training in {folder}." in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv", "model.pt", "train.yaml"]


def test_what_refuses_leaves_the_earlier_run_in_place(folder: Path) -> None:
    with pytest.raises(RuntimeError):
        train(folder, overwrite=True, **{"train::data::weights": "$1 / 0"})
    assert (folder / STATE).exists()
    assert (folder / "pictures").exists()


def test_a_folder_without_a_run_is_left_alone(folder: Path) -> None:
    (folder / STATE).unlink()
    train(folder)
    assert (folder / "pictures").exists()


def test_an_interrupted_training_has_its_exit_code_and_no_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train(tmp_path, stopped="SIGTERM")
    assert caught.value.code == 143
    assert "Weights" not in capsys.readouterr().out


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_every_training_is_this_call(path: Path) -> None:
    config = ConfigParser.load_config_file(str(path))
    (call,) = config["run"]
    assert call.pop("before")
    assert call == {
        "_target_": "bundle_runtime.engine.run.train",
        "output_dir": "@output_dir",
        "weights": "@encoder_file" if path.stem == "pretrain" else "@model_file",
        "resume": "@resume",
        "overwrite": "@overwrite",
    }
    assert "finalize" not in config


def test_all_trainings_are_looked_at() -> None:
    assert len(CONFIGS) >= 12
    assert len(PROBES) >= 3


@pytest.mark.parametrize("path", PROBES, ids=lambda path: path.parts[-3])
def test_every_linear_probe_runs_alone_in_its_folder(path: Path, tmp_path: Path) -> None:
    (call,) = yaml.safe_load(path.read_text())["run"]
    config = {
        "output_dir": str(tmp_path),
        "probe": {"_target_": f"{__name__}.Part", "name": "probe", "weights": str(tmp_path / "x")},
        "initialize": [{"_target_": "bundle_runtime.config.begin"}],
        "run": [call],
    }
    (tmp_path / "probe.yaml").write_text(yaml.safe_dump(config))
    MADE.clear()
    with in_use(tmp_path), pytest.raises(RuntimeError) as caught:
        create_workflow(config_file=str(tmp_path / "probe.yaml")).run()
    assert "in use by a run" in str(find_input_error(caught.value))
    assert MADE == []
    create_workflow(config_file=str(tmp_path / "probe.yaml")).run()
    assert MADE == ["probe"]
