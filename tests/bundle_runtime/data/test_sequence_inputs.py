import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.conventions import convention
from bundle_runtime.data.inference import CaseDataset
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.sequence_inputs import SequenceInputs
from custom_components.errors import InputError
from dicom_files import slices, volume, write
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from sequence_files import FOUR, four, head


def save(path: Path, shape: tuple[int, ...] = (6, 5, 4)) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), np.eye(4)), path)


def test_a_dicom_series_a_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("flair", "T1", "t1ce", "T2")):
        write(tmp_path / "in" / "P1" / name, slices(volume(seed=number), name))
    inputs = brain_inputs(tmp_path / "in")
    assert "left out" not in capsys.readouterr().out
    assert [(item["case"], item["sequences"]) for item in inputs.items] == [("P1", list(FOUR))]
    loaded = LoadVolumesd("image", sequences=FOUR)(inputs.items[0])["image"]
    np.testing.assert_array_equal(loaded[1], volume(seed=1).astype(np.float32) - 1024)


def brain_inputs(folder: Path, **arguments: Any) -> SequenceInputs:
    return SequenceInputs(str(folder), sequences=FOUR, output_dir=str(folder.parent / "out"), **arguments)


def read(inputs: SequenceInputs, **wanted: Any) -> None:
    """Read the cases as a run does, and note those that cannot be used."""
    engine: Any = Engine(lambda *_: None)
    engine._iteration = lambda *_: []
    engine.register_events(*IterationEvents)
    for item in CaseDataset(inputs.items, LoadVolumesd("image", sequences=FOUR, **wanted)):
        inputs.iteration(engine, {key: [item[key]] for key in ("case", "file", "problem") if key in item})


def test_cases_of_one_file_a_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = head(
        tmp_path / "in",
        *four("P1"),
        *four("P2/P2", endings=("T2", "FLAIR", "T1w", "T1Gd", "seg")),
        *four("P3/", joint=""),
        *four("BraTS-GLI-00005-001", joint="-", endings=("t1c", "t1n", "t2f", "t2w")),
        "P3/adc.nii.gz",
        *four("a/sub-1/anat/sub-1", endings=("FLAIR", "T1w", "ce-gd_T1w", "T2w")),
    )
    inputs = brain_inputs(folder)
    inputs.finish()
    assert [item["case"] for item in inputs.items] == ["BraTS-GLI-00005-001", "P1", "P2", "P3", "sub-1"]
    for item in inputs.items:
        assert sorted(item["sequences"]) == list(FOUR)
        assert item["file"] == item["image"][0]
        assert len(item["image"]) == 4
    assert inputs.items[0]["patient_id"] == "BraTS-GLI-00005"
    assert [item["label_convention"] for item in inputs.items] == ["brats2023", *["brats2018"] * 4]
    ends = [Path(file).name for file in inputs.items[2]["image"]]
    spelled = {"P2_FLAIR.nii.gz": "flair", "P2_T1w.nii.gz": "t1", "P2_T1Gd.nii.gz": "t1ce", "P2_T2.nii.gz": "t2"}
    assert [spelled[name] for name in ends] == inputs.items[2]["sequences"]
    said = capsys.readouterr().out
    assert "1 file(s) neither named by a sequence nor 4-D are left out: adc.nii.gz." in said
    assert "4 case(s) go by the label convention brats2018 (0 background, 1 non-enhancing core" in said
    assert "1 case(s) go by the label convention brats2023 (0 background" in said


def test_sequences_are_read_by_name(tmp_path: Path) -> None:
    """Guards against matching sequences to channels by position: files are grouped in alphabetical order."""
    values = {"t2": 4, "t1ce": 3, "flair": 1, "t1": 2}
    for name, value in values.items():
        data = np.full((6, 5, 8), value, np.float32)
        data[0] = 0
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / f"P_{name}.nii.gz")
    (item,) = SequenceInputs(str(tmp_path), sequences=FOUR, output_dir=str(tmp_path / "out")).items
    image = LoadVolumesd("image", sequences=FOUR)(dict(item))["image"]
    assert image.amax((1, 2, 3)).tolist() == [1, 2, 3, 4]


def test_a_missing_sequence_fails_its_case_alone(tmp_path: Path) -> None:
    folder = head(tmp_path / "in", *four("P1"), *four("P2", endings=("flair", "t1", "t2")))
    inputs = brain_inputs(folder)
    assert [item["sequences"] for item in inputs.items] == [list(FOUR), ["flair", "t1", "t2"]]
    read(inputs)
    with pytest.raises(InputError, match=r"1 of 2 images could not be used: .*P2_flair\.nii\.gz.*t1ce"):
        inputs.finish()
    relaxed = brain_inputs(folder)
    read(relaxed, allow_missing_sequences=True)
    relaxed.finish()


