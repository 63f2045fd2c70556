import json
import re
from pathlib import Path

import numpy as np
import pytest
from nifti_files import NAMES, datalist, label, pair, save

import custom_components.data.check as module
from custom_components.data.check import check, check_once, screen
from custom_components.data.datalist import items
from custom_components.data.sources import folder
from custom_components.data.sources.btcv import CLASS_NAMES
from custom_components.errors import InputError


def good(root: Path, *cases: str) -> list[dict]:
    return [pair(root, case, image={"seed": index + 1}) for index, case in enumerate(cases)]


def test_a_good_datalist_passes_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = datalist(tmp_path, training=good(tmp_path, "a", "b"))
    result = check(path, roi_size=7, spacing=3)
    assert (result["errors"], result["warnings"]) == (0, 0)
    shown = capsys.readouterr()
    assert re.search(r"training +a +12x10x8 +2 2 3 +RAS +-100\.\.\d+ +0-2 +ok", shown.out)
    assert "check" in shown.err  # the progress bar
    assert json.loads((tmp_path / "check" / "check.json").read_text()) == json.loads(json.dumps(result))
    assert (tmp_path / "check" / "check.html").read_text().count("data:image/png;base64,") == 2


def test_all_problems_are_collected_before_the_run_is_refused(tmp_path: Path) -> None:
    one, two, three = good(tmp_path, "a", "b", "c")
    save(Path(one["label"]), label(1, 7))
    Path(two["image"]).write_bytes(b"")
    path = datalist(tmp_path, training=[one, two], test=[{**three, "patient_id": "a"}])
    with pytest.raises(InputError, match=r"datalist\.json: 3 error\(s\) in the data, the first: patient a is in two"):
        check(path, out=tmp_path / "report")
    result = json.loads((tmp_path / "report" / "check.json").read_text())
    messages = " ".join(problem["message"] for problem in result["problems"])
    for part in ("patient a is in two lists, training and test", "value(s) 7", "not a readable NIfTI"):
        assert part in messages
    assert {case["case"] for case in result["cases"]} == {"a", "b", "c"}


def test_the_same_voxels_under_two_names(tmp_path: Path) -> None:
    one, two = (pair(tmp_path, case) for case in ("a", "b"))
    with pytest.raises(InputError, match=r"b\.nii\.gz: holds the same voxels as .*a\.nii\.gz in training"):
        check(datalist(tmp_path, training=[one], test=[two]))
    assert check(datalist(tmp_path, training=[one, two]))["warnings"] == 1


def test_spacing_and_orientation_far_from_the_rest(tmp_path: Path) -> None:
    cases = good(tmp_path, *"abcdefghij")
    odd = np.diag([-2.0, 2, 9, 1])
    cases.append(pair(tmp_path, "odd", image={"affine": odd, "seed": 99}, affine=odd))
    result = check(datalist(tmp_path, training=cases))
    messages = [problem["message"] for problem in result["problems"]]
    assert len(messages) == 2
    assert "has spacing 2 x 2 x 9 mm, far from the list's median 2 x 2 x 3 mm" in messages[0]
    assert "is stored as LAS, most others as RAS" in messages[1]


def test_a_class_that_no_training_label_shows(tmp_path: Path) -> None:
    path = datalist(tmp_path, training=[pair(tmp_path, data=label(1))])
    assert check(path)["problems"][0]["message"].startswith("class 'spleen' occurs in no training label")


def test_sections_and_sizes_are_checked(tmp_path: Path) -> None:
    path = datalist(tmp_path, training=good(tmp_path, "a"))
    with pytest.raises(InputError, match="no items in test"):
        check(path, sections="test")
    with pytest.raises(InputError, match="'tests' is not one of"):
        check(path, sections=["tests"])
    with pytest.raises(InputError, match="need one or three numbers"):
        check(path, roi_size=(96, 96))


def test_check_once_reads_each_state_of_the_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = good(tmp_path, "a", "b")
    read: list[str] = []
    original = module.check_item
    monkeypatch.setattr(module, "check_item", lambda item, *rest: read.append(item["case"]) or original(item, *rest))
    cache = tmp_path / "out"
    first = check_once(entries, NAMES, 1, cache, roi_size=11)
    assert [problem.level for problem in first] == ["warning", "warning"]
    assert check_once(entries, NAMES, 1, cache, roi_size=11) == first
    assert read == ["a", "b"]
    check_once(entries, [*NAMES, "kidney"], 1, cache, roi_size=11)
    save(Path(entries[0]["image"]), seed=77)
    check_once(entries, NAMES, 1, cache, roi_size=11)
    assert read == ["a", "b"] * 3


def test_check_once_refuses_and_does_not_remember_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = good(tmp_path, "a", "b")
    for entry in entries:
        save(Path(entry["label"]), label(5))
    for _ in range(2):
        with pytest.raises(InputError, match=r"2 error\(s\) in the data, the first: .*a\.nii\.gz: holds the value"):
            check_once(entries, NAMES, 1, tmp_path / "out")
    assert "b.nii.gz: holds the value(s) 5" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


def test_screen_parts_usable_images_from_others(tmp_path: Path) -> None:
    entries = good(tmp_path, "a", "b", "c")
    Path(entries[0]["label"]).unlink()  # labels do not matter
    Path(entries[1]["image"]).write_bytes(b"broken")
    usable, bad = screen(entries, 1)
    assert [item["case"] for item in usable] == ["a", "c"]
    assert [problem.case for problem in bad] == ["b"]
    assert "b.nii.gz: is" in str(bad[0])


def test_real_abdomen_ct(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "abdomen_ct"
    listed = tmp_path / "datalist.json"
    folder(root, listed, CLASS_NAMES, unlabelled='{"btcv_*": ["spleen"]}', modality="CT")
    result = check(listed, root, channels=1, roi_size=96, spacing=(1.5, 1.5, 2))
    assert result["errors"] == 0
    assert {case["orientation"] for case in result["cases"]} == {"LAS", "LPS", "RAS"}
    padded = [problem["case"] for problem in result["problems"] if "will be padded" in problem["message"]]
    assert "ts_dicom_ct_image" in padded
    with pytest.raises(InputError, match=r"4 error\(s\).*expected 0 to 2 \(3 class_names\)"):
        check_once(
            [item for part in ("training", "validation", "test") for item in items(listed, part, root)],
            NAMES,
            1,
            tmp_path,
        )


def test_real_hippocampus(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "brain_mri" / "msd_hippocampus"
    listed = tmp_path / "datalist.json"
    made = folder(root, listed, ["background", "anterior", "posterior"], val_fraction=0.05, test_fraction=0.05)
    assert [len(made[part]) for part in ("training", "validation", "test")] == [118, 6, 6]
    result = check(listed, root, roi_size=32, sections=["validation", "test"])
    assert result["errors"] == 0
    assert len(result["cases"]) == 12
