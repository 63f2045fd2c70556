import json
from pathlib import Path
from typing import Any

import pytest
from bundle_runtime.data.datalist import items
from custom_components.errors import InputError
from mae_tools.sources.decathlon import decathlon

LABELS = {"0": "background", "2": "posterior", "1": "anterior"}


def task(root: Path, cases: int = 10, **changed: Any) -> Path:
    names = [f"hippocampus_{number:03d}.nii.gz" for number in range(cases)]
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(exist_ok=True)
        for name in names:
            (root / folder / name).touch()
    content = {
        "name": "Hippocampus",
        "modality": {"0": "MRI"},
        "labels": LABELS,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": ["./imagesTs/hippocampus_900.nii.gz"],
        **changed,
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_labelled_cases_are_split_and_the_test_images_left_out(tmp_path: Path) -> None:
    made = decathlon(task(tmp_path))
    assert [len(made[part]) for part in ("training", "validation", "test")] == [6, 2, 2]
    assert made["class_names"] == ["background", "anterior", "posterior"]
    assert "900" not in (tmp_path / "datalist.json").read_text()
    item = items(tmp_path / "datalist.json", "test")[0]
    assert item["image"] == str(tmp_path / "imagesTr" / f"{item['case']}.nii.gz")
    assert item["patient_id"] == item["case"]


def test_labels_the_other_way_round(tmp_path: Path) -> None:
    made = decathlon(task(tmp_path, labels={"background": 0, "tumour": 1}))
    assert made["class_names"] == ["background", "tumour"]


@pytest.mark.parametrize("labels", [{"0": "background", "2": "x"}, {"a": "b"}, ["background", "x"], None, {}])
def test_labels_that_do_not_count_up(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(InputError, match=r"dataset\.json: 'labels' is .*expected names for 0, 1, 2"):
        decathlon(task(tmp_path, labels=labels))


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json: cannot be read"):
        decathlon(tmp_path)
    task(tmp_path)
    (tmp_path / "labelsTr" / "hippocampus_003.nii.gz").unlink()
    with pytest.raises(InputError, match="names 1 files that do not exist: labelsTr/hippocampus_003"):
        decathlon(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        decathlon(tmp_path)
    for training, sentence in (([], "no list 'training'"), (["a.nii.gz"], "a training item is 'a.nii.gz'")):
        with pytest.raises(InputError, match=sentence):
            decathlon(task(tmp_path, training=training))
