import subprocess
import warnings
from pathlib import Path

import launch
import numpy as np
import pytest
import yaml
from bundle_runtime.config import (
    _hush,
    default_of,
    read_value,
    refuse_unknown_keys,
    refuse_unknown_paths,
    resolve,
    settings,
)
from custom_components.errors import InputError
from monai.bundle import create_workflow


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
    return launch.run("monai.bundle", "run", *arguments)


def test_mistyped_override_is_refused_in_one_sentence(stage: str) -> None:
    """MONAI adds an unknown key silently: `--max_epoch 3` would train for the default number of epochs."""
    result = run("--config_file", stage, "--max_epoch", "3")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Unknown setting 'max_epoch' (did you mean 'max_epochs'?)" in result.stderr
    assert "epochs 5" not in result.stdout


def test_a_word_without_a_flag_is_no_run_id(stage: str) -> None:
    result = run("--config_file", stage, "--seed", "[1,two", "words]")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Error: 'words]' belongs to no --setting; put quotes around words" in result.stderr
    assert "epochs" not in result.stdout


def test_known_overrides_and_seed(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    workflow = create_workflow(config_file=stage, max_epochs=3)
    assert torch.initial_seed() == 7
    workflow.run()
    assert "epochs 3" in capsys.readouterr().out
    assert settings() == {"stage": "train", "bundle_root": ".", "seed": 7, "max_epochs": 3}


def test_entries_of_the_running_config_are_made_when_asked_for(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_workflow(config_file=stage, max_epochs="$2 * @seed")
    assert resolve("max_epochs") == 14
    monkeypatch.setattr("bundle_runtime.config._parsers", [])
    with pytest.raises(RuntimeError, match="No run has begun, so there is no config to take 'seed' from"):
        resolve("seed")


def test_overlay_may_serve_several_stages_but_not_invent_keys(stage: str, tmp_path: Path) -> None:
    overlay = write(tmp_path / "demo.yaml", {"max_epochs": 1, "mask_ratio": 0.9})
    create_workflow(config_file=[stage, overlay])
    typo = write(tmp_path / "typo.yaml", {"mask_ration": 0.9})
    with pytest.raises(Exception, match="begin") as caught:
        create_workflow(config_file=[stage, typo])
    assert "mask_ration" in str(caught.value.__cause__)


def test_an_overlay_may_not_invent_keys_inside_a_section(stage: str, tmp_path: Path) -> None:
    whole = write(Path(stage), {**yaml.safe_load(Path(stage).read_text()), "loss": {"weight": 1}})
    create_workflow(config_file=[whole, write(tmp_path / "inside.yaml", {"loss::weight": 2})])
    typo = write(tmp_path / "typo.yaml", {"loss::wieght": 2})
    with pytest.raises(Exception, match="begin") as caught:
        create_workflow(config_file=[whole, typo])
    assert "Unknown setting 'loss#wieght' (did you mean 'weight'?)" in str(caught.value.__cause__)


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


def test_texts_and_numbers_survive(tmp_path: Path) -> None:
    """MONAI makes `::` of `#`, takes `@x` for a reference; Fire makes 12 of 1_2."""
    base = write(
        tmp_path / "texts.yaml",
        {
            "stage": "texts",
            "output_dir": "$'eval'",
            "model_dir": "models",
            "class_names": ["background", "liver"],
            "rate": "$2.0 * 3",
            "initialize": [{"_target_": "bundle_runtime.config.begin"}],
            "run": ["$print([@output_dir, @model_dir, @class_names, @rate])"],
        },
    )
    overlay = write(tmp_path / "over.yaml", {"class_names": ["grade #1", "50 %", "@home", "ä b", "a::b"]})
    result = run("--config_file", f"['{base}','{overlay}']", "--output_dir", "1_2", "--model_dir=@a/m#1 %x@y\\'")
    wanted = ["1_2", "@a/m#1 %x@y\\'", ["grade #1", "50 %", "@home", "ä b", "a::b"], 6.0]
    assert str(wanted) in result.stdout, result.stderr
    result = run("--config_file", base, "--class_names", "['a', 2017]", "--output_dir", "@model_dir", "--rate", "5")
    assert str(["models", "models", ["a", "2017"], 5]) in result.stdout, result.stderr
    result = run("--config_file", base, "--output_dir", "Lauf #2 @50%", "--model_dir", "'quoted #1'")
    assert "['Lauf #2 @50%', 'quoted #1', " in result.stdout, result.stderr


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


@pytest.mark.parametrize(
    ("value", "default", "read"),
    [
        ("false", True, False),
        ("null", 4, None),
        ("None", 4, None),
        ("null", "hist", None),
        ("none", "hist", "none"),  # a word of its own in `equalise`
        ("1e-4", 1.5e-4, 1e-4),
        (3, 1.5, 3),
        ([16, 16, 8], 16, [16, 16, 8]),
        ("$2 * @seed", 4, "$2 * @seed"),
        ((1, 2), [0], (1, 2)),
        ("scratch", "mae", "scratch"),
        (5, None, 5),
        (False, "ram", False),
    ],
)
def test_values_take_the_type_of_the_default(value: object, default: object, read: object) -> None:
    found = read_value("key", value, default)
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(
    ("value", "default", "sentence"),
    [
        ("fast", 1e-3, "key is the text 'fast', expected a number"),
        (True, 3, "key is True, expected a number"),
        ("yes", False, "key is the text 'yes', expected true or false"),
        (1, False, "key is 1, expected true or false"),
        ("[liver,right kidney]", ["liver"], "expected a list; quote its words"),
        (96, [64, 64, 64], r"key is 96, expected a list such as \[64, 64, 64\]"),
    ],
)
def test_another_type_is_one_sentence(value: object, default: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_value("key", value, default)


def test_defaults_that_are_expressions() -> None:
    content = {
        "init": "mae",
        "rate": "$1.0 if @init == 'mae' else 2.0",
        "same": "@rate",
        "broken": "$1 / 0",
        "plain": 3,
    }
    found = [default_of(key, content) for key in ("rate", "same", "broken", "plain")]
    assert found == [1.0, 1.0, "$1 / 0", 3]


CONFIG = {
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1.0},
    "inferer": {"_target_": "SlidingWindowInferer", "overlap": 0.5},
    "steps": {"transforms": [{"keys": "image"}]},
    "network": "@local_network",
}


@pytest.mark.parametrize(
    "path", ["inferer#overlap", "inferer::mode", "optimizer#amsgrad", "steps#transforms#0#keys", "inferer#_disabled_"]
)
def test_entries_and_arguments_that_exist(path: str) -> None:
    refuse_unknown_paths([path], CONFIG, "train.yaml")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("inferer#overlapp", r" \(did you mean 'overlap'\?\)"),
        ("optimizr#lr", r" \(did you mean 'optimizer'\?\)"),
        ("steps::transforms::1::keys", ""),
        ("network#depth", ""),
    ],
)
def test_what_is_not_there_is_named(path: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"Unknown setting '{path.replace('::', '#')}'{hint}: train.yaml"):
        refuse_unknown_paths([path], CONFIG, "train.yaml")


