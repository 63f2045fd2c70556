import csv
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import dicom_rules
import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch
from bundle_runtime.data.datalist import parse
from mae_tools.demo_data.radiographs import RADIOGRAPH_FINDINGS
from page_reader import reported
from picture_files import dicom
from PIL import Image
from safetensors.torch import load_file

from .conftest import Runner


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table behind its comment lines."""
    with path.open() as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


@pytest.fixture(scope="module")
def trained(cxr: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-training with a probe, and fine-tuning from it, two epochs each."""
    out = tmp_path_factory.mktemp("run")
    cxr.run("pretrain", out, max_epochs=2, probe_interval=1)
    cxr.run("train", out, max_epochs=2)
    cxr.run("evaluate", out)
    return out


@pytest.mark.slow
def test_pretraining_writes_encoder_pictures_and_probe(trained: Path) -> None:
    assert len(rows(trained / "pretrain" / "history.csv")) == 2
    assert len(list((trained / "pretrain" / "pictures").glob("*.png"))) >= 2
    assert len(rows(trained / "pretrain" / "probe.csv")) == 2
    sidecar = json.loads((trained / "pretrained_encoder.json").read_text())
    assert sidecar["normalisation"]["equalise"] == "hist"


@pytest.mark.slow
def test_pretraining_needs_no_labels(cxr: Runner, tmp_path: Path) -> None:
    cxr.run("pretrain", tmp_path, max_epochs=1)
    assert not (tmp_path / "pretrain" / "probe.csv").exists()


@pytest.mark.slow
def test_fine_tuning_loads_every_encoder_tensor(trained: Path) -> None:
    # The reference code left the position table out.
    report = json.loads((trained / "train" / "weights_report.json").read_text())
    assert report["encoder_loaded"] == report["encoder_total"]
    assert rows(trained / "train" / "history.csv")[1]["val_macro_auc"]


# The one that runs by default: three stages through the command line.
def test_evaluation_scores_findings_and_keeps_thresholds_of_the_validation_list(trained: Path) -> None:
    scores = json.loads((trained / "evaluate" / "scores.json").read_text())
    assert scores["header"]["seed"] == 0
    assert set(scores["classes"]) == set(RADIOGRAPH_FINDINGS)
    thresholds = json.loads((trained / "thresholds.json").read_text())
    assert set(thresholds["classes"]) == set(RADIOGRAPH_FINDINGS)
    cases = len(list((trained / "evaluate" / "pictures").glob("*.png")))
    assert 0 < cases <= 8
    page = reported(trained / "evaluate", *RADIOGRAPH_FINDINGS, "Worst cases", "Best cases")
    assert page.pictures[:2] == ["ROC curves", "Predicted and observed frequency"]
    assert len(page.pictures) == 2 + cases


