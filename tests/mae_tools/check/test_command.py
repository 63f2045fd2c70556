import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.conventions import convention
from bundle_runtime.data.datalist import write as write_list
from custom_components.errors import InputError
from dicom_files import slices, volume, write
from head_files import REGION_NAMES, SEQUENCES, head, head_list
from mae_tools.check.command import check, kind_of
from mae_tools.sources.btcv import CLASS_NAMES
from mae_tools.sources.folder import folder
from nifti_files import NAMES, datalist, label, pair, save
from picture_files import dicom, shades


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


def test_patients_spelled_in_two_ways_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = good(tmp_path, "a", "b")
    path = datalist(tmp_path, training=[{**one, "patient_id": "P1"}], test=[{**two, "patient_id": "p1"}])
    result = check(path)
    assert result["warnings"] == 1
    assert "patients 'P1' (training), 'p1' (test) are taken for different ones" in result["problems"][0]["message"]
    write_list(tmp_path / "again.json", json.loads(path.read_text()))
    assert "Warning: patients 'P1' (training), 'p1' (test)" in capsys.readouterr().out


def test_the_same_voxels_under_two_names(tmp_path: Path) -> None:
    one, two = (pair(tmp_path, case) for case in ("a", "b"))
    with pytest.raises(InputError, match=r"b\.nii\.gz: holds the same voxels as .*a\.nii\.gz in training"):
        check(datalist(tmp_path, training=[one], test=[two]))
    assert check(datalist(tmp_path, training=[one, two]))["warnings"] == 1


def test_volumes_of_every_format_are_told_from_pictures(tmp_path: Path) -> None:
    write(tmp_path / "ct", slices(volume()))
    dicom(tmp_path / "ct" / "x.dcm", shades().astype(np.uint16))
    (first, *_) = sorted(name.name for name in (tmp_path / "ct").iterdir() if name.name != "x.dcm")
    kinds = {f"ct/{first}": "volumes", "ct/x.dcm": "pictures", "ct": "volumes", "a.nrrd": "volumes", "a.MHD": "volumes"}
    for image, kind in kinds.items():
        content = {"training": [{"image": image}], "validation": [], "test": []}
        assert kind_of(content, tmp_path / "datalist.json").__name__ == f"mae_tools.check.{kind}"
        masks = {**content, "mask_kind": "binary"}
        assert kind_of(masks, tmp_path / "datalist.json").__name__ == "mae_tools.check.pictures"


def test_sections_and_sizes_are_checked(tmp_path: Path) -> None:
    path = datalist(tmp_path, training=good(tmp_path, "a"))
    with pytest.raises(InputError, match="no items in test"):
        check(path, sections="test")
    with pytest.raises(InputError, match="'tests' is not one of"):
        check(path, sections=["tests"])
    with pytest.raises(InputError, match="need one or three numbers"):
        check(path, roi_size=(96, 96))


HEADS = {"class_names": REGION_NAMES, "sequences": SEQUENCES}


def heads(root: Path, count: int = 3, **how: Any) -> list[dict]:
    return [head(root, f"p{number}", seed=number, **how) for number in range(count)]


def test_a_list_of_heads_needs_no_further_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = head_list(tmp_path, training=heads(tmp_path, rule="msd"))
    result = check(path)
    assert (result["errors"], result["warnings"]) == (0, 0)
    assert result["conventions"] == [convention("msd").describe()]
    assert re.search(r"p0 .*oedema \d+, non-enhancing core \d+, enhancing tumour \d+ +ok", capsys.readouterr().out)
    case = result["cases"][0]
    assert case["sequences"] == list(SEQUENCES)
    assert set(case["tissues"]) == {"oedema", "non-enhancing core", "enhancing tumour"}
    assert "coarse" not in case
    assert "tumour</p>\n<p>Labels: msd (0 background" in (tmp_path / "check" / "check.html").read_text()


def test_the_convention_of_the_run_overrides_the_datalist(tmp_path: Path) -> None:
    path = head_list(tmp_path, training=heads(tmp_path, rule="brats2018"))
    with pytest.raises(InputError, match=r"3 error\(s\).*value\(s\) 4, which the convention msd .*does not know"):
        check(path, label_convention="msd")
    table = {"1": "non-enhancing core", "2": "oedema", "4": "enhancing tumour"}
    assert check(path, label_convention=table)["conventions"][0].startswith("custom (0 background, 1 non-enhancing")
    with pytest.raises(InputError, match="label_convention is 'brats'"):
        check(path, label_convention="brats")


@pytest.mark.parametrize("names", [REGION_NAMES, None])
def test_tumour_regions_need_a_convention(tmp_path: Path, names: list[str] | None) -> None:
    entries = heads(tmp_path, 1)
    del entries[0]["label_convention"]
    path = head_list(tmp_path, training=entries, class_names=names)
    with pytest.raises(InputError, match=r"nothing says what they mean: set label_convention"):
        check(path, need_convention=names is None)
    if names is None:
        assert check(path)["errors"] == 0


def test_a_convention_goes_with_regions_only(tmp_path: Path) -> None:
    path = head_list(tmp_path, training=heads(tmp_path, 1), class_names=["background", "liver"])
    with pytest.raises(InputError, match="class_names holds 'liver', which is no region"):
        check(path)


