import csv
import json
from pathlib import Path
from typing import Any

import launch
import pytest
import yaml
from bundle_runtime.scores.segmentation import Row
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from mae_tools.bundles import find_bundle
from mae_tools.demo_data import PAINTERS
from mae_tools.folds import _pooled, deal_folds, folds

TINY = {
    "spacing": [10.0, 10.0, 10.0], "roi_size": [16, 16, 16], "hidden_size": 12, "mlp_dim": 24, "num_layers": 3,
    "num_heads": 2, "feature_size": 4, "batch_size": 4, "decoder_size": 12, "decoder_layers": 1, "decoder_heads": 2,
    "warmup_epochs": 0, "val_interval": 1, "label_fraction": 1.0, "num_workers": 0, "max_epochs": 1,
}  # fmt: skip
COUNTS = st.lists(st.integers(0, 2), min_size=6, max_size=30)


def content(classes: list[int]) -> dict[str, Any]:
    """Two pictures a patient, in the list that chance gave them."""
    items = [
        {"image": f"{patient}{side}.png", "label": label, "patient_id": str(patient)}
        for patient, label in enumerate(classes)
        for side in "ab"
    ]
    return {
        "task": "multi_class",
        "class_names": list("xyz"),
        "training": items[4:],
        "validation": items[:4],
        "test": [],
    }


@given(COUNTS, st.integers(2, 5), st.integers(0, 3))
def test_each_patient_is_tested_once_and_trains_in_no_list_beside(classes: list[int], number: int, seed: int) -> None:
    made = deal_folds(content(classes), number, seed, 0.2)
    tested = [item["image"] for fold in made for item in fold["test"]]
    assert sorted(tested) == sorted(
        item["image"] for part in ("training", "validation") for item in content(classes)[part]
    )
    for fold in made:
        patients = [{item["patient_id"] for item in fold[part]} for part in ("training", "validation", "test")]
        assert sum(map(len, patients)) == len(set.union(*patients)) == len(classes)
        assert fold["task"] == "multi_class"
    assert made == deal_folds(content(classes), number, seed, 0.2)


def test_labels_in_files_are_dealt_by_patient_and_images_without_one_always_train() -> None:
    items = [{"image": f"{n}.nii.gz", "label": f"{n}_seg.nii.gz"} for n in range(7)] + [{"image": "bare.nii.gz"}]
    lists: Any = {"class_names": ["background", "liver"], "training": items, "validation": [], "test": []}
    made = deal_folds(lists, 3, 0, 0.2)
    assert sorted(item["image"] for fold in made for item in fold["test"]) == [item["image"] for item in items[:7]]
    for fold in made:
        assert "bare.nii.gz" in [item["image"] for item in fold["training"]]
        assert len(fold["validation"]) == 1
        assert sum(len(fold[part]) for part in ("training", "validation", "test")) == len(items)


def test_classes_are_spread_evenly() -> None:
    made = deal_folds(content([0] * 10 + [1] * 5), 5, 0, 0.2)
    assert {tuple(sum(item["label"] == c for item in fold["test"]) for c in (0, 1)) for fold in made} == {(4, 2)}


@pytest.mark.parametrize(("number", "patients"), [(1, 9), (5, 4), (2, 2)])
def test_too_few_folds_or_patients_are_refused(number: int, patients: int) -> None:
    with pytest.raises(InputError, match=f"folds is {number} for {patients} patient"):
        deal_folds(content([0] * patients), number, 0, 0.2)


