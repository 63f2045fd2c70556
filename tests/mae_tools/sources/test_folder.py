from pathlib import Path
from typing import Any

import pytest
from custom_components.errors import InputError
from mae_tools.sources.folder import folder

NAMES = ["background", "liver", "spleen"]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def by_case(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["patient_id"]: item for part in ("training", "validation", "test") for item in made[part]}


def test_two_folders_with_equal_names(tmp_path: Path) -> None:
    names = [f"{part}/c{number}.nii.gz" for part in ("images", "labels") for number in range(5)]
    made = folder(touch(tmp_path, *names, "images/._c0.nii.gz", "images/readme.txt"), class_names=NAMES, modality="CT")
    assert [len(made[part]) for part in ("training", "validation", "test")] == [3, 1, 1]
    assert by_case(made)["c3"] == {"image": "images/c3.nii.gz", "label": "labels/c3.nii.gz", "patient_id": "c3"}
    assert (made["class_names"], made["modality"]) == (NAMES, "CT")


def test_pairs_in_one_folder_with_classes_not_drawn(tmp_path: Path) -> None:
    names = [f"{case}_{part}.nii.gz" for case in ("btcv_1", "ts_1", "ts_2") for part in ("image", "label")]
    root = touch(tmp_path, *names)
    for mapping in ('{"btcv_*": ["spleen"]}', {"btcv_*": ["spleen"]}):
        made = by_case(folder(root, class_names=NAMES, unlabelled=mapping))
        assert made["btcv_1"]["unlabelled"] == ["spleen"]
        assert "unlabelled" not in made["ts_1"]
    assert made["ts_2"]["label"] == "ts_2_label.nii.gz"


def test_patients_of_a_table_stay_together(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{part}/c{number}.nii" for part in ("images", "labels") for number in range(12)))
    table = tmp_path / "patients.csv"
    table.write_text("case,patient_id\n" + "".join(f"c{number},p{number % 4}\n" for number in range(12)))
    made = folder(root, patients=table)
    assert sorted(len(made[part]) for part in ("training", "validation", "test")) == [3, 3, 6]
    table.write_text("case,patient_id\nc0,p0\n")
    with pytest.raises(InputError, match=r"patients\.csv: names no patient for c1, c10, c11, c2"):
        folder(root, patients=table)
    table.write_text("file,who\nc0,p0\n")
    with pytest.raises(InputError, match="there is no column 'case'; known are file, who"):
        folder(root, patients=table)
    with pytest.raises(InputError, match="cannot be read"):
        folder(root, patients=tmp_path / "none.csv")


def test_images_without_labels_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no NIfTI pairs; expected images/ and labels/, or <case>_image"):
        folder(tmp_path)
    touch(tmp_path, "images/a.nii.gz", "images/b.nii.gz", "labels/b.nii.gz", "labels/c.nii.gz")
    with pytest.raises(InputError, match="image or label is missing for a, c"):
        folder(tmp_path)


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ("{oops", "not valid JSON"),
        ('["spleen"]', "expected a table by case pattern"),
        ('{"a": "spleen"}', "expected case patterns with lists of classes"),
        ('{"z*": ["spleen"]}', r"the pattern 'z\*' fits none of the cases a"),
        ('{"a": ["splen"]}', "'splen' is not among the classes"),
    ],
)
def test_wrong_unlabelled_mappings(tmp_path: Path, mapping: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        folder(touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz"), class_names=NAMES, unlabelled=mapping)


def test_volumes_that_lie_elsewhere_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A site in a subfolder, and a format of another kind; nothing is told where nothing is left out."""
    names = [f"{part}/c{number}.nii.gz" for part in ("images", "labels") for number in range(3)]
    folder(touch(tmp_path, *names), class_names=NAMES)
    assert "come into no list" not in capsys.readouterr().out
    folder(touch(tmp_path, "images/site2/q1.nii.gz", "labels/site2/q1.nii.gz", "images/P7/1.dcm"), class_names=NAMES)
    said = capsys.readouterr().out
    assert f"3 file(s) of {tmp_path} come into no list: " in said
    assert "2 .nii.gz (images/site2/q1.nii.gz, labels/site2/q1.nii.gz)" in said
    assert "1 DICOM (images/P7/1.dcm)" in said
