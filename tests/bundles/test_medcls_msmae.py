import csv
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.data.datalist import parse, write
from PIL import Image

from .conftest import BUNDLES, TINY, Runner

CLASSES = ["dots", "lines", "plain"]


def draw_folder(folder: Path, count: int = 12) -> Path:
    """Small RGB pictures of three classes, two of a patient, with a datalist."""
    random = np.random.default_rng(0)
    lists: dict[str, list[dict[str, object]]] = {"training": [], "validation": [], "test": []}
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(60, 120, (40, 44, 3), dtype=np.uint8)
            if name == "dots":
                pixels[10:16, 12:18] = (220, 40, 40)
            if name == "lines":
                pixels[:, 20:22] = (40, 40, 220)
            image = f"{name}/{number}.png"
            Image.fromarray(pixels).save(folder / image)
            section = "training" if number < count - 4 else "validation" if number < count - 2 else "test"
            lists[section].append({"image": image, "label": label, "patient_id": f"{name}{number // 2}"})
    write(folder / "datalist.json", {"task": "multi_class", "class_names": CLASSES, "ordered": True, **lists})
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def msmae(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The bundle with a tiny network and a cache of its own."""
    folder = tmp_path_factory.mktemp("msmae")
    tiny = {
        key: value for key, value in TINY.items() if key not in ("spacing", "roi_size", "feature_size", "mask_ratio")
    }
    values = {
        **tiny, "class_names": CLASSES, "cache_size": 40, "img_size": 32, "batch_size": 8, "cache": folder / "cache",
        "mask_warmup_epochs": 1, "refresh_interval": 1,
    }  # fmt: skip
    path = folder / "tiny.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return Runner(BUNDLES / "medcls_msmae", pictures, path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def test_pretraining_masks_by_attention_that_differs_from_patch_to_patch(msmae: Runner, tmp_path: Path) -> None:
    """Through the command line: the released code's maps are ones."""
    msmae.run("pretrain", tmp_path, max_epochs=2)
    refreshes = rows(tmp_path / "pretrain" / "attention_maps.csv")
    assert [row["before_epoch"] for row in refreshes] == ["2"]
    assert float(refreshes[0]["map_std"]) > 0.01
    assert (tmp_path / "pretrain" / "pictures" / "attention_epoch_00002.png").exists()
    assert len(rows(tmp_path / "pretrain" / "history.csv")) == 2
    assert json.loads((tmp_path / "pretrained_encoder.json").read_text())["mask_strategy"] == "attention"
    state = torch.load(tmp_path / "pretrain" / "training_state.pt", weights_only=True)
    assert state["stateful"]["attention_maps"]["maps"]["values"].std() > 0.01


@pytest.fixture(scope="module")
def trained(msmae: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    msmae.run("pretrain", out, max_epochs=2, probe_interval=1)
    msmae.run("train", out, max_epochs=3, refresh_interval=2, train_tokens="sampled")
    msmae.run("evaluate", out)
    return out


@pytest.mark.slow
def test_fine_tuning_loads_the_encoder_and_refreshes_before_the_first_epoch(trained: Path) -> None:
    report = json.loads((trained / "train" / "weights_report.json").read_text())
    assert report["encoder_loaded"] == report["encoder_total"]
    assert [row["before_epoch"] for row in rows(trained / "train" / "attention_maps.csv")] == ["1", "3"]
    assert rows(trained / "train" / "history.csv")[2]["val_score"]


@pytest.mark.slow
def test_evaluation_scores_classes_and_takes_their_order_from_the_datalist(trained: Path) -> None:
    scores = json.loads((trained / "evaluate" / "scores.json").read_text())
    assert set(scores["classes"]) == set(CLASSES)
    assert "quadratic" in json.dumps(scores)
    names = {path.name for path in (trained / "evaluate").glob("*.png")}
    assert {"roc.png", "confusion.png"} <= names
    assert not (trained / "thresholds.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("map_source", ["early_block", "low_resolution"])
def test_evaluation_on_kept_tokens(trained: Path, msmae: Runner, tmp_path: Path, map_source: str) -> None:
    # 16 patches of 8 pixels can be halved.
    msmae.run("evaluate", trained, output_dir=tmp_path, eval_tokens="kept", keep_ratio=0.5, map_source=map_source)
    assert (tmp_path / "scores.json").exists()


@pytest.mark.slow
def test_inference_writes_a_table_and_attention_pictures(
    trained: Path, msmae: Runner, pictures: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    source = pictures / parse(pictures / "datalist.json")["test"][0]["image"]
    Image.open(source).save(folder / "colour.jpg")
    Image.open(source).convert("L").save(folder / "grey.png")
    (folder / "broken.png").write_bytes(source.read_bytes()[:100])
    failed = msmae.run(
        "inference", trained, expect=1, dataset_dir=folder, output_dir=tmp_path / "out", eval_tokens="kept"
    )
    assert "broken.png" in failed.stderr
    header = (tmp_path / "out" / "predictions.csv").read_text()
    assert "# eval_tokens: kept\n# keep_ratio: 0.35\n# keep: high\n# map_source: early_block\n" in header
    table = rows(tmp_path / "out" / "predictions.csv")
    assert len(table) == 2
    assert {row["predicted"] for row in table} <= set(CLASSES)
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 2


@pytest.mark.slow
def test_linear_probe_reports_both_methods(trained: Path, msmae: Runner) -> None:
    msmae.run("linear_probe", trained)
    assert set(json.loads((trained / "linear_probe" / "probe.json").read_text())["methods"]) == {"logistic", "knn"}


@pytest.mark.slow
def test_pretraining_without_labels(msmae: Runner, pictures: Path, tmp_path: Path) -> None:
    content = parse(pictures / "datalist.json")
    for section in ("training", "validation", "test"):
        content[section] = [{k: v for k, v in item.items() if k != "label"} for item in content[section]]
    write(
        tmp_path / "bare.json",
        {key: value for key, value in content.items() if key not in ("task", "ordered", "class_names")},
    )
    settings = {"datalist": tmp_path / "bare.json", "max_epochs": 2}
    msmae.run("pretrain", tmp_path, cls_loss_weight=0, **settings)
    assert rows(tmp_path / "pretrain" / "attention_maps.csv")
    refused = msmae.run("pretrain", tmp_path, expect=1, output_dir=tmp_path / "again", **settings)
    assert "label" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_killed_pretraining_ends_bit_for_bit_where_an_uninterrupted_one_does(msmae: Runner, tmp_path: Path) -> None:
    settings = {"max_epochs": 6, "refresh_interval": 2, "val_interval": 2}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    msmae.run("pretrain", whole, **settings)
    process = subprocess.Popen(msmae.command("pretrain", cut, **settings), cwd=cut, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    end = time.monotonic() + 200
    while not (cut / "pretrain" / "attention_maps.csv").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=200) != 0
    msmae.run("pretrain", cut, resume=True, **settings)
    states = [
        torch.load(tmp_path / run / "pretrain" / "training_state.pt", weights_only=True) for run in ("whole", "cut")
    ]
    for name, tensor in states[0]["network"].items():
        assert torch.equal(tensor, states[1]["network"][name]), name
    maps = [state["stateful"]["attention_maps"]["maps"] for state in states]
    assert torch.equal(maps[0]["values"], maps[1]["values"])
    histories = [(tmp_path / run / "pretrain" / "history.csv").read_text() for run in ("whole", "cut")]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_maps_of_another_datalist_are_refused(msmae: Runner, pictures: Path, tmp_path: Path) -> None:
    msmae.run("pretrain", tmp_path, max_epochs=2)
    content = parse(pictures / "datalist.json")
    content["training"].reverse()
    write(tmp_path / "other.json", content)
    refused = msmae.run("pretrain", tmp_path, expect=1, max_epochs=2, resume=True, datalist=tmp_path / "other.json")
    assert "another training list" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_images_of_another_data_set_with_the_same_names_are_refused(
    msmae: Runner, pictures: Path, tmp_path: Path
) -> None:
    msmae.run("pretrain", tmp_path, max_epochs=2)
    other = tmp_path / "other"
    shutil.copytree(pictures, other, ignore=shutil.ignore_patterns("check"))
    msmae.run("pretrain", tmp_path, max_epochs=2, resume=True, dataset_dir=other, datalist=other / "datalist.json")
    for file in other.glob("*/*.png"):
        Image.open(file).rotate(180).save(file)
    refused = msmae.run(
        "pretrain", tmp_path, expect=1, max_epochs=2, resume=True, dataset_dir=other, datalist=other / "datalist.json"
    )
    assert "does not belong to this run" in refused.stderr
    assert "the training list is another one (fingerprint" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_pooled_network_is_not_evaluated_by_its_class_token(trained: Path, msmae: Runner, tmp_path: Path) -> None:
    refused = msmae.run("evaluate", trained, expect=1, output_dir=tmp_path, head="pool")
    assert "head is cls in" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "train", "evaluate", "linear_probe"])
def test_class_names_in_another_order_than_the_datalist_s_are_refused(
    trained: Path, msmae: Runner, tmp_path: Path, stage: str
) -> None:
    """Labels would be learnt, or scored, under each other's names."""
    refused = msmae.run(stage, trained, expect=1, output_dir=tmp_path, class_names=CLASSES[::-1])
    # Of the datalist, or, where weights are read first, of the training.
    assert re.search(r"class_names (of the run|is \[.*\] in .*model\.json)", refused.stderr)
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_two_processes_train(msmae: Runner, tmp_path: Path) -> None:
    settings: dict[str, dict[str, object]] = {"pretrain": {}, "train": {"train_tokens": "sampled"}}
    for stage, changes in settings.items():
        command = msmae.command(stage, tmp_path, processes=2, max_epochs=2, **changes)
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        assert result.returncode == 0, result.stderr[-4000:]
    assert len(rows(tmp_path / "train" / "attention_maps.csv")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["mask_ratio", "train_tokens"])
def test_settings_that_cannot_work_end_in_one_sentence(msmae: Runner, tmp_path: Path, broken: str) -> None:
    stage, settings, said = {
        "mask_ratio": ("pretrain", {"mask_ratio": 0.7, "throw_ratio": 0.3}, "0 visible"),
        "train_tokens": ("train", {"train_tokens": "some", "init": "scratch"}, "sampled, kept, all"),
    }[broken]
    refused = msmae.run(stage, tmp_path, expect=1, max_epochs=1, **settings)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
