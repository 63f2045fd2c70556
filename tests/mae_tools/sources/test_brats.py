import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.conventions import convention
from bundle_runtime.data.datalist import items, load
from bundle_runtime.data.sequences import patient_of, usual_convention
from custom_components.errors import InputError
from mae_tools.sources import SOURCES
from mae_tools.sources.brats import brats

FOUR = ("flair", "t1", "t1ce", "t2")
YEARS = {
    "brats2018": ("Brats18_CBICA_AAB_{}", "_", (*FOUR, "seg")),
    "brats2023": ("BraTS-GLI-{:05d}-000", "-", ("t2f", "t1n", "t1c", "t2w", "seg")),
}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def year(root: Path, name: str, cases: int, layout: str = "{case}/{file}") -> Path:
    pattern, joint, endings = YEARS[name]
    for number in range(cases):
        case = pattern.format(number)
        grade = "HGG" if number % 2 else "LGG"
        files = [f"{case}{joint}{ending}.nii.gz" for ending in endings]
        touch(root, *(layout.format(case=case, file=file, grade=grade) for file in files))
    return root


def entries(made: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for part in ("training", "validation", "test") for entry in made[part]]


def by_patient(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["patient_id"]: entry for entry in entries(made)}


@pytest.mark.parametrize("name", list(YEARS))
@pytest.mark.parametrize("layout", ["{file}", "{case}/{file}", "{grade}/{case}/{file}"])
def test_every_year_in_every_layout(tmp_path: Path, name: str, layout: str) -> None:
    made = SOURCES["brats"](year(tmp_path, name, 20, layout))
    assert [len(made[part]) for part in ("training", "validation", "test")] == [14, 2, 4]
    assert (made["sequences"], made["label_convention"]) == (list(FOUR), name)
    for part in ("training", "validation", "test"):
        for item in items(tmp_path / "datalist.json", part):
            assert item["sequences"] == list(FOUR)
            assert item["case"].startswith(item["patient_id"])
            assert all(Path(file).name.startswith(item["case"]) for file in [*item["image"], item["label"]])
    first = made["training"][0]["image"]
    assert [Path(file).name.removesuffix(".nii.gz")[-3:].lstrip("_-") for file in first] == (
        ["air", "t1", "1ce", "t2"] if name == "brats2018" else ["t2f", "t1n", "t1c", "t2w"]
    )


def test_time_points_of_a_patient_stay_together(tmp_path: Path) -> None:
    for patient in range(12):
        for point in range(1 + patient % 3):
            case = f"BraTS-GLI-{patient:05d}-{point:03d}"
            touch(tmp_path, *(f"{case}/{case}-{ending}.nii.gz" for ending in YEARS["brats2023"][2]))
    owners = [
        {entry["patient_id"] for entry in brats(tmp_path)[part]} for part in ("training", "validation", "test")
    ]  # fmt: skip
    assert [len(part) for part in owners] == [8, 1, 3]
    assert len(owners[0] | owners[1] | owners[2]) == 12
    assert len(entries(json.loads((tmp_path / "datalist.json").read_text()))) == 24


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("BraTS-GLI-00005-000", "BraTS-GLI-00005"),
        ("BraTS-MET-00086-101", "BraTS-MET-00086"),
        ("BraTS2021_00006", "BraTS2021_00006"),
        ("BraTS-GoAT-00000", "BraTS-GoAT-00000"),
        ("Brats18_TCIA02_135_1", "Brats18_TCIA02_135_1"),
        ("TCGA-02-0006", "TCGA-02-0006"),
        ("sub-01_ses-2_run-1", "sub-01"),
        ("raw/sub-A7x_slice-3.png", "sub-A7x"),
        ("sub-01", "sub-01"),
        ("sub-image_001", "sub-image_001"),
        ("sub-01/left_eye.png", "sub-01/left_eye.png"),
    ],
)
def test_the_patient_of_a_case(case: str, patient: str) -> None:
    assert patient_of(case) == patient


