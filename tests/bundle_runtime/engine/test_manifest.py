"""The manifest of a run."""

import getpass
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_runtime.engine import manifest
from bundle_runtime.engine.manifest import RunManifest
from custom_components.errors import InputError
from ignite.engine import Events
from monai.handlers import StatsHandler
from tiny_training import At, Tiny


def read(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def test_the_manifest_is_there_from_the_start_and_completed_at_the_end(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(manifest, "settings", lambda: {"seed": "$0 + 1"})
    monkeypatch.setattr(manifest, "resolve", {"seed": 1}.get)
    Tiny(tmp_path, handlers=lambda tiny: [At(Events.ITERATION_STARTED, 1, lambda: seen.append(read(tmp_path)))]).run()
    begun, done = seen[0], read(tmp_path)
    assert begun["status"] == "running"
    assert {"started", "command", "config", "seed", "versions", "platform", "device", "processes"} <= begun.keys()
    assert done["status"] == "finished"
    assert (done["epochs"], done["iterations"], done["seed"]) == (3, 12, 1)
    assert done["versions"]["torch"] == torch.__version__
    assert done["peak_host_mib"] > 50
    assert done["best"]["epoch"] > 0
    assert done["validation"].keys() == {"mse"}
    assert done["seconds"] > 0


def test_a_failure_is_noted_with_its_sentence_and_goes_on(tmp_path):
    def fail():
        raise InputError("The file a.nii.gz is empty.")

    log = StatsHandler(iteration_log=False, name="silent")
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        Tiny(tmp_path, handlers=lambda tiny: [At(Events.ITERATION_STARTED, 5, fail), log]).run()
    assert (read(tmp_path)["status"], read(tmp_path)["error"]) == ("failed", "The file a.nii.gz is empty.")


def test_another_error_is_noted_with_its_kind(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Tiny(tmp_path, handlers=lambda tiny: [At(Events.EPOCH_COMPLETED, 4, lambda: 1 / 0)]).run()
    assert read(tmp_path)["error"] == "ZeroDivisionError: division by zero"


def test_ctrl_c_without_a_checkpoint_handler_is_an_interruption(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tiny(tmp_path, handlers=lambda tiny: [At(Events.ITERATION_STARTED, 2, interrupt)]).run()
    assert (read(tmp_path)["status"], read(tmp_path)["error"]) == ("interrupted", "KeyboardInterrupt")


def test_earlier_runs_are_kept_and_an_unfinished_one_was_killed(tmp_path):
    Tiny(tmp_path, epochs=1).run()
    content = read(tmp_path)
    content["status"] = "running"
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    Tiny(tmp_path, epochs=2, resume=True).run()
    (tmp_path / "again").mkdir()
    assert [(run["status"], run["epochs"]) for run in read(tmp_path)["earlier_runs"]] == [("killed", 1)]
    Tiny(tmp_path, epochs=3, resume=True).run()
    assert [run["status"] for run in read(tmp_path)["earlier_runs"]] == ["killed", "finished"]
    (tmp_path / "manifest.json").write_text("not ours")
    Tiny(tmp_path, epochs=3, resume=True).run()
    assert read(tmp_path)["earlier_runs"] == []


def test_no_user_or_host_name_and_no_invalid_json(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: Path("/home/jane")))
    monkeypatch.setattr(sys, "argv", ["/home/jane/run.py", "--x"])
    config = {"output_dir": "/home/jane/out", "lr": float("nan"), "device": torch.device("cpu"), "size": (96, 96)}
    monkeypatch.setattr(manifest, "settings", lambda: config)
    handler = RunManifest(tmp_path / "run", data_fingerprint="abc")
    tiny = Tiny(tmp_path, epochs=1)
    handler.attach(tiny.trainer)
    tiny.run()
    text = (tmp_path / "run" / "manifest.json").read_text()
    content = json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert content["command"] == ["~/run.py", "--x"]
    assert content["config"] == {"output_dir": "~/out", "lr": None, "device": "cpu", "size": [96, 96]}
    assert content["data_fingerprint"] == "abc"
    assert "jane" not in text
    assert platform.node() not in text
    assert getpass.getuser() not in content["platform"]


def test_an_evaluation_has_its_own_metrics_in_the_manifest(tmp_path):
    tiny = Tiny(tmp_path)
    RunManifest(tmp_path / "evaluation").attach(tiny.evaluator)
    tiny.evaluator.run()
    content = json.loads((tmp_path / "evaluation" / "manifest.json").read_text())
    assert content["status"] == "finished"
    assert content["metrics"].keys() == {"mse"}
    assert content["best"]["metric"] == "mse"


def test_the_commit_is_that_of_this_package_or_none(tmp_path, monkeypatch):
    module = tmp_path / "vendored" / "manifest.py"
    module.parent.mkdir()
    module.write_text("")
    monkeypatch.setattr(manifest, "__file__", str(module))
    assert manifest.git_commit() is None  # no repository
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert manifest.git_commit() is None  # installed inside a repository that does not hold it
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    subprocess.run(["git", "-C", str(tmp_path), *identity, "commit", "-qm", "x"], check=True)
    found = manifest.git_commit()
    assert len(found["commit"]) == 40
    assert found["changed"] is False
    module.write_text("# changed")
    assert manifest.git_commit()["changed"] is True
    monkeypatch.setenv("PATH", "")
    assert manifest.git_commit() is None  # no git
