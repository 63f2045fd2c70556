"""What no training label shows is refused, or with the switch neither trained, predicted nor scored: whole runs."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from .conftest import Runner

Content = dict[str, Any]


def changed(run: Runner, folder: Path, change: Callable[[Content], None]) -> Path:
    """A datalist like that of a bundle's data, with absolute base and something changed."""
    content = json.loads((run.data / "datalist.json").read_text())
    change(content)
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def refused_then_trained(run: Runner, stage: str, out: Path, name: str, **settings: object) -> Content:
    """Train without and with the switch; returns the record in the sidecar."""
    refusal = run.run(stage, out, expect=1, init="scratch", max_epochs=1, **settings)
    assert name in refusal.stderr
    assert "--allow_unlearnt true" in refusal.stderr
    assert not list(out.glob("*.pt"))
    run.run(stage, out, init="scratch", max_epochs=2, allow_unlearnt=True, **settings)
    sidecar = next(path for path in out.glob("*.json") if path.stem in ("model", "segmentation"))
    record = json.loads(sidecar.read_text())["training"]
    assert list(record["unlearnt"]) == [name]
    assert record["shown"][name]["items"] == 0
    assert record["about"]["max_epochs"] == 2
    return record


def test_an_organ_that_no_training_case_draws(btcv: Runner, tmp_path: Path) -> None:
    def hide(content: Content) -> None:
        for item in content["training"]:
            item["unlabelled"] = ["spleen"]

    datalist = changed(btcv, tmp_path, hide)
    record = refused_then_trained(btcv, "train", tmp_path, "spleen", datalist=datalist)
    assert record["shown"]["liver"]["voxels"] > 0
    assert len(record["images"]["spacing"]) == 3
    new = tmp_path / "new"
    new.mkdir()
    for image in sorted((btcv.data / "images").iterdir())[:3]:
        shutil.copy(image, new)
    run = btcv.run("inference", tmp_path, dataset_dir=new, pictures=1)
    assert "spleen (every training item declares it unlabelled)" in run.stdout
    names = json.loads(datalist.read_text())["class_names"]
    maps = [np.asarray(nib.load(path).dataobj) for path in (tmp_path / "inference").glob("*_seg.nii.gz")]
    assert len(maps) == 3
    assert not any((one == names.index("spleen")).any() for one in maps)
    assert any((one > 0).any() for one in maps)
    with (tmp_path / "inference" / "volumes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["spleen_ml"] for row in rows} == {""}
    text = btcv.run("evaluate", tmp_path, datalist=datalist, pictures=1).stdout
    assert "not learnt" in next(line for line in text.splitlines() if line.startswith("spleen"))
    scores = json.loads((tmp_path / "evaluate" / "scores.json").read_text())
    assert scores["organs"]["spleen"]["dice"]["mean"] is None
    assert scores["organs"]["spleen"]["missed"] == scores["organs"]["spleen"]["scored"] == 0
    assert list(scores["unlearnt"]) == ["spleen"]
    assert scores["header"]["training"]["items"] == record["items"]


def test_images_unlike_those_of_the_training(btcv: Runner, btcv_from_scratch: Path, tmp_path: Path) -> None:
    trained = {"model_dir": btcv_from_scratch}
    new = tmp_path / "new"
    new.mkdir()
    first = nib.load(sorted((btcv.data / "images").iterdir())[0])
    values = np.asarray(first.dataobj, np.float32)
    thick = first.affine @ np.diag([1, 1, 4, 1])
    for name, data, affine in (
        ("as_trained", values, first.affine), ("from_zero", values + 1024, first.affine),
        ("thousandth", values * np.float32(0.001), first.affine), ("thick", values, thick),
    ):  # fmt: skip
        nib.save(nib.Nifti1Image(data, affine), new / f"{name}.nii.gz")
    said = btcv.run("inference", tmp_path, dataset_dir=new, pictures=0, **trained).stderr
    with (tmp_path / "inference" / "volumes.csv").open() as stream:
        warnings = {row["case"]: row["warning"] for row in csv.DictReader(stream)}
    assert warnings["as_trained"] == ""
    assert "Hounsfield" in warnings["from_zero"]
    assert "Hounsfield" in warnings["thousandth"]
    assert "far from those of the training" in warnings["thick"]
    assert f"{new / 'from_zero.nii.gz'}: holds values" in said
    label = str(sorted((btcv.data / "labels").iterdir())[0])
    content = json.loads((btcv.data / "datalist.json").read_text())
    items = [{"image": str(new / f"{name}.nii.gz"), "label": label} for name in ("as_trained", "from_zero", "thick")]
    (new / "list.json").write_text(json.dumps({**content, "training": [], "validation": [], "test": items}))
    run = btcv.run("evaluate", tmp_path, expect=1, datalist=new / "list.json", **trained)
    assert f"{label}: lies up to" in run.stderr  # elsewhere than its image
    warning = "from_zero: holds values from"
    scores = json.loads((tmp_path / "evaluate" / "scores.json").read_text())
    assert (scores["cases"], list(scores["warnings"])) == (2, ["from_zero"])
    assert "bring it to the same unit" in scores["warnings"]["from_zero"]
    assert any(line.strip().startswith(f"Warning: {warning}") for line in run.stdout.splitlines())  # in the table
    assert warning in (tmp_path / "evaluate" / "report.html").read_text()


@pytest.mark.slow
def test_a_region_that_the_convention_hides(brats: Runner, tmp_path: Path) -> None:
    table = {"1": "non-enhancing core", "2": "oedema", "3": "tumour core", "4": "enhancing tumour"}
    record = refused_then_trained(brats, "train", tmp_path, "ET", label_convention=json.dumps(table))
    assert record["regions"] is True
    assert record["shown"]["TC"]["voxels"] > 0
    brats.run("inference", tmp_path, datalist=brats.data / "datalist.json")
    for path in (tmp_path / "inference").glob("*_seg.nii.gz"):
        assert 4 not in np.asarray(nib.load(path).dataobj)  # the enhancing tumour's value
    with (tmp_path / "inference" / "volumes.csv").open() as stream:
        assert {row["ET_ml"] for row in csv.DictReader(stream)} == {""}
    text = brats.run("evaluate", tmp_path).stdout
    assert "not learnt" in next(line for line in text.splitlines() if line.startswith("ET"))


def test_heads_whose_background_is_not_0(brats: Runner, tmp_path: Path) -> None:
    brats.run("train", tmp_path, init="scratch", max_epochs=1)
    new = tmp_path / "new"
    content = json.loads((brats.data / "datalist.json").read_text())
    for file in content["test"][0]["image"]:
        image = nib.load(brats.data / file)
        (new / Path(file).parent.name).mkdir(parents=True, exist_ok=True)
        moved = np.asarray(image.dataobj, np.float32) - 5
        nib.save(nib.Nifti1Image(moved, image.affine), new / Path(file).parent.name / Path(file).name)
    brats.run("inference", tmp_path, dataset_dir=new, pictures=0)
    with (tmp_path / "inference" / "volumes.csv").open() as stream:
        assert "its background is not 0" in next(csv.DictReader(stream))["warning"]


def with_odd_looks(datalist: Path, data: Path) -> Path:
    """The same datalist with two pictures more to test: a negative, and 12 of 16 bits cut to the upper 8."""
    content = json.loads(datalist.read_text())
    pixels = np.asarray(Image.open(data / content["test"][0]["image"]))
    for name, values in (("exchanged", 255 - pixels), ("dark", pixels // 16)):
        Image.fromarray(values).save(datalist.with_name(f"{name}.png"))
        content["test"].append({**content["test"][0], "image": str(datalist.with_name(f"{name}.png"))})
    path = datalist.with_name("odd.json")
    path.write_text(json.dumps(content))
    return path


def test_a_finding_that_no_training_image_has(cxr: Runner, tmp_path: Path) -> None:
    def absent(content: Content) -> None:
        for item in content["training"]:
            item["label"][1] = 0

    datalist = changed(cxr, tmp_path, absent)
    name = json.loads(datalist.read_text())["class_names"][1]
    refused_then_trained(cxr, "train", tmp_path, name, datalist=datalist)
    cxr.run("inference", tmp_path, datalist=with_odd_looks(datalist, cxr.data))
    lines = (tmp_path / "inference" / "predictions.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    warnings = {Path(row["file"]).name: row["warning"] for row in rows if row["warning"]}
    assert "are black and white exchanged" in warnings.pop("exchanged.png")
    assert "is its window right?" in warnings.pop("dark.png")
    assert warnings == {}
    assert {row[name] for row in rows} == {""}
    assert {row[f"{name} (yes/no)"] for row in rows} == {"not learnt"}
    assert "not learnt" in cxr.run("evaluate", tmp_path, datalist=datalist).stdout
    scores = json.loads((tmp_path / "evaluate" / "scores.json").read_text())
    assert scores["classes"][name]["auc"]["mean"] is None
    assert scores["undefined"][name].startswith("not learnt")


@pytest.mark.slow
def test_a_class_that_no_training_tile_has(histo: Runner, tmp_path: Path) -> None:
    def without(content: Content) -> None:
        content["training"] = [item for item in content["training"] if item["label"] != 2]

    datalist = changed(histo, tmp_path, without)
    name = json.loads(datalist.read_text())["class_names"][2]
    refused_then_trained(histo, "train", tmp_path, name, datalist=datalist)
    histo.run("inference", tmp_path, datalist=datalist)
    lines = (tmp_path / "inference" / "predictions.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert rows
    assert name not in {row["predicted"] for row in rows}
    histo.run("evaluate", tmp_path, datalist=datalist)
    scores = json.loads((tmp_path / "evaluate" / "scores.json").read_text())
    assert scores["classes"][name]["auc"]["mean"] is None
    assert scores["macro"]["auc"]["mean"] is not None
    assert np.array(scores["confusion_matrix"])[:, 2].sum() == 0


def test_old_weights_without_a_record(btcv: Runner, btcv_from_scratch: Path, tmp_path: Path) -> None:
    for name in ("model.pt", "model.json"):
        shutil.copy(btcv_from_scratch / name, tmp_path)
    sidecar = tmp_path / "model.json"
    content = json.loads(sidecar.read_text())
    del content["training"]
    sidecar.write_text(json.dumps(content))
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(sorted((btcv.data / "images").iterdir())[0], new)
    said = btcv.run("inference", tmp_path, dataset_dir=new, pictures=0).stdout
    assert "does not say what it was trained on" in said