def test_sessions_of_a_subject_stay_together_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"sub-{number}_ses-{session}" for number in range(8) for session in (1, 2)]
    touch(tmp_path, *(f"{name}_{ending}.nii.gz" for name in names for ending in ("flair", "seg")))
    made = brats(tmp_path)
    owner = [{entry["patient_id"] for entry in made[part]} for part in ("training", "validation", "test")]
    assert sum(map(len, owner)) == len(set().union(*owner)) == 8
    assert "16 cases are of 8 patients by their names; where that is wrong, give --patients." in capsys.readouterr().out


def test_the_convention_of_file_names() -> None:
    assert usual_convention(["P-t1c.nii", "P-t2w.nii"]) == "brats2023"
    assert usual_convention(["P-t1c.nii", "P-t2.nii"]) == "brats2018"
    assert usual_convention(["/msd/imagesTs/BRATS_485.nii.gz"]) == "msd"
    assert usual_convention(["anything.nii.gz"]) == "brats2018"


def test_a_hospital_folder_with_some_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        wanted = FOUR if number else ("FLAIR", "T1Gd")
        touch(tmp_path, *(f"P{number}/{name}.nii.gz" for name in (*wanted, "label")), f"P{number}/adc.nii")
    touch(tmp_path, "P3/._t1.nii.gz", ".hidden/X/t1.nii.gz", "P3/notes.txt")
    made = by_patient(brats(tmp_path, label_name="label", label_convention={"1": "whole tumour"}))
    assert made["P0"] == {
        "image": ["P0/FLAIR.nii.gz", "P0/T1Gd.nii.gz"],
        "label": "P0/label.nii.gz",
        "patient_id": "P0",
        "sequences": ["flair", "t1ce"],
    }
    assert made["P1"]["sequences"] == list(FOUR)
    said = capsys.readouterr().out
    for sentence in (
        "10 case(s) with flair, t1, t1ce, t2.",
        "1 of them lack t1: P0.",
        "1 of them lack t2: P0.",
        f"10 file(s) of {tmp_path} come into no list: 10 .nii (P0/adc.nii, P1/adc.nii and 8 more).",
    ):
        assert sentence in said
    assert "t1ce:" not in said
    assert "read as" not in said  # nothing was guessed
    assert load(tmp_path / "datalist.json")["label_convention"] == {"1": "whole tumour"}


def test_the_guessed_convention_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    year(tmp_path, "brats2018", 10)
    year(tmp_path, "brats2023", 3)
    made = brats(tmp_path)
    assert "label_convention" not in made
    assert made["sequences"] == list(FOUR)
    assert {entry["label_convention"] for entry in entries(made)} == {"brats2018", "brats2023"}
    said = capsys.readouterr().out
    assert f"Labels of 10 case(s) are read as {convention('brats2018').describe()}, by their file names" in said
    assert f"Labels of 3 case(s) are read as {convention('brats2023').describe()}, by their file names" in said


@pytest.mark.parametrize("as_text", [True, False])
def test_some_cases_with_another_convention(tmp_path: Path, as_text: bool) -> None:
    year(tmp_path, "brats2018", 9)
    touch(tmp_path, *(f"HG0015/HG0015_{ending}.nii.gz" for ending in (*FOUR, "seg")))
    table: Any = {"HG*": {"1": "oedema", "2": "tumour core"}, "*AAB_[12]": "msd"}
    made = brats(tmp_path, conventions=json.dumps(table) if as_text else table)
    found = {patient: entry["label_convention"] for patient, entry in by_patient(made).items()}
    assert found.pop("HG0015") == table["HG*"]
    assert [found[f"Brats18_CBICA_AAB_{number}"] for number in range(4)] == ["brats2018", "msd", "msd", "brats2018"]
    prepared = [item for part in ("training", "validation", "test") for item in items(tmp_path / "datalist.json", part)]
    assert {item["case"]: item["unlabelled"] for item in prepared if item["unlabelled"]} == {
        "HG0015": ["ET", "NCR/NET"]
    }


def test_cases_without_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    year(tmp_path, "brats2018", 10)
    touch(tmp_path, *(f"new/new_{name}.nii.gz" for name in FOUR))
    assert "new" not in by_patient(brats(tmp_path))
    assert "1 of 11 cases left out, no label ending in seg.nii.gz: new." in capsys.readouterr().out
    made = brats(tmp_path, labels=False)
    assert "new" in by_patient(made)
    assert not any("label" in entry or "label_convention" in entry for entry in entries(made))
    assert "label_convention" not in made