@pytest.mark.slow
def test_inference_reads_pictures_of_any_kind_and_lists_what_it_cannot_use(
    trained: Path, cxr: Runner, xrays: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    source = xrays / parse(xrays / "datalist.json")["test"][0]["image"]
    shutil.copy(source, folder / "a.png")
    grey = np.asarray(Image.open(source).convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 256).save(folder / "b.png")
    (folder / "broken.png").write_bytes(source.read_bytes()[:200])
    dicom(folder / "c.dcm", grey, bits=8, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1")
    settings = {"dataset_dir": folder, "output_dir": tmp_path / "out", "output_format": "dicom_sr"}
    failed = cxr.run("inference", trained, expect=1, **settings)
    assert "broken.png" in failed.stderr
    table = rows(tmp_path / "out" / "predictions.csv")
    assert len(table) == 3
    assert dicom_rules.kind(tmp_path / "out" / "1.2.3_sr.dcm") == "ComprehensiveSR"
    report = hd.sr.srread(tmp_path / "out" / "1.2.3_sr.dcm")
    (group,) = report.content.get_image_measurement_groups()
    (row,) = (row for row in table if row["case"] == "c")
    names = [name for name in row if f"{name} (yes/no)" in row]
    assert [measured.name.meaning for measured in group.get_measurements()] == names
    assert [f"{measured.value:.6f}" for measured in group.get_measurements()] == [row[name] for name in names]
    listed = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert {Path(entry["file"]).name for entry in listed} == {"broken.png", "a.png", "b.png"}  # these have no study
    text = (tmp_path / "out" / "predictions.csv").read_text()
    assert text.startswith("#")
    assert "model.pt" in text
    assert list((tmp_path / "out").rglob("*.png"))
    assert not [path for path in (tmp_path / "out").iterdir() if "cache" in path.name]
    reported(tmp_path / "out", "broken.png: ", "predictions.csv")
    settings |= {"output_dir": tmp_path / "sc", "output_format": "dicom_sc", "pictures": 0}  # drawn all the same
    cxr.run("inference", trained, expect=1, **settings)
    with Image.open(next((tmp_path / "sc" / "pictures").glob("*_c.png"))) as drawn:
        pixels = np.asarray(drawn.convert("RGB"))
    captured = tmp_path / "sc" / "1.2.3_sc1.dcm"
    np.testing.assert_array_equal(pydicom.dcmread(captured).pixel_array, pixels)
    assert dicom_rules.kind(captured) == "SCImage"
    settings = {"equalise": "none"}  # of a run that is refused before it reads an image
    refused = cxr.run("inference", trained, expect=1, dataset_dir=folder, output_dir=tmp_path / "out", **settings)
    assert "normalisation is" in refused.stderr
    assert len(table) == len(rows(tmp_path / "out" / "predictions.csv"))


@pytest.mark.slow
def test_evaluation_goes_on_without_images_that_cannot_be_read(
    trained: Path, cxr: Runner, xrays: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(xrays, data)
    lists = parse(data / "datalist.json")
    broken = [data / lists[part][1]["image"] for part in ("validation", "test")]  # thresholds, and scores
    for file in broken:
        file.write_bytes(file.read_bytes()[:300])
    places = {"dataset_dir": data, "cache": tmp_path / "cache", "output_dir": tmp_path / "out"}
    failed = cxr.run("evaluate", trained, expect=1, thresholds_file=tmp_path / "thresholds.json", **places)
    count = len(lists["validation"]) + len(lists["test"])
    assert f"Error: 2 of {count} cases could not be used: " in failed.stderr
    assert [Path(row["file"]) for row in json.loads((tmp_path / "out" / "failures.json").read_text())] == broken
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["cases"] == len(lists["test"]) - 1
    assert json.loads((tmp_path / "thresholds.json").read_text())["header"]["cases"] == len(lists["validation"]) - 1
    reported(tmp_path / "out", f"{broken[1].name}: ")


@pytest.mark.slow
def test_linear_probe_reports_both_methods(trained: Path, cxr: Runner) -> None:
    result = cxr.run("linear_probe", trained)
    assert "logistic" in result.stdout
    assert "knn" in result.stdout


@pytest.mark.slow
def test_a_cache_of_another_recipe_is_refused(trained: Path, cxr: Runner, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cxr.run("train", tmp_path, max_epochs=1, init="scratch", cache=cache)
    refused = cxr.run("train", tmp_path, expect=1, max_epochs=1, init="scratch", cache=cache, equalise="none",
                      output_dir=tmp_path / "again")  # fmt: skip
    assert "equalise" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_broken_picture_stops_before_the_first_epoch_unless_skipped(cxr: Runner, xrays: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(xrays, data)
    broken = data / parse(data / "datalist.json")["training"][0]["image"]
    broken.write_bytes(broken.read_bytes()[:300])
    settings = {"dataset_dir": data, "cache": tmp_path / "cache", "max_epochs": 1, "init": "scratch"}
    refused = cxr.run("train", tmp_path, expect=1, **settings)
    assert broken.name in refused.stderr
    cxr.run("train", tmp_path, **settings, skip_unreadable=True)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_two_processes_learn_and_score_what_one_does(cxr: Runner, stage: str, tmp_path: Path) -> None:
    settings: dict[str, object] = {"max_epochs": 2}
    settings |= {"probe_interval": 1} if stage == "pretrain" else {"init": "scratch", "layer_decay": 1.0}
    results = []
    for processes in (0, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        cxr.run(stage, out, processes=processes, **settings)
        results.append(rows(out / stage / "history.csv"))
        if stage == "pretrain":
            results[-1] += rows(out / stage / "probe.csv")
    one, two = results
    for alone, shared in zip(one, two, strict=True):
        for key in {"train_loss", "val_loss", "val_macro_auc", "macro_auc"} & set(alone):
            assert float(alone[key]) == pytest.approx(float(shared[key]), rel=2e-3), key


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_killed_run_resumes_to_the_same_weights(cxr: Runner, stage: str, tmp_path: Path) -> None:
    settings: dict[str, object] = {"max_epochs": 25, "val_interval": 3, "crop_scale": [0.5, 1.0]}
    settings |= {"probe_interval": 5} if stage == "pretrain" else {"init": "scratch", "rand_augment": True}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for out in (whole, killed):
        out.mkdir()
    cxr.run(stage, whole, **settings)
    process = subprocess.Popen(cxr.command(stage, killed, resume="true", **settings), stderr=subprocess.DEVNULL)
    state, deadline = killed / stage / "training_state.pt", time.monotonic() + 120
    while not state.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL, "the run ended before it was killed"
    cxr.run(stage, killed, resume="true", **settings)
    assert (killed / stage / "history.csv").read_text() == (whole / stage / "history.csv").read_text()
    name = "pretrained_encoder.safetensors" if stage == "pretrain" else "model.safetensors"
    one, other = (load_file(out / name) for out in (whole, killed))
    assert all(torch.equal(one[key], other[key]) for key in one)
