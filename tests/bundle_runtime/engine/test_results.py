"""Where a training has left its results."""

from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from bundle_runtime.engine.results import tell_results

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "bundles").glob("*/configs/*train*.yaml"))


def test_the_last_line_names_weights_and_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "model.pt"
    tell_results(weights, "out")
    assert capsys.readouterr().out.startswith(f"Weights: none ({weights} was not written); history")
    weights.touch()
    tell_results(weights, "out")
    assert capsys.readouterr().out == f"Weights: {weights}; history, pictures and logs: out\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_every_training_ends_with_it(path: Path) -> None:
    config = ConfigParser.load_config_file(str(path))
    last = config["finalize"][-1]
    written = "encoder_file" if path.stem == "pretrain" else "model_file"
    assert last == {
        "_target_": "bundle_runtime.engine.results.tell_results",
        "weights": f"@{written}",
        "output_dir": "@output_dir",
    }
    assert config["finalize"][0]["_target_"].endswith("exit_if_interrupted")  # which ends the process before


def test_all_trainings_are_looked_at() -> None:
    assert len(CONFIGS) == 12
