import json
import re
from pathlib import Path
from typing import Any

import pytest
from bundle_runtime.class_names import channel_names, class_names
from custom_components.errors import InputError
from monai.bundle import ConfigParser

BUNDLES = Path(__file__).parents[2] / "bundles"
STAGES = [path for path in sorted(BUNDLES.glob("*/configs/*.yaml")) if "\nclasses:" in path.read_text()]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A file of each kind that names classes, each in words of its own."""
    pred = {"num_channels": 2, "channel_def": {"1": "m1", "0": "m0"}}
    contents: dict[str, dict[str, Any]] = {
        "datalist": {"class_names": ["d0", "d1"], "training": []},
        "weights": {"class_names": ["w0", "w1"]},
        "metadata": {"network_data_format": {"outputs": {"pred": pred}}},
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "weights.pt").touch()
    return {**{name: tmp_path / f"{name}.json" for name in contents}, "weights": tmp_path / "weights.pt"}


def test_the_config_comes_first_then_the_weights_the_datalist_and_the_metadata(places: dict[str, Path]) -> None:
    assert class_names(["a", 2], **places) == ["a", "2"]
    for kind, name in (("weights", "w0"), ("datalist", "d0"), ("metadata", "m0")):
        assert class_names(None, **places)[0] == name
        places.pop(kind)


def test_weights_that_are_not_there_or_do_not_say_it_are_passed_over(places: dict[str, Path]) -> None:
    places["weights"].with_suffix(".json").write_text("{}")
    assert class_names(None, **places) == ["d0", "d1"]
    places["weights"].unlink()
    assert class_names(None, **places) == ["d0", "d1"]


def test_a_package_whose_folder_is_not_known_reads_its_own_metadata(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package" / "configs").mkdir(parents=True)
    places["metadata"].rename(tmp_path / "package" / "configs" / "metadata.json")
    monkeypatch.setattr("bundle_runtime.class_names.__file__", str(tmp_path / "package" / "bundle_runtime" / "x.py"))
    assert class_names(None, metadata="./configs/metadata.json") == ["m0", "m1"]


def test_classes_that_nobody_names_are_asked_for(places: dict[str, Path]) -> None:
    places["datalist"].write_text('{"training": []}')
    with pytest.raises(InputError, match=rf"class_names is null, and {places['datalist']} names no classes; name them"):
        class_names(None, datalist=places["datalist"])


def test_an_unquoted_list_of_two_words_is_named() -> None:
    with pytest.raises(InputError, match=r"is the text '\[liver,left kidney\]', expected a list; quote its words"):
        class_names("[liver,left kidney]")


def test_a_channel_without_a_name_is_no_list_of_classes() -> None:
    pred = {"num_channels": 3, "channel_def": {"0": "background", "2": "liver"}}
    assert channel_names({"network_data_format": {"outputs": {"pred": pred}}}) is None


@pytest.mark.parametrize("path", STAGES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_stage_has_as_many_outputs_as_the_datalist_has_classes(path: Path, tmp_path: Path) -> None:
    names = ["background", "TC", "WT"]
    (tmp_path / "datalist.json").write_text(json.dumps({"class_names": names, "training": []}))
    parser = ConfigParser(ConfigParser.load_config_file(str(path)))
    text = re.sub(r"^.*given: \"@class_names\".*$", "", path.read_text(), flags=re.M)
    assert "@class_names" not in text
    if "datalist" not in parser:  # whole slides: the classes are those of the weights
        return
    needed = {"probe_interval": 1} if "probe_interval" in parser else {}
    guided = {"label_guided_crops": True} if "label_guided_crops" in parser else {}
    parser.update({"class_names": None, "datalist": str(tmp_path / "datalist.json"), **needed, **guided})
    parser.update({"bundle_root": str(path.parents[1]), "model_dir": str(tmp_path)})
    assert parser.get_parsed_content("classes") == names
    outputs = {"out_channels", "num_classes"} & set(parser["network_def"])
    counts = [parser.get_parsed_content(f"network_def::{key}") for key in outputs]
    assert counts == [len(names) - ("brats" in str(path))] * len(counts)  # regions have no channel for the background
    assert counts or path.stem == "pretrain"
