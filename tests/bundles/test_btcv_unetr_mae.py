import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dicom_rules
import launch
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.dicom.structures import paint, read_structures
from bundle_runtime.learnt import classes_from_engine
from bundle_runtime.weights.io import sha256_of
from bundle_runtime.weights.save import save_encoder
from custom_components.networks.vit import ViT
from dicom_files import slices, write
from mae_tools.sources.btcv import CLASS_NAMES
from monai.bundle import ConfigParser
from monai.metrics import DiceMetric
from nibabel.orientations import io_orientation
from page_reader import reported
from safetensors.torch import load_file

from .conftest import Runner

Run = Callable[..., subprocess.CompletedProcess]


def history(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def trained(run_stage: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-training and fine-tuning from it, two epochs each."""
    out = tmp_path_factory.mktemp("run")
    run_stage("pretrain", out, max_epochs=2)
    run_stage("train", out, max_epochs=2)
    return out


def test_pretraining_writes_encoder_history_pictures_and_manifest(trained: Path) -> None:
    sidecar = json.loads((trained / "pretrained_encoder.json").read_text())
    assert sidecar["normalisation"]["intensity"] == ["window", [-175, 250]]
    assert sidecar["finished"] is True
    assert len(history(trained / "pretrain" / "history.csv")) == 2
    assert history(trained / "pretrain" / "history.csv")[1]["val_loss"]
    assert len(list((trained / "pretrain" / "pictures").glob("*.png"))) >= 1
    manifest = json.loads((trained / "pretrain" / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["config"]["mask_ratio"] == 0.5
    assert manifest["config"]["mask_strategy"] == sidecar["mask_strategy"] == "random"
    assert list((trained / "pretrain" / "tensorboard").iterdir())


def test_fine_tuning_loads_every_encoder_tensor(trained: Path) -> None:
    report = json.loads((trained / "train" / "weights_report.json").read_text())
    assert report["encoder_loaded"] == report["encoder_total"] == 3 * 12 + 6
    assert (trained / "model.pt").exists()
    assert (trained / "model.safetensors").exists()
    assert json.loads((trained / "model.json").read_text())["finished"] is True
    assert list((trained / "train" / "pictures").glob("*.png"))


def test_evaluation_scores_every_organ_on_the_native_grid(trained: Path, run_stage: Run) -> None:
    result = run_stage("evaluate", trained)
    assert "HD95 mm" in result.stdout
    scores = json.loads((trained / "evaluate" / "scores.json").read_text())
    assert scores["header"]["seed"] == 0
    # What any handler sees at the end of the epoch, MLflow's among them.
    manifest = json.loads((trained / "evaluate" / "manifest.json").read_text())
    assert manifest["weights_sha256"] == sha256_of(trained / "model.pt")
    assert manifest["metrics"]["mean_dice"] == scores["all"]["mean_over_cases"]["dice"]["mean"]
    with (trained / "evaluate" / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["organ"] for row in rows} == {"liver", "spleen", "right kidney", "left kidney", "aorta"}
    page = reported(trained / "evaluate", "Abdominal CT", "list test", "right kidney", "Worst cases")
    drawn = {path.stem for path in (trained / "evaluate" / "pictures").glob("*.png")}
    assert {name.partition(":")[0] for name in page.pictures} == {*drawn, "Dice of each case, and its mean"}


def test_parity_scores_on_the_resampled_grid(trained: Path, run_stage: Run) -> None:
    result = run_stage("evaluate", trained, parity=True, output_dir=trained / "parity")
    assert "voxel" in result.stdout


def test_inference_keeps_grids_and_reports_what_failed(trained: Path, abdomens: Path, run_stage: Run) -> None:
    inputs = trained / "inputs"
    inputs.mkdir()
    images = sorted((abdomens / "images").iterdir())[:2]
    for image in images:
        (inputs / image.name).write_bytes(image.read_bytes())
    (inputs / "broken.nii.gz").write_bytes(images[0].read_bytes()[:5000])
    out = trained / "labels"
    result = run_stage("inference", trained, expect=1, dataset_dir=inputs, output_dir=out, save_probabilities=True)
    assert "1 of 3 images could not be used" in result.stderr
    assert f"Written: 2 label map(s) in {out}; 1 image(s) failed." in result.stdout
    assert len(list((out / "pictures").glob("epoch*"))) == 0 < len(list((out / "pictures").glob("*.png")))
    assert "Traceback" not in result.stderr
    for image in images:
        stem = image.name.removesuffix(".nii.gz")
        original, label = nib.load(image), nib.load(out / f"{stem}_seg.nii.gz")
        assert label.shape == original.shape
        assert np.array_equal(label.affine, original.affine)
        assert nib.load(out / f"{stem}_prob.nii.gz").shape == (*original.shape, 6)
    assert json.loads((out / "failures.json").read_text())[0]["file"].endswith("broken.nii.gz")
    assert len(reported(out, "broken.nii.gz: ", "volumes.csv", "could not be used 1").pictures) == 2


def test_dicom_in_and_dicom_seg_out(trained: Path, abdomens: Path, run_stage: Run) -> None:
    """A segmentation object holds what the NIfTI result holds, voxel by voxel, on the grid of the series."""
    source = nib.load(sorted((abdomens / "images").iterdir())[0])
    voxels = np.asarray(source.as_reoriented(io_orientation(source.affine)).dataobj)
    spacing = np.linalg.norm(source.affine[:3, :3], axis=0)
    stored = np.clip(voxels[::-1, ::-1] + 1024, 0, 4095).astype(np.uint16)  # DICOM's axes go left and back
    write(trained / "export" / "P 1" / "CT", slices(stored, spacing=spacing))
    for kind in ("nifti", "dicom_seg"):
        out = trained / f"as_{kind}"
        run_stage("inference", trained, dataset_dir=trained / "export", output_dir=out, output_format=kind, pictures=0)
    label = nib.load(trained / "as_nifti" / "P 1_CT_seg.nii.gz")
    names = ["background", "liver", "spleen", "right kidney", "left kidney", "aorta"]
    file = str(trained / "as_dicom_seg" / "P 1_CT_seg.dcm")
    again, lacking, *_ = paint(read_structures(file, label.affine, label.shape), names, label.shape, {})
    np.testing.assert_array_equal(again, np.asarray(label.dataobj))
    assert again.any()
    assert lacking == []
    assert dicom_rules.kind(Path(file)) == "Segmentation"
    assert not list((trained / "as_dicom_seg").glob("*.nii.gz"))
    assert (trained / "as_dicom_seg" / "volumes.csv").read_text() == (trained / "as_nifti" / "volumes.csv").read_text()


def test_from_scratch_is_a_fair_arm(btcv_from_scratch: Path) -> None:
    settings = json.loads((btcv_from_scratch / "train" / "manifest.json").read_text())["config"]
    assert settings["init"] == "scratch"
    state = torch.load(btcv_from_scratch / "train" / "training_state.pt", weights_only=True)
    assert len(state["optimizer"]["param_groups"]) == 2  # decayed weights and the others: no decay over the layers


def test_an_earlier_run_is_replaced_when_asked_and_a_cache_folder_serves_again(run_stage: Run, tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "train"
    settings = {"init": "scratch", "max_epochs": 3, "val_interval": 2, "crops_per_volume": 1, "cache": cache}
    run_stage("train", tmp_path, **settings)
    rows, weights = history(folder / "history.csv"), load_file(tmp_path / "model.safetensors")
    assert [bool(row["val_mean_dice"]) for row in rows] == [False, True, True]  # the last epoch, too
    (folder / "pictures" / "epoch_00009_0_of_a_longer_run.png").touch()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    result = run_stage("train", tmp_path, expect=1, **settings)
    assert "--overwrite true" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    run_stage("train", tmp_path, overwrite="true", **settings)
    cached = [path for path in before if path.parent == cache]
    assert len(cached) == len(list(cache.iterdir())) == 4 + 2  # training and validation cases
    assert all(path.stat().st_mtime_ns == before[path] for path in cached)
    assert {path.name[:11] for path in (folder / "pictures").iterdir()} == {"epoch_00002", "epoch_00003"}
    assert len(list((folder / "tensorboard").rglob("events*"))) <= 2  # one a handler
    again = load_file(tmp_path / "model.safetensors")
    assert history(folder / "history.csv") == rows
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.slow  # a minute or more of compiling
def test_a_compiled_network_trains_and_is_saved_under_its_own_names(
    trained: Path, run_stage: Run, tmp_path: Path
) -> None:
    run_stage("pretrain", tmp_path, max_epochs=1, batch_size=8, compile="true")
    (row,) = history(tmp_path / "pretrain" / "history.csv")
    assert row["iteration"] == "1"
    # Compiled code draws other masks, so only the size of the loss is that of the network as it is written.
    plain = history(trained / "pretrain" / "history.csv")[0]
    assert float(row["train_loss"]) == pytest.approx(float(plain["train_loss"]), rel=0.02)
    names = [set(load_file(out / "pretrained_encoder.safetensors")) for out in (trained, tmp_path)]
    assert names[0] == names[1]


def test_missing_encoder_stops_before_training(run_stage: Run, tmp_path: Path) -> None:
    """SelfMedMAE trains from scratch without a word when the given file does not exist."""
    result = run_stage("train", tmp_path, expect=1, max_epochs=1)
    assert "pretrained_encoder.safetensors" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "model.pt").exists()


def test_a_value_that_is_no_choice_is_refused(run_stage: Run, tmp_path: Path) -> None:
    result = run_stage("pretrain", tmp_path, expect=1, intensity_mode="percent")
    assert "intensity_mode is 'percent'; choose one of window, percentile" in result.stderr


@pytest.mark.parametrize(
    ("stage", "settings", "sentence"),
    [
        ("train", {"learning_rate": "fast"}, "learning_rate is the text 'fast', expected a number."),
        ("train", {"validate#inferer#overlapp": 0.25}, "Unknown setting 'validate#inferer#overlapp' (did you mean"),
        ("pretrain", {"patch_size": 12}, "16 is no multiple of 12, 12 or 24 would be"),
        ("pretrain", {"mask_strategy": "blocks"}, "mask_strategy is 'blocks'; choose one of block, random."),
        ("pretrain", {"dataset_dir": "/nowhere"}, "/nowhere/datalist.json: there is no such folder"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    run_stage: Run, stage: str, settings: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    result = run_stage(stage, tmp_path, expect=1, **settings)
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_resume_with_another_network_is_refused(trained: Path, run_stage: Run) -> None:
    result = run_stage("train", trained, expect=1, max_epochs=2, feature_size=8, resume=True)
    assert result.stderr.count("training_state.pt does not belong to this run") == 1


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(
    run_stage: Run, command_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    """No earlier bundle could: best metric, optimiser, schedule or data order were lost (MONAI#1216, #6687)."""
    settings = {"max_epochs": 18, "val_interval": 4, "crops_per_volume": 1}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for out in (whole, killed):
        out.mkdir()
    run_stage("pretrain", whole, **settings)
    for signal_name in ("SIGKILL", "SIGTERM"):
        command = command_of("pretrain", killed, resume="true", **settings)
        process = launch.start(*command[command.index("monai.bundle") :], cwd=killed)
        state = killed / "pretrain" / "training_state.pt"
        before = state.stat().st_mtime_ns if state.exists() else 0
        deadline = time.monotonic() + 120
        while not (state.exists() and state.stat().st_mtime_ns > before) and process.exitcode is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid or 0, getattr(signal, signal_name))
        process.join(60)
        # A loop over the stages must not go on with the half-trained encoder.
        assert process.exitcode == {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143}[signal_name]
        sidecar = json.loads((killed / "pretrained_encoder.json").read_text())
        assert sidecar["finished"] is False
    result = run_stage("pretrain", killed, resume="true", **settings)
    assert "Going on from" in result.stdout + result.stderr
    assert (killed / "pretrain/history.csv").read_text() == (whole / "pretrain/history.csv").read_text()
    assert history(whole / "pretrain/history.csv")[-1]["val_loss"]  # the last epoch, although 4 does not divide 18
    one, other = (load_file(out / "pretrained_encoder.safetensors") for out in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stage", [pytest.param("pretrain", marks=pytest.mark.slow), "train"])
def test_two_processes_learn_what_one_does(run_stage: Run, stage: str, tmp_path: Path) -> None:
    """Batch, masks and rates are those of one process; only the order of the sums differs."""
    settings = {"max_epochs": 2, "crops_per_volume": 1, "batch_size": 2}
    if stage == "train":
        settings["init"] = "scratch"
    losses = []
    for processes in (0, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        run_stage(stage, out, processes=processes, **settings)
        losses.append([float(row["train_loss"]) for row in history(out / stage / "history.csv")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_2d_weights_are_refused_or_loaded_before_any_volume_is_read(
    run_stage: Run, abdomens: Path, tmp_path: Path
) -> None:
    """The paper's row "UNETR + ImageNet": the documented command failed, and only after all volumes were cached."""
    sizes = {"in_channels": 3, "img_size": 48, "patch_size": 16, "spatial_dims": 2}
    vit = ViT(**sizes, hidden_size=12, mlp_dim=24, num_layers=3, num_heads=2)
    save_encoder(tmp_path / "flat.safetensors", vit, {})
    broken = tmp_path / "broken"
    (broken / "images").mkdir(parents=True)
    (broken / "labels").mkdir()
    (broken / "datalist.json").write_text((abdomens / "datalist.json").read_text())
    for file in (*(abdomens / "images").iterdir(), *(abdomens / "labels").iterdir()):
        (broken / file.parent.name / file.name).write_bytes(b"not a volume")
    flat = {"init": tmp_path / "flat.safetensors", "dataset_dir": broken, "max_epochs": 1, "patch_size": 16}
    refused = run_stage("train", tmp_path, expect=1, **flat)
    assert "spatial_dims is 2 in the file, 3 in the network" in refused.stderr
    assert "--inflate true" in refused.stderr
    assert "not a readable" not in refused.stderr + refused.stdout
    loaded = run_stage("train", tmp_path, expect=1, inflate="true", **flat)
    assert "42 of 42 encoder tensors loaded" in loaded.stdout
    assert "not a readable NIfTI file" in loaded.stderr  # the volumes come behind


@pytest.mark.parametrize(("parity", "organs"), [(False, range(1, 14)), (True, (1, 2, 3, 4, 6, 7, 8, 11))])
def test_the_best_epoch_is_chosen_by_all_organs_and_with_parity_by_the_papers_eight(
    btcv: Runner, parity: bool, organs: Sequence[int]
) -> None:
    parser = ConfigParser(ConfigParser.load_config_file(str(btcv.bundle / "configs" / "train.yaml")))
    parser.update({"bundle_root": str(btcv.bundle), "parity": parity, "class_names": list(CLASS_NAMES)})
    left_out = parser.get_parsed_content("unselected")
    assert [value for value in range(1, 14) if value not in left_out] == list(organs)
    label = torch.arange(14).view(1, 14, 1, 1)
    transform = classes_from_engine(left_out)
    pairs = transform([{"pred": label.clone(), "label": label.clone()}])
    score = DiceMetric(include_background=False, num_classes=14)(pairs[0][0][None], pairs[1][0][None])[0]
    assert [value for value in range(1, 14) if not score[value - 1].isnan()] == list(organs)