def test_several_label_names(tmp_path: Path) -> None:
    for case, endings in (("A", ("seg_machine",)), ("B", ("seg", "seg_machine")), ("C", ("seg",))):
        touch(tmp_path, *(f"{case}/{case}_{name}.nii.gz" for name in (*FOUR, *endings)))
    made = by_patient(brats(tmp_path, label_name=("seg", "seg_machine")))
    assert [made[case]["label"] for case in "ABC"] == ["A/A_seg_machine.nii.gz", "B/B_seg.nii.gz", "C/C_seg.nii.gz"]
    assert set(by_patient(brats(tmp_path, label_name="seg_machine"))) == {"A", "B"}


def test_patients_of_a_table_stay_together(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"S{number}/{name}.nii" for number in range(20) for name in (*FOUR, "seg")))
    table = tmp_path / "patients.csv"
    table.write_text("case,patient_id\n" + "".join(f"S{number},p{number % 10}\n" for number in range(20)))
    made = brats(root, patients=table)
    assert [len(made[part]) for part in ("training", "validation", "test")] == [14, 2, 4]
    table.write_text("case,patient_id\nS0,p0\n")
    with pytest.raises(InputError, match=r"patients\.csv: names no patient for S1, S10, S11"):
        brats(root, patients=table)


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    year(tmp_path / "store", "brats2018", 3)
    (tmp_path / "study").mkdir()
    for case in (tmp_path / "store").iterdir():
        (tmp_path / "study" / case.name).symlink_to(case)
    assert len(entries(brats(tmp_path / "study"))) == 3


def test_three_patients_fill_three_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = brats(year(tmp_path, "brats2018", 3))
    assert [len(made[part]) for part in ("training", "validation", "test")] == [1, 1, 1]
    assert "Only 3 patient(s), dealt as training 1, validation 1, test 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "arguments", "sentence"),
    [
        ([], {}, r"holds no case; expected NIfTI files named by their sequence, such as P1_flair\.nii\.gz"),
        (["P/image.nii.gz", "P/seg.nii.gz"], {}, "holds no case; expected NIfTI files named by their sequence"),
        (["P/t1.nii", "P/t1.nii.gz", "P/seg.nii"], {}, r"t1\.nii\.gz: .*t1\.nii already is the t1 of case P; keep one"),
        (["P/P_t1c.nii", "P/P_t1gd.nii", "P/P_seg.nii"], {}, r"P_t1gd\.nii: .* already is the t1ce of case P"),
        (["P/t1.nii", "P/seg.nii", "P/seg.nii.gz"], {}, r"seg\.nii\.gz: .*seg\.nii already is the label of case P"),
        (["P/t1.nii", "P/seg.nii", "Q/Q_seg.nii"], {}, r"no image goes with the label Q/Q_seg\.nii; name images and"),
        (["P/t1.nii"], {}, r"none of its 1 cases has a label ending in seg\.nii\.gz; name the ending with label_name"),
        (["P/t1.nii", "P/seg.nii"], {"conventions": {"HG*": "msd"}}, r"the pattern 'HG\*' fits none of the cases P"),
        (["P/t1.nii", "P/seg.nii"], {"conventions": {"P": "brats"}}, "label_convention is 'brats'; expected msd"),
        (["P/t1.nii", "P/seg.nii"], {"conventions": "{oops"}, "conventions is not valid JSON"),
        (["P/t1.nii", "P/seg.nii"], {"conventions": "[1]"}, r"conventions is \[1\], expected a table by case pattern"),
        (["P/t1.nii", "P/seg.nii"], {"label_convention": {"1": "bone"}}, "expected msd, brats2018, brats2023, or a"),
        (["P/t1.nii", "P/seg.nii"], {"fold": 1}, r"fold is 1, expected 0 to 0 \(folds 5, 1 patients\)"),
    ],
)
def test_bad_input_gets_one_sentence(
    tmp_path: Path, names: list[str], arguments: dict[str, Any], sentence: str
) -> None:  # fmt: skip
    with pytest.raises(InputError, match=sentence) as error:
        brats(touch(tmp_path, *names), **arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "datalist.json").exists()
    with pytest.raises(InputError, match="nowhere is not a folder"):
        brats(tmp_path / "nowhere")


