"""What the configs of the chest X-ray bundle hand on, without running a stage."""

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from custom_components.errors import find_input_error

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
    alone, several = (parser(f"{stage}.yaml", *more).get("initialize") for more in ((), ("multi_gpu.yaml",)))
    assert several[: len(alone)] == alone
    assert any("init_process_group" in str(entry) for entry in several)


def test_attention_pictures_name_probabilities_of_the_task() -> None:
    handlers = parser("inference.yaml").get("handlers")
    (pictures,) = (entry for entry in handlers if entry["_target_"].endswith("AttentionPictures"))
    assert pictures["task"] == "@task"
