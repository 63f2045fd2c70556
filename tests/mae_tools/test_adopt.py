import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from custom_components.errors import InputError
from mae_tools.adopt import Setting, adopt, with_value
from mae_tools.agree import describe, read_metadata, refuse_disagreement
from mae_tools.bundles import find_bundle, stages
from mae_tools.metadata_schema import METADATA_SCHEMA


def datalist(path: Path, **content: Any) -> str:
    path.write_text(json.dumps({"training": [{"image": "a.png", "patient_id": "1"}], **content}))
    return str(path)


def overlay(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["background", "liver: left", "#2 b"]
    mine = overlay(tmp_path / "mine.yaml", "spacing: [1.0, 1.0, 4.0]   # the median\nroi_size: [64, 64, 32]\n")
    codes = overlay(tmp_path / "codes.yaml", '"#2 b": {type: ["1", SCT, Odd]}\n')
    source = datalist(tmp_path / "my.json", class_names=names, modality="MR", description="Forty livers of one clinic.")
    made = adopt(
        "btcv_unetr_mae", tmp_path / "my_liver", source, mine, name="Livers", authors="A. Clinic", segment_codes=codes
    )
    for stage, content in stages(made).items():
        assert content["spacing"] == [1.0, 1.0, 4.0], stage
        assert len(content["class_names"]) == 3, stage
    text = (made / "configs" / "train.yaml").read_text()
    assert re.search(r"^spacing: \[1\.0, 1\.0, 4\.0\] +# mine\.yaml: the median$", text, re.M)
    assert re.search(r"^class_names: .* # from my\.json$", text, re.M)
    assert stages(made)["inference"]["segment_codes"]["#2 b"]["type"] == ["1", "SCT", "Odd"]
    refuse_disagreement(made)
    assert describe(made) == (names, None, 1, [64, 64, 32])
    metadata = read_metadata(made)
    jsonschema.validate(metadata, METADATA_SCHEMA)
    assert (metadata["name"], metadata["version"], list(metadata["changelog"])) == ("Livers", "0.1.0", ["0.1.0"])
    assert metadata["data_source"] == "Forty livers of one clinic."
    image = metadata["network_data_format"]["inputs"]["image"]
    assert (image["modality"], image["format"]) == ("MR", "magnitude")
    assert "CT" not in metadata["task"] + metadata["image_classes"]
    assert metadata["network_data_format"]["post_processed_outputs"]["pred"]["value_range"] == [0, 2]
    card = (made / "docs" / "README.md").read_text()
    assert all(word in card for word in ("# Livers", "| 2 | #2 b |", "1 training", "btcv_unetr_mae.md", "A. Clinic"))
    assert "spleen" not in card + json.dumps(metadata)
    assert "classes background, liver: left, #2 b" in capsys.readouterr().out


def test_the_demo_keeps_the_drawn_data_and_what_goes_with_it(tmp_path: Path) -> None:
    mine = overlay(
        tmp_path / "mine.yaml", "intensity_mode: percentile\nintensity_range: [1, 99]\nroi_size: [64, 64, 64]\n"
    )
    source = datalist(tmp_path / "my.json", class_names=["background", "liver"])
    made = adopt("btcv_unetr_mae", tmp_path / "mine", source, mine)
    demo = yaml.safe_load((made / "configs" / "demo.yaml").read_text())
    assert demo["class_names"] is None
    assert (demo["intensity_mode"], demo["intensity_range"]) == ("window", [-175, 250])
    assert demo["roi_size"] == [32, 24, 24]  # the demo's own


def test_tiles_and_masks_each_go_to_their_stages_and_slides_are_read_as_the_tiles_were(tmp_path: Path) -> None:
    tiles = datalist(tmp_path / "tiles.json", class_names=["background", "tumour"], task="multi_class", mpp=0.8)
    masks = datalist(tmp_path / "masks.json", class_names=["background", "gland"], mask_kind="binary")
    made = stages(adopt("histo_sdmae", tmp_path / "mine", [tiles, masks]))
    assert made["train"]["class_names"] == made["detect"]["class_names"] == ["background", "tumour"]
    assert made["train_segmentation"]["class_names"] == ["background", "gland"]
    assert (made["detect"]["mpp"], made["detect"]["target"]) == (0.8, ["tumour"])
    refuse_disagreement(tmp_path / "mine")


@pytest.mark.parametrize("bundle", ["cxr14_mae", "medcls_msmae"])
def test_pictures(bundle: str, tmp_path: Path) -> None:
    source = datalist(tmp_path / "my.json", class_names=["a", "b", "c"], task="multi_class")
    made = adopt(bundle, tmp_path / "mine", source)
    assert describe(made).names == ["a", "b", "c"]
    assert {content.get("task") for content in stages(made).values()} <= {"multi_class", None}
    assert "14" not in read_metadata(made)["task"]


def test_heads_take_their_sequences(tmp_path: Path) -> None:
    source = datalist(tmp_path / "my.json", sequences=["flair", "t1ce"])
    made = adopt("brats_unetr_mae", tmp_path / "mine", source)
    assert describe(made)[:3] == (["TC", "WT", "ET"], ["flair", "t1ce"], 2)
    metadata = read_metadata(made)
    assert metadata["network_data_format"]["inputs"]["image"]["channel_def"] == {"0": "flair", "1": "t1ce"}
    assert metadata["image_classes"].startswith("2 channel(s) (flair, t1ce), ")
    assert "four" not in metadata["task"] + metadata["image_classes"]
    for key in ("label_classes", "pred_classes"):  # those of the regions stay
        assert metadata[key] == read_metadata(find_bundle("brats_unetr_mae"))[key]
    refuse_disagreement(made)


def test_one_region_is_told_as_one(tmp_path: Path) -> None:
    made = adopt("brats_unetr_mae", tmp_path / "mine", datalist(tmp_path / "my.json", class_names=["background", "WT"]))
    metadata, before = read_metadata(made), read_metadata(find_bundle("brats_unetr_mae"))
    assert metadata["pred_classes"].startswith("1 channel(s) of logits, one sigmoid each: WT")
    assert metadata["task"].startswith("Segmentation of WT, ")
    assert (metadata["label_classes"], metadata["image_classes"]) == (before["label_classes"], before["image_classes"])


@pytest.mark.parametrize(
    ("bundle", "values", "told"),
    [
        ("btcv_unetr_mae", "intensity_range: [-100, 300]", ("1 channel(s), prepared as", "hounsfield")),
        ("btcv_unetr_mae", "intensity_mode: percentile", ("1 channel(s), prepared as", "magnitude")),
        ("btcv_unetr_mae", "max_epochs: 7", ("one channel of CT", "hounsfield")),
        ("cxr14_mae", "equalise: none", ("1 channel(s), prepared as", "magnitude")),
    ],
)
def test_how_images_are_prepared_is_told_as_it_is(
    bundle: str, values: str, told: tuple[str, str], tmp_path: Path
) -> None:
    made = adopt(bundle, tmp_path / "mine", overlay=overlay(tmp_path / "mine.yaml", f"{values}\n"))
    metadata, before = read_metadata(made), read_metadata(find_bundle(bundle))
    image = metadata["network_data_format"]["inputs"]["image"]
    assert metadata["image_classes"].startswith(told[0])
    assert image["format"] == told[1]
    assert [metadata[key] for key in ("task", "label_classes", "pred_classes")] == [
        before[key] for key in ("task", "label_classes", "pred_classes")
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("spacings: [1, 1, 1]\n", "no stage of btcv_unetr_mae has a setting 'spacings'"),
        ("spacing: wide\n", "spacing is the text 'wide', expected a list"),
        (
            "class_names: [background, spleen]\n",
            r"class_names is \['background', 'spleen'\] in .*'liver'.* from my.json",
        ),
        ("- 1\n", "holds list, expected keys with values"),
        ("a: [1\n", "cannot be read as a config"),
    ],
)
def test_overlays_that_make_no_sense_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    source = datalist(tmp_path / "my.json", class_names=["background", "liver"])
    with pytest.raises(InputError, match=sentence):
        adopt("btcv_unetr_mae", tmp_path / "mine", source, overlay(tmp_path / "mine.yaml", text))
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("bundle", "content", "sentence"),
    [
        ("btcv_unetr_mae", {"task": "multi_class"}, "my.json lists pictures, and btcv_unetr_mae learns from volumes"),
        ("brats_unetr_mae", {"mask_kind": "classes"}, "lists pictures, and brats_unetr_mae learns from volumes"),
        ("medcls_msmae", {"training": [{"image": "a.nii.gz"}]}, "lists volumes, and medcls_msmae learns from pictures"),
        ("cxr14_mae", {}, "my.json has no task, and cxr14_mae only classifies"),
        ("brats_unetr_mae", {}, "class_names holds 'a', which is no region"),
    ],
)
def test_a_datalist_of_another_kind_is_refused(
    bundle: str, content: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    source = datalist(tmp_path / "my.json", **{"class_names": ["background", "a"], **content})
    with pytest.raises(InputError, match=sentence):
        adopt(bundle, tmp_path / "mine", source)
    assert not (tmp_path / "mine").exists()


def test_a_folder_in_use_and_a_list_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"my\.json: names no classes"):
        adopt("btcv_unetr_mae", tmp_path / "mine", datalist(tmp_path / "my.json"))
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        adopt("btcv_unetr_mae", tmp_path)


def test_a_value_of_several_lines_is_replaced_whole() -> None:
    text = "a: 1\nnames:   # old\n  - x\n  - y\nb: 2  # kept\n"
    assert (
        with_value(text, "names", Setting(["p q", 3], "new")) == f"a: 1\n{'names: [p q, 3]':36} # new\nb: 2  # kept\n"
    )
