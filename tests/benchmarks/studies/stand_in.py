"""Stands in for `python -m monai.bundle run` in the runner's tests: the same files, in milliseconds.

It trains as many epochs as the settings say, keeps a state, goes on from it, and obeys SIGTERM as the bundles do. What
it does is appended to `calls.txt` beside the stages' folders.
"""

import ast
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

PATIENTS, CASES = 12, 24


def main() -> None:
    flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    config, overlay = (Path(file) for file in ast.literal_eval(flags["--config_file"]))
    settings = yaml.safe_load(overlay.read_text())
    out, models = Path(flags["--output_dir"]), Path(flags["--model_dir"])
    if settings.get("fail"):
        sys.exit("asked to fail")
    if config.stem == "evaluate":
        evaluate(out, json.loads((models / "model.json").read_text()))
    else:
        train(config.stem, out, models, settings, flags)


def say(out: Path, text: str) -> None:
    with (out.parent / "calls.txt").open("a") as stream:
        stream.write(f"{out.name} {text}\n")


def train(stage: str, out: Path, models: Path, settings: dict[str, Any], flags: dict[str, str]) -> None:
    if settings.get("init") == "mae":
        assert Path(flags["--encoder_file"]).is_file()
    stopped = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)

    signal.signal(signal.SIGTERM, stop)
    state = out / "training_state.pt"
    assert flags["--resume"] == "True"
    done = int(state.read_text()) if state.exists() else 0
    say(out, f"starts at {done}")
    score = "val_loss" if stage == "pretrain" else "val_macro_auc"
    for epoch in range(done, int(settings["max_epochs"])):
        if stopped:
            say(out, f"stops at {epoch}")
            sys.exit(128 + stopped[0])
        time.sleep(settings.get("epoch_seconds", 0))
        state.write_text(str(epoch + 1))
    epochs = int(settings["max_epochs"])
    rate = float(settings.get("learning_rate", 0.001))
    rows = [f"{epoch},{epoch},0.1,{1 / epoch},{quality(rate) * epoch / epochs}" for epoch in range(1, epochs + 1)]
    (out / "history.csv").write_text("\n".join([f"epoch,iteration,learning_rate,train_loss,{score}", *rows]) + "\n")
    models.mkdir(exist_ok=True)
    (models / "pretrained_encoder.safetensors").touch()
    (models / "model.json").write_text(json.dumps(settings))
    say(out, "ends")


def quality(rate: float) -> float:
    """The best learning rate is 0.001."""
    return 0.9 - 0.1 * abs(rate - 0.001) / 0.001 / 10


def evaluate(out: Path, settings: dict[str, Any]) -> None:
    """One finding; pre-training puts more of the positives ahead."""
    say(out, "evaluates")
    ahead = (8 if settings["init"] == "mae" else 6) + settings["seed"] % 2
    rows = []
    for case in range(CASES):
        positive = case < PATIENTS
        probability = (0.8 if case < ahead else 0.3) if positive else 0.5
        rows.append(f"c{case:02},p{case % PATIENTS},file,{probability},{int(positive)}")
    (out / "cases.csv").write_text("\n".join(["case,patient_id,file,probability mass,label mass", *rows]) + "\n")
    about = {"class_names": ["mass"], "task": "multi_label", "parity": False, "ordered": False}
    (out / "scores.json").write_text(json.dumps({**about, "confidence": 0.95, "seed": 0}))


if __name__ == "__main__":
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    main()
