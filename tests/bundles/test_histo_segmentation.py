"""The segmentation stages of the histopathology bundle and of the medical classification bundle, whole runs."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.weights.save import save_encoder
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from encoders import on_vit
from mae_tools.compare.command import compare
from page_reader import reported
from PIL import Image
from safetensors.torch import load_file

from .conftest import BUNDLES, Runner, _overlay

sys.path.insert(0, str(Path(__file__).parent))
from tiles import make_tiles

ENCODER = {"hidden_size": 12, "mlp_dim": 24, "num_layers": 4, "num_heads": 2}
TINY = {
    **ENCODER, "img_size": 32, "patch_size": 8, "head_channels": 8, "batch_size": 3, "warmup_epochs": 0,
    "val_interval": 1, "learning_rate": 2.0e-3,
}  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiles(tmp_path_factory.mktemp("nuclei"))


@pytest.fixture(scope="module")
def histo_segmentation(nuclei: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    values = {**TINY, "auxiliary_channels": 8}
    overlay = _overlay(tmp_path_factory.mktemp("overlay"), values)
    return Runner(BUNDLES / "histo_sdmae", nuclei, overlay, "demo_segmentation.yaml")


@pytest.fixture(scope="module")
def medcls_segmentation(nuclei: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    overlay = _overlay(tmp_path_factory.mktemp("overlay"), {**TINY, "class_names": "[background, nucleus]"})
    return Runner(BUNDLES / "medcls_msmae", nuclei, overlay, "demo_segmentation.yaml")


def new_pictures(folder: Path, nuclei: Path) -> Path:
    """A CMYK picture, one of another size, a damaged one."""
    folder.mkdir()
    Image.open(nuclei / "images/t9.png").convert("CMYK").save(folder / "cmyk.tif")
    Image.open(nuclei / "images/t10.png").crop((0, 0, 40, 25)).save(folder / "small one.png")
    (folder / "broken.png").write_bytes((nuclei / "images/t9.png").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def trained(histo_segmentation: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs from scratch."""
    out = tmp_path_factory.mktemp("run")
    histo_segmentation.run("train_segmentation", out, init="scratch", max_epochs=2)
    return out


def test_training_and_evaluation(trained: Path, histo_segmentation: Runner) -> None:
    assert float(rows(trained / "train_segmentation" / "history.csv")[-1]["train_loss"]) > 0
    assert len(list((trained / "train_segmentation" / "pictures").glob("*.png"))) == 4
    shown = histo_segmentation.run("evaluate_segmentation", trained).stdout
    assert "object F1 (RQ)" in shown
    scores = json.loads((trained / "evaluate_segmentation" / "scores.json").read_text())
    assert (scores["cases"], scores["header"]["seed"]) == (3, 0)
    assert set(scores["classes"]["nucleus"]["pooled"]) >= {"dice", "iou", "aji", "pq", "sq", "object_f1"}
    assert len(rows(trained / "evaluate_segmentation" / "cases.csv")) == 3
    assert len(reported(trained / "evaluate_segmentation", "nucleus", "Worst cases").pictures) == 4  # and the strips


@pytest.mark.slow
def test_inference_reads_pictures_of_any_kind_and_lists_what_it_cannot_use(
    trained: Path, histo_segmentation: Runner, nuclei: Path, tmp_path: Path
) -> None:
    folder, out = new_pictures(tmp_path / "new", nuclei), tmp_path / "masks"
    failed = histo_segmentation.run(
        "inference_segmentation", trained, expect=1, dataset_dir=folder, output_dir=out, microns_per_pixel=0.25
    )
    assert "broken.png" in failed.stderr
    assert "Segmented: 2 picture(s)" in failed.stdout
    assert np.asarray(Image.open(out / "small_one_instances.png")).shape == (25, 40)
    assert Image.open(out / "cmyk_instances.png").mode.startswith("I;16")
    assert {line["case"] for line in rows(out / "counts.csv")} == {"cmyk", "small_one"}
    assert "nucleus_area_um2" in rows(out / "counts.csv")[0]
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["cmyk.png", "small_one.png"]