def test_sequences_of_the_run_are_checked_by_name(tmp_path: Path) -> None:
    entries = [*heads(tmp_path, 2), head(tmp_path, "p9", sequences=("t1", "flair"), seed=9)]
    path = head_list(tmp_path, training=entries)
    assert [entry["message"] for entry in check(path)["problems"]] == [
        "has no t1ce and no t2, which most cases of the list have; a network that takes it needs "
        "allow_missing_sequences: true"
    ]
    with pytest.raises(InputError, match=r"1 error\(s\).*has no t1ce and no t2, only t1, flair"):
        check(path, sequences=SEQUENCES)
    result = check(path, sequences=SEQUENCES, allow_missing_sequences=True)
    assert [entry["message"] for entry in result["problems"]] == ["has no t1ce and no t2: zeros stand in"]
    assert check(path, sequences="flair")["problems"] == []
    with pytest.raises(InputError, match="the 2 files of this item hold 2 channels, expected 4"):
        check(path, channels=4)


def test_real_abdomen_ct(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "abdomen_ct"
    listed = tmp_path / "datalist.json"
    folder(root, out=listed, class_names=CLASS_NAMES, unlabelled='{"btcv_*": ["spleen"]}', modality="CT")
    result = check(listed, root, channels=1, roi_size=96, spacing=(1.5, 1.5, 2))
    assert result["errors"] == 0
    assert {case["orientation"] for case in result["cases"]} == {"LAS", "LPS", "RAS"}
    padded = [problem["case"] for problem in result["problems"] if "will be padded" in problem["message"]]
    assert "ts_dicom_ct_image" in padded
    with pytest.raises(InputError, match=r"5 error\(s\).*class_names of the run .* differ from those of the datalist"):
        check(listed, root, NAMES, channels=1)
    found = json.loads((tmp_path / "check" / "check.json").read_text())["problems"]
    assert sum("expected 0 to 2 (3 class_names)" in problem["message"] for problem in found) == 4


def test_real_hippocampus(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "brain_mri" / "msd_hippocampus"
    listed = tmp_path / "datalist.json"
    made = folder(
        root, out=listed, class_names=["background", "anterior", "posterior"], val_fraction=0.05, test_fraction=0.05
    )
    assert [len(made[part]) for part in ("training", "validation", "test")] == [118, 6, 6]
    result = check(listed, root, roi_size=32, sections=["validation", "test"])
    assert result["errors"] == 0
    assert len(result["cases"]) == 12


def real_heads(folder: Path, first: str | dict[str, str] = "brats2018", count: int = 3) -> Path:
    """The first of three real heads with hand-written sequence names and conventions."""
    cases = [
        ("brats4mod/BraTS2021_00006/BraTS2021_00006_{}.nii.gz", "seg", first),
        ("brats4mod/BRATS2012_HG0015/HG0015_{}.nii.gz", "seg", {"1": "oedema", "2": "tumour core"}),
        ("tcga4mod_machine_labels/TCGA-FG-6692/{}.nii.gz", "seg_machine", "brats2018"),
    ]
    training = [
        {
            "image": [path.format(name) for name in ("t2", "flair", "t1", "t1ce")],
            "label": path.format(label),
            "label_convention": rule,
        }
        for path, label, rule in cases[:count]
    ]
    content = {"class_names": REGION_NAMES, "sequences": ["T2", "FLAIR", "T1", "T1-CE"], "training": training}
    path = folder / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def test_real_heads(tmp_path: Path, real_data: Path) -> None:
    result = check(real_heads(tmp_path), real_data / "brain_mri", sequences=SEQUENCES, roi_size=128, spacing=1)
    assert result["problems"] == []
    assert [case["tissues"] for case in result["cases"]] == [
        {"non-enhancing core": 25506, "oedema": 85957, "enhancing tumour": 26448},
        {"oedema": 108706, "tumour core": 72310},
        {"non-enhancing core": 2477, "oedema": 20862, "enhancing tumour": 6840},
    ]
    assert len(result["conventions"]) == 2


def test_real_heads_with_a_wrong_convention(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "brain_mri"
    with pytest.raises(InputError, match=r"2 error\(s\).*BraTS2021_00006_seg.*value\(s\) 4, which the convention msd"):
        check(real_heads(tmp_path), root, sequences=SEQUENCES, label_convention="msd")
    rotated = {"1": "enhancing tumour", "2": "oedema", "4": "non-enhancing core"}
    told = check(real_heads(tmp_path, rotated, 1), root, sequences=SEQUENCES)["problems"]
    assert [(entry["level"], entry["case"]) for entry in told] == [("warning", "BraTS2021_00006")]
    assert "does not look enhanced" in told[0]["message"]
    exchanged = {"1": "oedema", "2": "non-enhancing core", "4": "enhancing tumour"}  # as msd reads brats2023
    told = check(real_heads(tmp_path, exchanged, 1), root, sequences=SEQUENCES)["problems"]
    assert [(entry["level"], entry["case"]) for entry in told] == [("warning", "BraTS2021_00006"), ("warning", "")]
    assert "has the non-enhancing core around the oedema" in told[0]["message"]
    assert "in 1 of 1 labels read as custom" in told[1]["message"]
