import json
import os
from pathlib import Path
from typing import Any

import itk
import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.datalist import fingerprint
from bundle_runtime.data.inputs import Inputs
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.schema import case_names
from bundle_runtime.data.sequence_inputs import SequenceInputs
from custom_components.errors import InputError
from dicom_files import slices, volume, write
from sequence_files import FOUR, four, head


def save(path: Path, shape: tuple[int, ...] = (6, 5, 4)) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), np.eye(4)), path)


def wanted(kind: type[Inputs]) -> dict[str, Any]:
    return {"sequences": FOUR} if kind is SequenceInputs else {}


def test_nothing_to_report(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    inputs.finish()
    assert not list((tmp_path / "out").iterdir())


def test_empty_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no volume, at any depth; expected \.nii, \.nii\.gz.* or DICOM series"):
        Inputs(str(tmp_path))
    with pytest.raises(InputError, match="none does not exist"):
        Inputs(str(tmp_path / "none"))


def test_a_datalist_needs_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"training": [], "validation": [], "test": [{"image": "a.nii.gz"}]}))
    assert [item["case"] for item in Inputs(str(tmp_path), str(datalist)).items] == ["a"]


def test_a_folder_of_folders_in_several_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    for name in ("a.nii.gz", "p1/scan.nii.gz", "p2/scan.NII", "labels/a.nii.gz", "p1/segmentations/b.nii.gz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((6, 5, 4), np.float32), np.eye(4)), folder / name.lower())
        (folder / name.lower()).rename(folder / name)
    itk.imwrite(itk.image_from_array(np.ones((4, 5, 6), np.int16)), str(folder / "b.nrrd"))
    parts = slices(volume())
    write(folder / "P3", parts, ending="")
    write(folder / "P4" / "all", slices(volume(), "b"), ending="")
    write(folder / "P4" / "all", slices(volume(), "c", SeriesNumber=7))
    write(folder / "P4" / "all", slices(volume(), "f", SeriesNumber=7), ending=".ima")
    write(folder / "P4" / "scout", slices(volume(), "d")[:1])
    write(folder / "P5", slices(volume(), "e")[:2] + slices(volume(), "e")[3:])
    inputs = Inputs(str(folder), output_dir=str(folder / "out"))
    cases = ["P3", "P4_all_3", "P4_all_7", "P4_all_7_2", "a", "b", "p1_scan", "p2_scan"]
    assert [item["case"] for item in inputs.items] == cases
    for item in inputs.items:
        assert LoadVolumesd("image", header=True)(item)["image"].shape in ((1, 6, 5, 4), (1, 40, 34, 6))
    with pytest.raises(InputError, match=r"1 of 9 images .*P5: CT 3 .*lacks 1 slice"):
        inputs.finish()
    assert "1 DICOM object(s) are left out: scout (CT 3 abdomen venous (1 slices)" in capsys.readouterr().out


def test_only_whole_words_name_a_folder_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = ["Seguin/a.nii.gz", "masked_heads/b.nii.gz", "labelled/c.nii.gz", "segment/d.nii.gz"]
    labels = ["labelsTr/a.nii.gz", "Masks/b.nii.gz", "seg_manual/c.nii.gz", "p/segmentations/d.nii.gz", "label2/e.nii"]
    folder = head(tmp_path / "in", *images, *labels)
    inputs = Inputs(str(folder), output_dir=str(tmp_path / "out"))
    assert [item["case"] for item in inputs.items] == ["a", "b", "c", "d"]
    assert {Path(item["file"]).relative_to(folder).as_posix() for item in inputs.items} == set(images)
    said = capsys.readouterr().out
    assert "5 file(s) in folders of labels are left out: Masks/b.nii.gz, label2/e.nii, labelsTr/a.nii.gz and 2" in said


def test_volumes_of_other_kinds_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mgz").touch()
    (tmp_path / "in" / "letter.pdf").touch()
    write(tmp_path / "in" / "scout", slices(volume())[:1])
    for kind in (Inputs, SequenceInputs):
        with pytest.raises(
            InputError, match=r"; 1 file\(s\) that are FreeSurfer \(a\.mgz\): these have to be converted"
        ):
            kind(str(tmp_path / "in"), output_dir=str(tmp_path / "out"), **wanted(kind))
    head(tmp_path / "in", *four("P1"))
    for kind in (Inputs, SequenceInputs):
        capsys.readouterr()
        kind(str(tmp_path / "in"), output_dir=str(tmp_path / "out"), **wanted(kind))
        said = capsys.readouterr().out
        assert "1 file(s) that are FreeSurfer (a.mgz) are left out; convert what belongs to the data." in said
        assert "that are DICOM" not in said, "they are read"
        assert f"1 file(s) of {tmp_path / 'in'} are no volumes and are left out: letter.pdf." in said
        assert "1 DICOM object(s) are left out: scout (CT 3 abdomen venous (1 slices)" in said


def test_results_beside_the_images_are_refused(tmp_path: Path) -> None:
    folder = head(tmp_path / "in", "a.nii.gz", *four("P1"))
    for kind in (Inputs, SequenceInputs):
        with pytest.raises(InputError, match="is the folder of the images, where the next run would take its results"):
            kind(str(folder), output_dir=str(folder / ".." / "in"), **wanted(kind))


def test_masks_beside_images_are_left_out_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a/ct.nrrd", "a/mask.nrrd", "b_image.nii.gz", "b_label.nii.gz", "c.nii", "masked.nii", "d/Seg.mha"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    named = sorted(Path(item["file"]).relative_to(tmp_path).as_posix() for item in inputs.items)
    assert named == ["a/ct.nrrd", "b_image.nii.gz", "c.nii", "d/Seg.mha", "masked.nii"]
    said = capsys.readouterr().out
    assert "2 file(s) named as masks of others are left out: a/mask.nrrd, b_label.nii.gz." in said


def test_a_name_that_is_no_utf8_becomes_a_readable_case(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    name = os.fsdecode(b"M\xfcller")
    head(folder, *(f"{name}/{name}_{ending}.nii.gz" for ending in FOUR), "P1.nii.gz")
    cases = {item["case"] for item in Inputs(str(folder), output_dir=str(tmp_path / "out")).items}
    assert cases == {"P1", *(f"Müller_{ending}" for ending in FOUR)}
    heads = SequenceInputs(str(folder), output_dir=str(tmp_path / "out"), **wanted(SequenceInputs)).items
    assert [(item["case"], Path(item["file"]).exists()) for item in heads] == [("Müller", True)]
    lists = {"training": [{"image": f"{name}/{name}_t1.nii.gz"}], "validation": [], "test": []}
    assert case_names(lists)["training"] == ["Müller_t1"]


def test_a_name_that_is_no_utf8_has_a_fingerprint(tmp_path: Path) -> None:
    save(tmp_path / os.fsdecode(b"M\xfcller.nii"))
    save(tmp_path / "Müller.nii")
    found = [
        fingerprint([{"image": str(path), "file": str(path)}])
        for path in (tmp_path / os.fsdecode(b"M\xfcller.nii"), tmp_path / "Müller.nii")
    ]
    assert len(set(found)) == 2