@pytest.mark.slow
def test_a_pretrained_encoder_is_loaded_completely_or_not_at_all(
    histo_segmentation: Runner, medcls_segmentation: Runner, tmp_path: Path
) -> None:
    """Every tensor of the encoder, biases included, through the command line; the released codes lose some."""
    for runner, class_token in ((histo_segmentation, False), (medcls_segmentation, True)):
        out = tmp_path / runner.bundle.name
        out.mkdir()
        mae = on_vit(
            MaskedAutoencoder, 3, 64, 8, spatial_dims=2, class_token=class_token, decoder_size=8, decoder_layers=1,
            decoder_heads=1, **ENCODER,
        )  # fmt: skip
        path = save_encoder(out / "pretrained_encoder.safetensors", mae, {})
        runner.run("train_segmentation", out, max_epochs=1)
        report = json.loads((out / "train_segmentation" / "weights_report.json").read_text())
        assert report["encoder_loaded"] == report["encoder_total"] == len(mae.encoder.state_dict())
        state = {name: tensor for name, tensor in mae.encoder.state_dict().items() if "blocks.1." not in name}
        torch.save(state, out / "partial.pt")
        again = {"max_epochs": 1, "output_dir": out / "refused", "init": out / "partial.pt"}
        assert "blocks.1." in runner.run("train_segmentation", out, expect=1, **again).stderr
        assert path.exists()


@pytest.mark.slow
def test_the_lesion_network_runs_through_all_stages(medcls_segmentation: Runner, nuclei: Path, tmp_path: Path) -> None:
    runner = medcls_segmentation
    runner.run("train_segmentation", tmp_path, init="scratch", max_epochs=2)
    assert rows(tmp_path / "train_segmentation" / "history.csv")[-1]["val_mean_iou"]
    assert "Released code's form" not in runner.run("evaluate_segmentation", tmp_path).stdout
    shown = runner.run("evaluate_segmentation", tmp_path, parity=True, output_dir=tmp_path / "parity").stdout
    assert "Released code's form, over batches of 8" in shown
    text, _ = compare(tmp_path / "evaluate_segmentation", tmp_path / "evaluate_segmentation", "A", "B")
    assert "Dice, pooled" in text
    out = tmp_path / "masks"
    folder = new_pictures(tmp_path / "new", nuclei)
    runner.run("inference_segmentation", tmp_path, expect=1, dataset_dir=folder, output_dir=out)
    assert np.asarray(Image.open(out / "small_one_classes.png")).shape == (25, 40)
    assert not (out / "small_one_instances.png").exists()


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(histo_segmentation: Runner, tmp_path: Path) -> None:
    settings = {
        "init": "scratch", "cache": "none", "border_width": 3, "border_weight": 1.0, "num_workers": 1, "max_epochs": 8,
    }  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for out in (whole, killed):
        out.mkdir()
    histo_segmentation.run("train_segmentation", whole, **settings)
    process = subprocess.Popen(
        histo_segmentation.command("train_segmentation", killed, **settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = killed / "train_segmentation" / "training_state.pt"
    deadline = time.monotonic() + 120
    while not state.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    histo_segmentation.run("train_segmentation", killed, resume=True, **settings)
    tables = [(out / "train_segmentation" / "history.csv").read_text() for out in (whole, killed)]
    assert tables[0] == tables[1]
    one, other = (load_file(out / "segmentation.safetensors") for out in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_mask_of_another_size_stops_before_the_first_epoch(histo_segmentation: Runner, tmp_path: Path) -> None:
    data = make_tiles(tmp_path / "data")
    Image.new("L", (9, 9)).save(data / "masks" / "t3.png")
    refused = histo_segmentation.run(
        "train_segmentation", tmp_path, expect=1, dataset_dir=data, init="scratch", max_epochs=1
    )
    assert "t3.png: is a mask of 9x9 pixels for a picture of" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_two_processes_learn_what_one_does(histo_segmentation: Runner, tmp_path: Path) -> None:
    losses = []
    for processes in (0, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        settings = {"init": "scratch", "max_epochs": 2, "batch_size": 2, "dropout": 0.0, "drop_path_rate": 0.0}
        histo_segmentation.run("train_segmentation", out, processes=processes, **settings)
        losses.append([float(row["train_loss"]) for row in rows(out / "train_segmentation" / "history.csv")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
