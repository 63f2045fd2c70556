"""Items and epochs that MONAI Label puts into a training's config."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bundle_runtime.handed_over import take_over
from monai.bundle import ConfigParser

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
ITEMS = [{"image": f"/study/{name}.nii.gz", "label": f"/study/labels/{name}.nii.gz"} for name in "abc"]


def plain(name: str) -> ConfigParser:
    return ConfigParser(ConfigParser.load_config_file(str(BUNDLES / name / "configs" / "train.yaml")))


def handed(name: str, folder: Path, **more: Any) -> tuple[ConfigParser, dict[str, Any]]:
    (folder / "configs").mkdir(exist_ok=True)
    shutil.copy(BUNDLES / name / "configs" / "metadata.json", folder / "configs")
    parser = plain(name)
    overrides = {
        "bundle_root": str(folder), "train#dataset#data": ITEMS[:2], "validate#dataset#data": ITEMS[2:],
        "train#trainer#max_epochs": 20, "device": "cpu", **more,
    }  # fmt: skip
    parser.update(overrides)
    return parser, overrides


@pytest.mark.parametrize("name", ["btcv_unetr_mae", "brats_unetr_mae"])
@pytest.mark.parametrize("beside", [True, False])
def test_items_become_the_datalist_and_epochs_those_of_the_run(name: str, beside: bool, tmp_path: Path) -> None:
    parser, overrides = handed(name, tmp_path)
    settings = take_over(parser, overrides if beside else {})  # in the config file itself
    assert (settings["max_epochs"], settings["warmup_epochs"]) == (20, 2.0)
    assert (settings["init"], settings["overwrite"], settings["allow_unlearnt"]) == ("scratch", True, True)
    written = json.loads(Path(settings["datalist"]).read_text())
    assert [entry["image"] for entry in written["training"]] == ["/study/a.nii.gz", "/study/b.nii.gz"]
    assert [entry["image"] for entry in written["validation"]] == ["/study/c.nii.gz"]
    for part, cases in (("train", ["a", "b"]), ("validate", ["c"])):
        items = parser.get_parsed_content(f"{part}::data")
        assert [item["case"] for item in items] == cases
        assert parser[f"{part}::dataset::data"] == f"@{part}::data"
        if name.startswith("brats"):
            assert items[0]["sequences"] == ["flair", "t1", "t1ce", "t2"]
            assert items[0]["label_convention"] == "msd"
    assert parser["train::trainer::max_epochs"] == "@max_epochs"
    assert len(parser.get_parsed_content("classes")) == (4 if name.startswith("brats") else 14)


def test_a_setting_that_was_given_stays(tmp_path: Path) -> None:
    parser, overrides = handed("btcv_unetr_mae", tmp_path, warmup_epochs=7, init="weights.pt")
    settings = take_over(parser, overrides)
    assert not {"warmup_epochs", "init"} & set(settings)
    assert (parser["warmup_epochs"], parser["init"]) == (7, "weights.pt")


def test_training_goes_on_from_the_weights_that_are_there(tmp_path: Path) -> None:
    model = tmp_path / "models" / "model.pt"
    model.parent.mkdir()
    model.touch()
    assert take_over(*handed("btcv_unetr_mae", tmp_path))["init"] == str(model)
    (tmp_path / "models" / "pretrained_encoder.safetensors").touch()
    assert take_over(*handed("btcv_unetr_mae", tmp_path))["init"] == "mae"


def test_a_run_of_ours_is_left_alone() -> None:
    parser = plain("btcv_unetr_mae")
    before = dict(parser.get())
    assert take_over(parser, {"max_epochs": 3, "device": "cpu"}) == {}
    assert parser.get() == before