def test_two_files_of_one_sequence_fail_their_case_alone(tmp_path: Path) -> None:
    folder = head(tmp_path / "in", *four("P1"), *four("P2"), "P2_t1gd.nii.gz", "P1_seg.nii", "P1_seg.nii.gz")
    inputs = brain_inputs(folder)
    assert [item["case"] for item in inputs.items] == ["P1"]
    with pytest.raises(InputError, match=r"1 of 2 images .*P2_t1gd\.nii\.gz: .*t1ce\.nii\.gz already is the t1ce"):
        inputs.finish()
    (row,) = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert row["file"] == str(folder / "P2_t1gd.nii.gz")


def test_files_of_four_volumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    for name in ("BRATS_485.nii.gz", "a/scan.nii.gz", "b/scan.nii.gz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save(folder / name, (6, 5, 4, 4))
    save(folder / "three.nii.gz", (6, 5, 4, 3))
    (folder / "broken.nii.gz").write_bytes(b"no volume")
    head(folder, "mask.nii.gz", *four("P1"))
    inputs = brain_inputs(folder, file_sequences=("FLAIR", "T1w", "t1gd", "T2w"))
    assert [item["case"] for item in inputs.items] == ["P1", "BRATS_485", "a_scan", "b_scan", "broken", "three"]
    assert inputs.items[1]["image"] == str(folder / "BRATS_485.nii.gz")
    assert all(item["sequences"] == list(FOUR) for item in inputs.items)
    assert [item["label_convention"] for item in inputs.items] == ["brats2018", "msd", *["brats2018"] * 4]
    read(inputs)
    with pytest.raises(InputError, match=r"2 of 6 images could not be used: .*broken\.nii\.gz.*three\.nii\.gz"):
        inputs.finish()
    said = capsys.readouterr().out
    assert "5 file(s) without a sequence in the name are assumed to hold flair, t1, t1ce, t2, in this order." in said
    assert "left out: mask.nii.gz." in said
    swapped = brain_inputs(folder, file_sequences=("t2", "t1", "flair", "t1ce"))
    assert swapped.items[1]["sequences"] == ["t2", "t1", "flair", "t1ce"]


def test_a_3d_file_among_4d_ones_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An inference that says nothing of a case that it left out looks like one that found nothing there."""
    folder = head(tmp_path / "in", "b.nii.gz", "c/scan.nii.gz", "d/scan.nii.gz", "P1_seg.nii.gz", "labels/a.nii.gz")
    head(folder, "a_mask.nii.gz", *four("e/P2"), "e/adc.nii.gz")
    save(folder / "a.nii.gz", (6, 5, 4, 4))
    inputs = brain_inputs(folder)
    assert [item["case"] for item in inputs.items] == ["P2", "a"]
    with pytest.raises(InputError, match=r"3 of 5 images could not be used: .*holds one volume only"):
        inputs.finish()
    rows = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert [row["file"] for row in rows] == [
        str(folder / name) for name in ("b.nii.gz", "c/scan.nii.gz", "d/scan.nii.gz")
    ]
    said = capsys.readouterr().out
    assert "Written: 2 label map(s)" in said
    assert "3 file(s) neither named by a sequence nor 4-D are left out: " in said


def test_the_file_of_an_item_is_the_first_that_is_read(tmp_path: Path) -> None:
    folder = head(tmp_path / "in", *four("P1"))
    wanted = ("t1ce", "t2")
    listed = tmp_path / "datalist.json"
    listed.write_text(json.dumps({"test": [{"image": four("P1"), "sequences": FOUR}]}))
    for datalist in (None, str(listed)):
        (item,) = SequenceInputs(str(folder), datalist, sequences=wanted, output_dir=str(tmp_path / "out")).items
        assert LoadVolumesd("image", sequences=wanted)(item)["file"] == str(folder / "P1_t1ce.nii.gz")


def test_a_given_convention_takes_the_place_of_the_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = head(tmp_path / "in", *four("P1"))
    table = {"1": "oedema", "2": "tumour core"}
    (item,) = brain_inputs(folder, label_convention=table).items
    assert convention(item["label_convention"]) == convention(table)
    assert "label convention" not in capsys.readouterr().out


def test_a_convention_that_cannot_hold_a_prediction_is_refused_at_the_start(tmp_path: Path) -> None:
    folder = head(tmp_path / "in", *four("P1"), *four("P2"))
    with pytest.raises(InputError, match=r"custom \(0 background, 1 tumour core\) has no value for oedema, "):
        brain_inputs(folder, label_convention={"1": "tumour core"})
    inputs = brain_inputs(folder, label_convention={"1": "tumour core"}, class_names=["background", "TC"])
    assert len(inputs.items) == 2
    listed = tmp_path / "datalist.json"
    entries = [
        {"image": four("P1"), "label_convention": {"1": "enhancing tumour"}},
        {"image": four("P2"), "label_convention": "msd"},
    ]
    listed.write_text(json.dumps({"sequences": FOUR, "test": entries}))
    inputs = brain_inputs(folder, datalist=str(listed))
    assert [item["label_convention"] for item in inputs.items] == ["msd"]
    with pytest.raises(
        InputError, match=r"1 of 2 images .*P1_flair\.nii\.gz: The convention custom .* has no value for"
    ):
        inputs.finish()


def test_one_sequence_needs_no_name(tmp_path: Path) -> None:
    folder = head(tmp_path / "in", "a.nii.gz", "b.nii.gz")
    inputs = SequenceInputs(str(folder), sequences=["t1ce"], output_dir=str(tmp_path / "out"))
    inputs.finish()
    assert [(item["case"], item["sequences"]) for item in inputs.items] == [("a", ["t1ce"]), ("b", ["t1ce"])]


def test_two_images_of_one_name_fail_once(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz", "b.nii"):
        save(tmp_path / name, (6, 5, 4, 4))
    inputs = SequenceInputs(str(tmp_path), sequences=FOUR, output_dir=str(tmp_path / "out"))
    with pytest.raises(InputError, match=r"1 of 3 images could not be used: .*is named .*_a too; rename one"):
        inputs.finish()


def test_earlier_results_are_no_input(tmp_path: Path) -> None:
    folder = head(tmp_path, *four("P1"))
    (folder / "out").mkdir()
    save(folder / "out" / "P1_probabilities.nii.gz", (6, 5, 4, 3))
    inputs = SequenceInputs(str(folder), sequences=FOUR, output_dir=str(folder / "out"))
    inputs.finish()
    assert [item["case"] for item in inputs.items] == ["P1"]
    # A folder of results around the images hides nothing.
    inputs = SequenceInputs(str(folder), sequences=FOUR, output_dir=str(folder.parent))
    read(inputs)
    assert [problem.case for problem in inputs.problems] == ["P1_probabilities"]


def test_folders_without_a_case(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none does not exist"):
        brain_inputs(tmp_path / "none")
    folder = head(tmp_path / "in", "mask.nii.gz", "P1_seg.nii.gz")
    with pytest.raises(InputError, match=r"and its subfolders hold no case; expected one file a sequence"):
        brain_inputs(folder)


def test_a_datalist_of_sequences(tmp_path: Path) -> None:
    folder = head(tmp_path / "in", *four("P1"), *four("P2", joint="-", endings=("t2f", "t1n", "t1c", "t2w")))
    listed = [
        {"image": four("P1"), "label_convention": "msd"},
        {"image": four("P2", "-", ("t2f", "t1n", "t1c", "t2w"))},
    ]
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"sequences": FOUR, "training": [], "validation": [], "test": listed}))
    inputs = brain_inputs(folder, datalist=str(datalist))
    inputs.finish()
    assert [item["label_convention"] for item in inputs.items] == ["msd", "brats2023"]
    datalist.write_text(json.dumps({"test": listed}))
    inputs = brain_inputs(folder, datalist=str(datalist))
    read(inputs)
    with pytest.raises(InputError, match=r"2 of 2 images could not be used: .*nothing says which sequences"):
        inputs.finish()


def test_real_heads(tmp_path: Path, real_data: Path) -> None:
    out = str(tmp_path / "out")
    for name, cases in (("brats4mod", ["BraTS2021_00006", "HG0015"]), ("tcga4mod_machine_labels", ["TCGA-FG-6692"])):
        inputs = SequenceInputs(str(real_data / "brain_mri" / name), sequences=FOUR, output_dir=out)
        read(inputs)
        inputs.finish()
        assert [item["case"] for item in inputs.items] == cases
        assert {item["label_convention"] for item in inputs.items} == {"brats2018"}


@pytest.mark.parametrize("mask", ["brainmask", "*brain*"])
def test_masks_of_the_brain_in_a_folder(tmp_path: Path, mask: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = head(
        tmp_path / "in", *four("P1"), "P1_brainmask.nii.gz", *four("P2/", joint=""), "P2/brainmask.nii.gz", *four("P3"),
    )  # fmt: skip
    save(folder / "P4.nii.gz", (6, 5, 4, 4))
    save(folder / "P4_brainmask.nii.gz")
    inputs = brain_inputs(folder, brain_mask=mask)
    assert [(item["case"], Path(item["brain_mask"]).relative_to(folder).as_posix()) for item in inputs.items] == [
        ("P1", "P1_brainmask.nii.gz"),
        ("P2", "P2/brainmask.nii.gz"),
        ("P4", "P4_brainmask.nii.gz"),
    ]
    assert inputs.count == 4
    with pytest.raises(InputError, match=r"1 of 4 images could not be used: .*P3_.*: has no mask of its brain \("):
        inputs.finish()
    assert "left out" not in capsys.readouterr().out
    assert all("brain_mask" not in item for item in brain_inputs(folder).items)
    with pytest.raises(InputError, match="brain_mask is 'brainmask', for a folder; in a datalist"):
        brain_inputs(folder, brain_mask="brainmask", datalist="x.json")
