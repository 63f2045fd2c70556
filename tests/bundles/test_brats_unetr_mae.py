import csv
import json
import shutil
from pathlib import Path

import dicom_rules
import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.datalist import parse
from bundle_runtime.data.volume import read_volume
from bundle_runtime.dicom.structures import paint, read_structures
from custom_components.tumour_labels import TISSUES
from dicom_files import slices, uid, write

from .conftest import Runner

SEQUENCES = ("flair", "t1", "t1ce", "t2")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def first_case(heads: Path, section: str = "test") -> list[Path]:
    """The image files of the first case of a list, in the order of the datalist's sequences."""
    return [heads / file for file in parse(heads / "datalist.json")[section][0]["image"]]


@pytest.fixture(scope="module")
def trained(brats: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-training and fine-tuning from it, two epochs each."""
    out = tmp_path_factory.mktemp("run")
    brats.run("pretrain", out, max_epochs=2)
    brats.run("train", out, max_epochs=2)
    return out


def test_pretraining_writes_encoder_and_pictures(trained: Path) -> None:
    sidecar = json.loads((trained / "pretrained_encoder.json").read_text())
    assert sidecar["normalisation"]["sequences"] == list(SEQUENCES)
    assert len(rows(trained / "pretrain" / "history.csv")) == 2
    assert list((trained / "pretrain" / "pictures").glob("*.png"))


def test_fine_tuning_loads_every_encoder_tensor_and_selects(trained: Path) -> None:
    report = json.loads((trained / "train" / "weights_report.json").read_text())
    assert report["encoder_loaded"] == report["encoder_total"] == 3 * 12 + 6
    assert rows(trained / "train" / "history.csv")[1]["val_mean_dice"]
    assert list((trained / "train" / "pictures").glob("*.png"))


def test_evaluation_scores_regions_with_volumes(trained: Path, brats: Runner) -> None:
    result = brats.run("evaluate", trained)
    assert "ml" in result.stdout
    scored = rows(trained / "evaluate" / "cases.csv")
    assert {row["organ"] for row in scored} == {"TC", "WT", "ET"}
    by_case = {(row["case"], row["organ"]): float(row["volume_ml_label"]) for row in scored}
    for case in {row["case"] for row in scored}:
        assert by_case[case, "ET"] <= by_case[case, "TC"] <= by_case[case, "WT"]


def test_parity_reports_the_non_enhancing_core_under_its_own_name(trained: Path, brats: Runner) -> None:
    # SelfMedMAE's code calls MSD's label 2 "ET".
    brats.run(
        "evaluate", trained, parity=True, class_names=["background", "TC", "WT", "ET"], output_dir=trained / "parity"
    )
    scores = json.loads((trained / "parity" / "scores.json").read_text())
    assert scores["hd95_unit"] == "voxels"
    assert set(scores["organs"]) == {"TC", "WT", "NCR/NET"}


@pytest.mark.slow
def test_parity_trains_the_papers_regions(brats: Runner, tmp_path: Path) -> None:
    brats.run("pretrain", tmp_path, max_epochs=1, parity=True, mask_strategy="block")
    brats.run("train", tmp_path, max_epochs=1, parity=True)
    assert json.loads((tmp_path / "model.json").read_text())["class_names"] == ["background", "TC", "WT", "NCR/NET"]
    brats.run("evaluate", tmp_path, parity=True)


def test_inference_matches_sequences_by_name_and_answers_in_the_inputs_convention(
    trained: Path, brats: Runner, heads: Path, tmp_path: Path
) -> None:
    """The same head under BraTS 2018's and BraTS 2023's file names: same result, other label values."""
    files = dict(zip(SEQUENCES, first_case(heads), strict=True))
    old, new, gaps = tmp_path / "old" / "a", tmp_path / "new", tmp_path / "old" / "b"
    for folder in (old, new, gaps):
        folder.mkdir(parents=True)
    for name, ending in zip(SEQUENCES, ("t2f", "t1n", "t1c", "t2w"), strict=True):
        shutil.copy(files[name], old / f"a_{name}.nii.gz")
        shutil.copy(files[name], new / f"a-{ending}.nii.gz")
    shutil.copy(files["t1"], gaps / "b_t1.nii.gz")

    failed = brats.run("inference", trained, expect=1, dataset_dir=tmp_path / "old", output_dir=tmp_path / "out_old")
    assert "b_t1.nii.gz" in failed.stderr
    assert len(json.loads((tmp_path / "out_old" / "failures.json").read_text())) == 1
    brats.run("inference", trained, dataset_dir=new, output_dir=tmp_path / "out_new", save_probabilities=True)

    one, other = (nib.load(tmp_path / out / "a_seg.nii.gz") for out in ("out_old", "out_new"))
    image = nib.load(files["flair"])
    assert one.shape == other.shape == image.shape
    assert np.allclose(one.affine, image.affine)
    values, others = (np.asarray(volume.dataobj) for volume in (one, other))
    assert np.array_equal(np.where(values == 4, 3, values), others)
    assert set(np.unique(values)) <= {0, 1, 2, 4}
    probabilities = nib.load(tmp_path / "out_new" / "a_prob.nii.gz")
    assert probabilities.shape == (*image.shape, 3)
    (volumes,) = rows(tmp_path / "out_new" / "volumes.csv")
    voxel = float(np.prod(image.header.get_zooms()[:3])) / 1000
    assert float(volumes["WT_ml"]) == pytest.approx(np.count_nonzero(values) * voxel, rel=1e-4, abs=1e-3)


def test_tissues_of_dicom_sequences_become_coded_segments(
    trained: Path, brats: Runner, heads: Path, tmp_path: Path
) -> None:
    for name, file in zip(SEQUENCES, first_case(heads), strict=True):
        values = np.asarray(nib.load(file).dataobj, np.float32)[::2, ::2, ::2]
        stored = (values / values.max() * 4000).astype(np.uint16)
        parts = slices(stored, name, (2.0, 2.0, 2.0), Modality="MR", RescaleIntercept=0, PatientID="P1")
        write(tmp_path / "in" / "P1" / name, parts)
    settings = {"dataset_dir": tmp_path / "in", "label_convention": "msd"}
    brats.run("inference", trained, **settings, output_dir=tmp_path / "nifti")
    brats.run("inference", trained, **settings, output_dir=tmp_path / "seg", output_format="dicom_seg")
    (label_map,) = (tmp_path / "nifti").glob("*_seg.nii.gz")
    (file,) = (tmp_path / "seg").glob("*_seg.dcm")
    assert not list((tmp_path / "seg").glob("*.nii.gz"))
    image, _ = read_volume(str(tmp_path / "in" / "P1" / "flair"))
    structures = read_structures(str(file), image.affine, image.shape)
    tissues, *_ = paint(structures, TISSUES[:4], image.shape, {})
    np.testing.assert_array_equal(tissues, np.asarray(nib.load(label_map).dataobj))  # msd has the tissues' own values
    assert dicom_rules.kind(file) == "Segmentation"
    seg = hd.seg.segread(file)
    assert [seg.get_segment_description(n).segment_label for n in (1, 2, 3)] == list(TISSUES[1:4])
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uid("flair", "series")


@pytest.mark.slow
def test_four_dimensional_files_and_missing_sequences(
    trained: Path, brats: Runner, heads: Path, tmp_path: Path
) -> None:
    volumes = [nib.load(file) for file in first_case(heads)]
    stack = np.stack([np.asarray(volume.dataobj) for volume in volumes], axis=-1)
    data = tmp_path / "data"
    data.mkdir()
    nib.Nifti1Image(stack[..., [3, 0]], volumes[0].affine).to_filename(data / "a.nii.gz")
    settings = {"dataset_dir": data, "output_dir": tmp_path / "out", "file_sequences": ["t2", "flair"]}
    refused = brats.run("inference", trained, expect=1, **settings)
    assert "t1ce" in refused.stderr
    brats.run("inference", trained, **settings, allow_missing_sequences=True)
    assert nib.load(tmp_path / "out" / "a_seg.nii.gz").shape == stack.shape[:3]


def test_a_wrong_convention_is_refused_before_training(trained: Path, brats: Runner) -> None:
    """BraTS's 4 read as the Decathlon's values would silently lose the enhancing tumour."""
    result = brats.run("train", trained, expect=1, label_convention="msd", output_dir=trained / "wrong")
    assert "msd" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_model_of_other_sequences_is_refused(trained: Path, brats: Runner) -> None:
    result = brats.run("evaluate", trained, expect=1, sequences=["t1", "flair", "t1ce", "t2"])
    assert "sequences" in result.stderr
