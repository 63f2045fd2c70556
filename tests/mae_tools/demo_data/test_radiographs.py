from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.data.datalist import load
from custom_components.errors import InputError
from mae_tools.demo_data.radiographs import RADIOGRAPH_FINDINGS, make_radiographs, patient_findings, radiograph
from PIL import Image


def test_the_data_set(tmp_path: Path) -> None:
    made = make_radiographs(tmp_path, cases=40, seed=1, size=(48, 64))
    assert load(tmp_path / "datalist.json", class_names=RADIOGRAPH_FINDINGS)["task"] == "multi_label"
    for part in ("training", "validation", "test"):
        labels = np.array([item["label"] for item in made[part]])
        assert labels.shape[1] == len(RADIOGRAPH_FINDINGS)
    for item in made["training"]:
        with Image.open(tmp_path / item["image"]) as picture:
            assert (picture.mode, picture.size) == ("L", (64, 48))
    files = {file: file.read_bytes() for file in (tmp_path / "images").iterdir()}
    make_radiographs(tmp_path, cases=15, seed=1, size=(48, 64))
    assert {file: file.read_bytes() for file in files} == files


def test_each_finding_is_in_a_quarter_of_the_patients_and_they_come_together_by_chance() -> None:
    table = np.array([[name in patient_findings(0, p) for name in RADIOGRAPH_FINDINGS] for p in range(400)])
    assert table.mean(axis=0) == pytest.approx(0.25)
    assert np.abs(np.corrcoef(table.T) - np.eye(6)).max() < 0.2


@pytest.mark.parametrize("finding", RADIOGRAPH_FINDINGS)
def test_a_finding_changes_a_part_of_the_image(finding: str) -> None:
    for patient in range(8):
        plain, ill = (radiograph(0, patient, 0, which).astype(int) for which in (set(), {finding}))
        assert 0.001 < (np.abs(ill - plain) > 8).mean() < 0.3
        assert (ill == plain).mean() > 0.6


def test_the_brightness_of_an_image_tells_no_finding() -> None:
    means = np.array([
        [radiograph(0, patient, 0, found, (48, 48)).mean() for patient in range(40)]
        for found in (set(), *({name} for name in RADIOGRAPH_FINDINGS))
    ])  # fmt: skip
    for shifted in means[1:]:
        below = (shifted[:, None] > means[0][None]).mean()  # the AUC
        assert 0.25 < below < 0.75


def test_values_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cases is 14"):
        make_radiographs(tmp_path, cases=14)
    with pytest.raises(InputError, match="size is 31"):
        make_radiographs(tmp_path, size=(31, 64))