def test_the_commands_train_on_each_list_and_take_the_settings_that_a_stage_has(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    path.write_text(json.dumps(content([0, 1, 2] * 3)))
    (tmp_path / "mine.yaml").write_text("mask_ratio: 0.5\n")
    mine = str(tmp_path / "mine.yaml")
    said = folds("cxr14_mae", path, tmp_path / "out", folds=3, config_file=mine, run=False, max_epochs=7)
    lines = said.splitlines()
    assert len(lines) == 9
    assert [line.split("configs/")[1].split("'")[0].split(".")[0] for line in lines[:3]] == [
        "pretrain",
        "train",
        "evaluate",
    ]
    assert all(f"fold{number // 3}/datalist.json" in line for number, line in enumerate(lines))
    assert ["--max_epochs 7" in line for line in lines[:3]] == [True, True, False]
    assert len(json.loads((tmp_path / "out" / "fold2" / "datalist.json").read_text())["test"]) == 6
    for wrong, sentence in (
        ({"config_file": [mine, "none.yaml"]}, "^none.yaml: cannot be read as a config"),
        ({"max_epoch": 7}, "No stage has a setting 'max_epoch' .did you mean 'max_epochs'"),
        ({"task": "_segmentation"}, "cxr14_mae has no stage train_segmentation"),
    ):
        with pytest.raises(InputError, match=sentence):
            folds("cxr14_mae", path, tmp_path / "other", run=False, **wrong)
    assert not (tmp_path / "other").exists()


def test_a_fold_that_was_evaluated_is_of_the_same_list_and_settings(tmp_path: Path) -> None:
    path, mine, out = tmp_path / "my.json", tmp_path / "mine.yaml", tmp_path / "out"
    path.write_text(json.dumps(content([0, 1, 2] * 3)))
    mine.write_text("mask_ratio: 0.5\n")
    every: dict[str, Any] = {"config_file": str(mine), "run": False, "max_epochs": 7}
    folds("cxr14_mae", path, out, folds=3, **every)
    folds("cxr14_mae", path, out, folds=3, **{**every, "max_epochs": 9})  # nothing has been evaluated yet
    folds("cxr14_mae", path, out, folds=3, **every)
    (out / "fold1" / "evaluate").mkdir()
    (out / "fold1" / "evaluate" / "scores.json").write_text("{}")
    before = (out / "fold0" / "datalist.json").read_bytes()
    for other, said in (
        ({"folds": 4}, "datalist"),
        ({"folds": 3, "seed": 1}, "datalist"),
        ({"folds": 3, "pretrain": False}, "pretrain"),
        ({"folds": 3, "max_epochs": 9}, "settings"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=rf"fold1 has been evaluated with another {said} "):
            folds("cxr14_mae", path, out, **{**every, **other})
    assert (out / "fold0" / "datalist.json").read_bytes() == before
    folds("cxr14_mae", path, out, folds=3, **every, num_workers=1)
    mine.write_text("mask_ratio: 0.6\n")
    with pytest.raises(InputError, match="another config_file"):
        folds("cxr14_mae", path, out, folds=3, **every)


def test_scores_of_all_folds_are_pooled(tmp_path: Path) -> None:
    dice = [0.2, 0.4, 0.9]
    places = []
    for number, value in enumerate(dice):
        report = SegmentationReport(["background", "liver"])
        report.add(f"c{number}", f"p{number}", [Row("liver", value, 3.0, "found", 10.0, 9.0)])
        report.write(tmp_path / str(number))
        places.append(tmp_path / str(number))
    text = _pooled(places, tmp_path / "pooled")
    scores = json.loads((tmp_path / "pooled" / "scores.json").read_text())
    assert scores["cases"] == 3
    assert scores["organs"]["liver"]["dice"]["mean"] == pytest.approx(0.5)
    assert "3 folds" in text
    other = SegmentationReport(["background", "spleen"])
    other.add("c9", "p9", [Row("spleen", 1.0, 0.0, "found", 10.0, 9.0)])
    other.write(tmp_path / "other")
    with pytest.raises(InputError, match="differ in class_names"):
        _pooled([*places, tmp_path / "other"], tmp_path / "again")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_whole_run_tests_every_patient_by_a_network_that_has_not_seen_it(tmp_path: Path) -> None:
    PAINTERS["abdomen"](tmp_path / "data", cases=6)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    demo = find_bundle("btcv_unetr_mae") / "configs" / "demo.yaml"
    words = ("--folds", 2, "--config_file", f"['{demo}','{tmp_path / 'tiny.yaml'}']")
    place = (tmp_path / "data" / "datalist.json", "--out", tmp_path / "out")
    done = launch.run("mae_tools", "folds", "btcv_unetr_mae", *place, *words, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    pooled = json.loads((tmp_path / "out" / "pooled" / "scores.json").read_text())
    dice = {}
    for fold in (0, 1):
        lists = json.loads((tmp_path / "out" / f"fold{fold}" / "datalist.json").read_text())
        seen = {item["patient_id"] for part in ("training", "validation") for item in lists[part]}
        manifest = json.loads((tmp_path / "out" / f"fold{fold}" / "train" / "manifest.json").read_text())
        assert manifest["config"]["datalist"].endswith(f"fold{fold}/datalist.json")
        with (tmp_path / "out" / f"fold{fold}" / "evaluate" / "cases.csv").open() as stream:
            rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
        assert rows
        assert not seen & {row["patient_id"] for row in rows}
        dice |= {(row["case"], row["organ"]): float(row["dice"]) for row in rows if row["dice"]}
    assert pooled["cases"] == len({case for case, _ in dice}) == 6
    liver = [value for (_, organ), value in dice.items() if organ == "liver"]
    assert pooled["organs"]["liver"]["dice"]["mean"] == pytest.approx(sum(liver) / len(liver))
    again = launch.run("mae_tools", "folds", "btcv_unetr_mae", *place, *words)
    assert "=== fold" not in again.stdout
    assert "Pooled over 2 folds" in again.stdout
