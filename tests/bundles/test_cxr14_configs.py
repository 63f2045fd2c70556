"""What the configs of the chest X-ray bundle hand on, without running a stage."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bundle_runtime.failures import find_input_error
from bundle_runtime.weights.save import save_network
from monai.bundle import ConfigParser
from PIL import Image

from .conftest import BUNDLES

CONFIGS = BUNDLES / "cxr14_mae" / "configs"
NAMES = ["mass", "nodule"]


def parser(*files: str, **settings: Any) -> ConfigParser:
    """The merged config of a stage, with some settings replaced."""
    result = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / file) for file in files]))
    result.update({"bundle_root": str(CONFIGS.parent), **settings})
    return result


@pytest.mark.parametrize(
    ("stage", "lists"),
    [
        ("pretrain", ["train::data", "validate::data"]),
        ("train", ["train::data", "validate::data"]),
        ("evaluate", ["selection_data", "data"]),
        ("linear_probe", ["train_data", "data"]),
    ],
)
def test_findings_in_another_order_than_the_datalists_are_refused(stage: str, lists: list[str], tmp_path: Path) -> None:
    # The labels stand in the order of the datalist: each would be learnt and scored under the name of another.
    content: dict[str, Any] = {"task": "multi_label", "class_names": NAMES}
    for number, part in enumerate(("training", "validation", "test")):
        content |= {part: [{"image": f"{number}.png", "label": [1, 0], "patient_id": str(number)}]}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    probe = {"probe_interval": 1} if stage == "pretrain" else {}
    for key in lists:
        right = parser(f"{stage}.yaml", dataset_dir=str(tmp_path), class_names=NAMES, **probe)
        assert right.get_parsed_content(key)[0]["label"] == [1, 0]
        turned = parser(f"{stage}.yaml", dataset_dir=str(tmp_path), class_names=NAMES[::-1], **probe)
        with pytest.raises(Exception, match=r".") as caught:
            turned.get_parsed_content(key)
        assert "differ from those of the datalist" in str(find_input_error(caught.value))


def test_pretraining_without_a_probe_does_not_ask_for_the_findings(tmp_path: Path) -> None:
    content = {"task": "multi_label", "class_names": NAMES, "training": [{"image": "a.png", "label": [1, 0]}]}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    (item,) = parser("pretrain.yaml", dataset_dir=str(tmp_path)).get_parsed_content("train::data")
    assert "label" not in item


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_several_processes_check_the_settings_too(stage: str) -> None:
    alone, several = (parser(f"{stage}.yaml", *more).get("initialize") for more in ((), ("multi_gpu_train.yaml",)))
    assert several[: len(alone)] == alone
    assert any("init_process_group" in str(entry) for entry in several)


@pytest.mark.parametrize("bundle", ["cxr14_mae", "histo_sdmae", "medcls_msmae"])
def test_inference_knows_that_the_network_fits_before_it_reads_an_image(bundle: str, tmp_path: Path) -> None:
    path = BUNDLES / bundle / "configs" / "inference.yaml"
    small = {"hidden_size": 12, "mlp_dim": 24, "num_layers": 3, "num_heads": 2, "num_workers": 0}
    places = {"dataset_dir": str(tmp_path / "in"), "output_dir": str(tmp_path / "out"), "model_dir": str(tmp_path)}
    (tmp_path / "in").mkdir()
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "in" / "a.png")

    def inference() -> ConfigParser:
        result = ConfigParser(ConfigParser.load_config_file(str(path)))
        result.update({"bundle_root": str(path.parents[1]), **small, **places})
        return result

    with pytest.raises(Exception, match=r".") as caught:
        inference().get_parsed_content("evaluator")
    assert "no trained network found" in str(find_input_error(caught.value))
    assert not (tmp_path / "out").exists()
    save_network(tmp_path / "model.pt", inference().get_parsed_content("network_def"), {})
    for _ in range(2):  # the cache is that of a run alone: no other run can be refused for its settings
        images = inference().get_parsed_content("images")
        assert images.folder.parent == tmp_path / "out"
        assert images.folder.name.startswith(".cache-")
        assert images.items[0]["warning"] == ""
    assert len(list((tmp_path / "out").iterdir())) == 2  # until the process ends, see tests/test_files.py


@pytest.mark.parametrize("bundle", ["cxr14_mae", "histo_sdmae", "medcls_msmae"])
@pytest.mark.parametrize(
    ("stage", "sentence"),
    [("evaluate", "no trained network found"), ("linear_probe", "there is no pre-trained encoder")],
)
def test_scoring_knows_that_the_network_fits_before_it_reads_an_image(
    bundle: str, stage: str, sentence: str, tmp_path: Path
) -> None:
    path = BUNDLES / bundle / "configs" / f"{stage}.yaml"
    small = {"hidden_size": 12, "mlp_dim": 24, "num_layers": 3, "num_heads": 2, "num_workers": 0}
    places = {"dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "out"), "model_dir": str(tmp_path)}
    lists = {part: [{"image": f"{part}.png", "label": 0}] for part in ("training", "validation", "test")}
    content = {"task": "multi_class", "class_names": NAMES, **lists}  # the pictures are not there
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    caches = ("images", "selection_images") if stage == "evaluate" else ("images", "train_images")
    for part in ("run" if stage == "evaluate" else "probe", *caches):
        config = ConfigParser(ConfigParser.load_config_file(str(path)))
        settings = {"class_names": NAMES, "task": "multi_class", "cache": str(tmp_path / "cache")}
        config.update({"bundle_root": str(path.parents[1]), **small, **places, **settings})
        with pytest.raises(Exception, match=r".") as caught:
            config.get_parsed_content(part)
        assert sentence in str(find_input_error(caught.value))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("bundle", ["cxr14_mae", "histo_sdmae", "medcls_msmae"])
def test_a_linear_probe_loses_the_image_that_fails_alone(bundle: str, tmp_path: Path) -> None:
    lists: dict[str, Any] = {}
    for part, count in (("training", 6), ("test", 4)):
        lists[part] = [{"image": f"{part}{number}.png", "label": number % 2} for number in range(count)]
        for number, item in enumerate(lists[part]):
            pixels = np.random.default_rng([count, number]).integers(0, 256, (24, 24), np.uint8)
            Image.fromarray(pixels).save(tmp_path / item["image"])
    (tmp_path / "datalist.json").write_text(json.dumps({"task": "multi_class", "class_names": NAMES, **lists}))
    broken = [tmp_path / "test2.png", tmp_path / "training1.png"]
    broken[0].write_bytes(broken[0].read_bytes()[:60])
    settings = {
        "hidden_size": 12, "mlp_dim": 24, "num_layers": 1, "num_heads": 2, "num_workers": 0, "img_size": 16,
        "patch_size": 8, "cache_size": 24, "init": "scratch", "task": "multi_class", "class_names": NAMES,
        "device": "cpu", "methods": ["knn"], "pool": "mean", "dataset_dir": str(tmp_path),
        "output_dir": str(tmp_path / "out"), "cache": str(tmp_path / "cache"),
    }  # fmt: skip
    path = BUNDLES / bundle / "configs" / "linear_probe.yaml"

    def probe() -> tuple[ConfigParser, dict[str, Any]]:
        config = ConfigParser(ConfigParser.load_config_file(str(path)))
        config.update(
            {"bundle_root": str(path.parents[1]), **settings, "probe::header": {"failed": "$@inputs.problems"}}
        )
        return config, config.get_parsed_content("probe")

    config, found = probe()
    assert (found["train_images"], found["test_images"]) == (6, 3)
    (failed,) = found["header"]["failed"]
    assert failed.startswith(f"{broken[0]}: ")
    with pytest.raises(Exception, match=r".") as caught:
        config.get_parsed_content("finalize")
    assert f"1 of 4 cases could not be used: {broken[0]}: " in str(find_input_error(caught.value))
    (listed,) = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert listed["file"] == str(broken[0])
    broken[1].write_bytes(b"")  # what it would learn from is not left out by itself
    with pytest.raises(Exception, match=r".") as caught:
        probe()
    assert f"1 of 6 pictures cannot be used: {broken[1]}: " in str(find_input_error(caught.value))


def test_what_the_network_was_made_for_is_said_for_x_rays_only() -> None:
    assert parser("inference.yaml").get("modalities") == ["CR", "DX", "DR", "RG"]
    assert parser("inference.yaml").get("views") == ["PA", "AP"]
    for bundle in ("histo_sdmae", "medcls_msmae"):
        config = ConfigParser.load_config_file(str(BUNDLES / bundle / "configs" / "inference.yaml"))
        assert config["modalities"] is config["views"] is None


@pytest.mark.parametrize("section", ["test", "validation"])
def test_both_tables_of_the_evaluation_say_which_list_they_are_of(section: str) -> None:
    config = parser("evaluate.yaml", section=section)
    assert config.get_parsed_content("handlers::2::title") == f"{section.capitalize()} list"
    assert config.get_parsed_content("selection_evaluator::val_handlers::1::title").startswith(
        "Validation list, used to"
    )


def test_the_sidecar_of_weights_names_no_folder() -> None:
    config = parser("train.yaml", init="/home/me/encoder.safetensors")
    sidecar = config.get("train::handlers::1::sidecar")
    assert sidecar["init"] == "$os.path.basename(@init)"
    assert config.get_parsed_content("train::handlers::1::sidecar::init") == "encoder.safetensors"


def test_attention_pictures_name_probabilities_of_the_task() -> None:
    handlers = parser("inference.yaml").get("handlers")
    (pictures,) = (
        entry for entry in handlers if isinstance(entry, dict) and entry["_target_"].endswith("AttentionPictures")
    )
    assert pictures["task"] == "@task"
    assert pictures["pixels"] == {"mean": "@pixel_mean", "std": "@pixel_std"}  # false colours otherwise


@pytest.mark.parametrize("bundle", ["cxr14_mae", "histo_sdmae", "medcls_msmae"])
@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_refused_cache_or_encoder_leaves_the_earlier_run_in_place(
    bundle: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--overwrite true` removes state and pictures only when nothing can be refused any more."""
    lists: dict[str, Any] = {part: [] for part in ("training", "validation", "test")}
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        part = ("training", "validation", "test")[number // 2]
        lists[part].append({"image": f"{number}.png", "label": number % 2, "patient_id": str(number)})
    (tmp_path / "datalist.json").write_text(json.dumps({"task": "multi_class", "class_names": NAMES, **lists}))
    state = tmp_path / "out" / "training_state.pt"
    state.parent.mkdir()
    state.touch()
    path = BUNDLES / bundle / "configs" / f"{stage}.yaml"
    small = {"hidden_size": 12, "mlp_dim": 24, "num_layers": 3, "num_heads": 2, "num_workers": 0, "cache_size": 40}
    places = {"bundle_root": str(path.parents[1]), "dataset_dir": str(tmp_path), "output_dir": str(state.parent),
              "model_dir": str(tmp_path), "cache": str(tmp_path / "cache")}  # fmt: skip
    settings = {**small, **places, "class_names": NAMES, "task": "multi_class", "overwrite": True}

    def start(**changes: Any) -> str:
        config = ConfigParser(ConfigParser.load_config_file(str(path)))
        trainer = SimpleNamespace(run=lambda: None, state=SimpleNamespace())  # all but the training itself
        config.update({**settings, **changes, "train::trainer": trainer})
        monkeypatch.setattr("bundle_runtime.config._parsers", [config])
        try:
            config.get_parsed_content("run::0")
        except Exception as error:
            return str(find_input_error(error))
        return ""

    if stage == "train":
        assert "there is no pre-trained encoder" in start()
        assert state.exists()
    assert start(init="scratch") == ""
    assert not state.exists()  # nothing was refused, so the earlier run was removed
    state.touch()
    said = start(init="scratch", cache_size=48)
    assert "was made with other settings" in said
    assert "--cache <another folder>" in said
    assert state.exists()