def test_real_heads(tmp_path: Path, real_data: Path) -> None:
    out = tmp_path / "datalist.json"
    root = real_data / "brain_mri"
    other = {"HG0015": {"1": "oedema", "2": "tumour core"}}
    made = brats(root, out=out, label_name=("seg", "seg_machine"), conventions=other)
    assert set(by_patient(made)) == {"HG0015", "BraTS2021_00006", "TCGA-FG-6692"}
    assert [len(made[part]) for part in ("training", "validation", "test")] == [1, 1, 1]
    for part in ("training", "validation", "test"):
        (item,) = items(out, part, root, ["background", "TC", "WT", "ET"])
        assert item["sequences"] == list(FOUR)
        assert item["unlabelled"] == (["ET"] if item["patient_id"] == "HG0015" else [])
        label = np.asanyarray(nib.load(item["label"]).dataobj)
        codes = convention(item["label_convention"]).decode(label, item["label"])
        assert len(np.unique(codes)) == len(np.unique(label)) > 2
    assert len(entries(brats(root / "tcga4mod_machine_labels", out=out, label_name="seg_machine"))) == 1
    assert len(entries(brats(root / "brats4mod", out=out))) == 2


def test_sequences_by_patterns_of_their_names(tmp_path: Path) -> None:
    """In a folder a case, and with the case in the name; labels as in BraTS 2012 to 2016."""
    names = [
        f"P{case}/{name}.nii.gz" for case in range(4) for name in ("Flair_subtrMeanDivStd", "T1c_x", "OTMultiClass")
    ]
    names += [f"Q{case}_{name}.nii.gz" for case in range(4) for name in ("Flair_x", "T1c_x", "OTMultiClass")]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rule = {"1": "non-enhancing core", "2": "oedema", "3": "non-enhancing core", "4": "enhancing tumour"}
    wanted: dict[str, Any] = {"label_name": "OTMultiClass", "label_convention": rule}
    made = brats(tmp_path, sequences='{"flair": "*flair*", "T1-Gd": "*T1c*"}', **wanted)
    items = [item for part in ("training", "validation", "test") for item in made[part]]
    assert made["sequences"] == ["flair", "t1ce"]
    assert made["label_convention"] == rule
    by_patient = {item["patient_id"]: item for item in items}
    assert sorted(by_patient) == [f"{letter}{case}" for letter in "PQ" for case in range(4)]
    assert by_patient["P0"]["image"] == ["P0/Flair_subtrMeanDivStd.nii.gz", "P0/T1c_x.nii.gz"]
    assert by_patient["Q3"]["label"] == "Q3_OTMultiClass.nii.gz"
    with pytest.raises(InputError, match=r"no file fits the pattern \*T2\*"):
        brats(tmp_path, sequences={"flair": "*flair*", "t2": "*T2*"}, **wanted)
    with pytest.raises(InputError, match=r"fits the patterns \*flair\*, \*Mean\* of sequences"):
        brats(tmp_path, sequences={"flair": "*flair*", "t2": "*Mean*"}, **wanted)


@pytest.mark.parametrize("mask", ["brainmask", "*brain*"])
def test_masks_of_the_brain_and_a_background(tmp_path: Path, mask: str) -> None:
    for case in range(5):
        for name in ("flair", "brainmask"):
            (tmp_path / f"P{case}_{name}.nii.gz").touch()
    made = brats(tmp_path, labels=False, mask=mask)
    assert [item["brain_mask"] for item in made["test"]] == [
        item["image"][0].replace("flair", "brainmask") for item in made["test"]
    ]
    assert brats(tmp_path, labels=False, background="corners")["background"] == "corners"
    with pytest.raises(InputError, match="both given"):
        brats(tmp_path, labels=False, mask=mask, background=-3.6)
    with pytest.raises(InputError, match="expected the value of the background"):
        brats(tmp_path, labels=False, background="edge")
    with pytest.raises(InputError, match=r"mask: no file fits the pattern \*skull\*"):
        brats(tmp_path, labels=False, mask="*skull*")
    (tmp_path / "P3_brainmask.nii.gz").unlink()
    with pytest.raises(InputError, match="case P3 has no mask of its brain"):
        brats(tmp_path, labels=False, mask=mask)
