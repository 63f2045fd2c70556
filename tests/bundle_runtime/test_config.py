import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from monai.bundle import create_workflow

from bundle_runtime.config import _hush, refuse_unknown_keys, settings
from custom_components.errors import InputError


def write(path: Path, content: dict) -> str:
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def stage(tmp_path: Path) -> str:
    write(tmp_path / "other.yaml", {"stage": "other", "mask_ratio": 0.5})
    return write(
        tmp_path / "train.yaml",
        {
            "stage": "train",
            "bundle_root": ".",
            "seed": 7,
            "max_epochs": 5,
            "initialize": [{"_target_": "bundle_runtime.config.begin", "seed": "@seed"}],
            "run": ["$print('epochs', @max_epochs)"],
        },
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_mistyped_override_is_refused_in_one_sentence(stage: str) -> None:
    """MONAI adds an unknown key silently: `--max_epoch 3` would train for the default number of epochs."""
    result = run("--config_file", stage, "--max_epoch", "3")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Unknown setting 'max_epoch' (did you mean 'max_epochs'?)" in result.stderr
    assert "epochs 5" not in result.stdout


def test_known_overrides_and_seed(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    workflow = create_workflow(config_file=stage, max_epochs=3)
    assert torch.initial_seed() == 7
    workflow.run()
    assert "epochs 3" in capsys.readouterr().out
    assert settings() == {"stage": "train", "bundle_root": ".", "seed": 7, "max_epochs": 3}


def test_overlay_may_serve_several_stages_but_not_invent_keys(stage: str, tmp_path: Path) -> None:
    overlay = write(tmp_path / "demo.yaml", {"max_epochs": 1, "mask_ratio": 0.9})
    create_workflow(config_file=[stage, overlay])
    typo = write(tmp_path / "typo.yaml", {"mask_ration": 0.9})
    with pytest.raises(Exception, match="begin") as caught:
        create_workflow(config_file=[stage, typo])
    assert "mask_ration" in str(caught.value.__cause__)


def test_a_setting_of_another_stage_on_the_command_line_is_refused(stage: str) -> None:
    with pytest.raises(InputError, match="mask_ratio"):
        refuse_unknown_keys(["stage", "mask_ratio"], [stage])


def test_keys_that_monai_brings_along_are_fine(stage: str) -> None:
    refuse_unknown_keys(["stage", "_meta_", "tracking_uri", "experiment_name"], [stage])


def test_words_of_the_command_line(stage: str, tmp_path: Path) -> None:
    """Fire hands `true`, `false`, `null` and unquoted lists over as text."""
    base = write(
        tmp_path / "words.yaml",
        {
            "stage": "words",
            "resume": True,
            "micro_batch": 4,
            "class_names": ["background", "liver"],
            "train": {"step": 1},
            "initialize": [{"_target_": "bundle_runtime.config.begin"}],
            "run": ["$print('got', @resume, @micro_batch)"],
        },
    )
    result = run("--config_file", base, "--resume", "false", "--micro_batch", "null")
    assert "got False None" in result.stdout, result.stderr
    result = run("--config_file", base, "--class_names", "[background,right kidney]")
    assert "class_names is the text" in result.stderr
    result = run("--config_file", base, "--train#stepp", "3")
    assert "Unknown setting 'train#stepp'" in result.stderr


@pytest.mark.parametrize(
    ("name", "changes", "gpu", "said"),
    [
        ("train", {}, False, True),
        ("pretrain", {}, False, True),
        ("train_segmentation", {}, False, True),
        ("train", {}, True, False),
        ("evaluate", {}, False, False),
        ("train", {"hidden_size": 96}, False, False),
        ("train", {"demo": True}, False, False),
    ],
)
def test_a_training_of_full_size_without_a_gpu_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str,
    changes: dict[str, int], gpu: bool, said: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    begin = [{"_target_": "bundle_runtime.config.begin"}]
    size = {"hidden_size": changes.get("hidden_size", 768)}
    file = write(tmp_path / f"{name}.yaml", {"stage": name, **size, "initialize": begin, "run": ["$1"]})
    demos = [write(tmp_path / f"{demo}.yaml", size) for demo in ("demo", "demo_segmentation")]
    create_workflow(config_file=[file, demos[0]] if "demo" in changes else file)
    output = capsys.readouterr().out
    assert ("No GPU was found" in output) is said
    demo = demos[1] if name == "train_segmentation" else demos[0]
    assert (f"--config_file \"['{file}','{demo}']\"" in output) is said


def test_the_froc_of_monai_is_quiet_about_scikit_image() -> None:
    """A repeated FutureWarning about `major_axis_length`, which nobody who runs a stage can act on."""
    from monai.apps.pathology.utils import compute_isolated_tumor_cells

    mask = np.zeros((8, 8), np.int32)
    mask[2:5, 2:7] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _hush()
        assert compute_isolated_tumor_cells(mask, 100.0) == [1]