def test_the_bundle_root_is_the_folder_of_the_configs_unless_it_is_named(stage: str, tmp_path: Path) -> None:
    configs = tmp_path / "bundle" / "configs"
    configs.mkdir(parents=True)
    content = yaml.safe_load(Path(stage).read_text())
    inside = write(configs / "train.yaml", content)
    assert create_workflow(config_file=inside).bundle_root == "."  # no bundle's: nothing says what it is
    (configs / "metadata.json").write_text("{}")
    workflow = create_workflow(config_file=inside)
    assert workflow.bundle_root == str(tmp_path / "bundle")
    assert settings()["bundle_root"] == str(tmp_path / "bundle")
    assert create_workflow(config_file=inside, bundle_root="elsewhere").bundle_root == "elsewhere"


def test_each_of_two_runs_in_a_process_has_its_own_settings(stage: str) -> None:
    content = yaml.safe_load(Path(stage).read_text())
    asked = "$__import__('bundle_runtime.config').config"
    content |= {"run": [f"{asked}.settings()['max_epochs']", f"{asked}.resolve('max_epochs')"]}
    write(Path(stage), content)
    first = create_workflow(config_file=stage, max_epochs=3)
    create_workflow(config_file=stage, max_epochs=4)
    assert first.run() == [3, 3]
