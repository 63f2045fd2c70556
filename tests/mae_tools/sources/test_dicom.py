"""An export of a PACS becomes a datalist: what is taken, what is drawn, what is told, and that nobody is named."""

import errno
import gzip
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import mae_tools.sources.dicom as module
import nibabel as nib
import numpy as np
import pydicom
import pytest
from bundle_runtime.data.volume import read_volume
from bundle_runtime.dicom import pixels
from bundle_runtime.dicom.codes import code_of
from bundle_runtime.dicom.segmentation import segmentation
from bundle_runtime.dicom.series import stack_of
from custom_components.errors import InputError
from dicom_files import slices, volume, write
from drawn_structures import contours, square
from mae_tools.sources.dicom import dicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

NAMES = ["background", "liver", "spleen"]
MODEL = {"name": "m", "version": "1", "weights_sha256": "0" * 64}


def label(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 3, (40, 34, 6)).astype(np.uint8)
    return values if seed else np.minimum(values, 1)


def export(folder: Path, patients: int = 3) -> Path:
    """Patients with a CT and a SEG; among them a localiser, a thin CT and a series with a gap."""
    codes = {name: code_of(name) for name in NAMES[1:]}
    for number in range(patients):
        place = folder / f"Planted^Name{number}" / "20200102" / "CT #1 100% Ü"
        parts = slices(volume(seed=number), f"p{number}", PatientName=f"Planted^Name{number}")
        write(place, parts, ending="")
        drawn = segmentation(label(number), stack_of(str(place)), codes, MODEL)
        (folder / f"Planted^Name{number}" / f"seg{number}.dcm").write_bytes(drawn)
    first = folder / "Planted^Name0" / "others"
    write(first, slices(volume(seed=8), "thin", PatientID="p0-patient", SeriesDescription="lung thin"))
    scout = slices(volume(seed=9), "scout", PatientID="p0-patient", SeriesNumber=1)
    write(first / "scout", scout[:1])
    gap = slices(volume(seed=9), "gap", PatientID="p1-patient")
    write(folder / "gap", gap[:2] + gap[3:])
    (folder / "DICOMDIR").write_bytes(b"")
    (folder / "notes.txt").write_text("Planted^Name0")
    return folder


PLANTED = re.compile(rb"Planted|19500203|20200102|101112|ACC4711|p\d-patient|gap-patient|1\.2\.826|venous|lung thin")


def everything(folder: Path) -> bytes:
    """The names and the contents, unpacked, of all files."""
    parts = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        parts += [str(path.relative_to(folder)).encode(), content]
        if path.suffix == ".gz":
            parts.append(gzip.decompress(content))
    return b"\n".join(parts)


def test_images_labels_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = export(tmp_path / "in"), tmp_path / "out"
    made = dicom(source, out=out, class_names=NAMES, series="*VENOUS*", labels="seg")
    said = capsys.readouterr().out
    items = [item for part in ("training", "validation", "test") for item in made[part]]
    assert [len(made[part]) for part in ("training", "validation", "test")] == [1, 1, 1]
    assert sorted(item.get("unlabelled", []) for item in items) == [[], [], []]
    found = {}
    for item in items:
        image, voxels = read_volume(str(out / item["image"]))
        drawn = nib.load(out / item["label"])
        number = next(n for n in range(3) if np.array_equal(voxels, volume(seed=n).astype(int) - 1024))
        np.testing.assert_array_equal(np.asarray(drawn.dataobj), label(number))
        np.testing.assert_allclose(drawn.affine, image.affine)
        found[number] = item["patient_id"]
    assert len(set(found.values())) == 3
    rows = (out / "series.csv").read_text().splitlines()[1:]
    taken = [row.split(",")[6] for row in rows]
    assert sorted(taken) == ["no: no even stack of slices", "no: no volume", "no: not chosen", "yes", "yes", "yes"]
    for text in ("CT 3 lung thin (6 slices)", "holds 1 slice(s)", "the later class of class_names"):
        assert text in said
    assert "  gap: lacks 1 slice(s)" in said  # where to look, which is printed and never written
    assert stat.S_IMODE((out / ".salt").stat().st_mode) == 0o600
    assert ".salt" in (out / ".gitignore").read_text() or (out / ".gitignore").read_text().strip() == "*"


def test_nobody_is_named_in_any_file(tmp_path: Path) -> None:
    source, out = export(tmp_path / "in"), tmp_path / "out"
    assert PLANTED.search(everything(source))
    dicom(source, out=out, class_names=NAMES, labels="seg")
    assert PLANTED.search(everything(out)) is None
    other = tmp_path / "other"
    assert {item["patient_id"] for item in dicom(source, out=other)["training"]}.isdisjoint(
        item["patient_id"] for item in json.loads((out / "datalist.json").read_text())["training"]
    )  # another salt, other hashes


def test_a_full_disk_half_way_and_a_second_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out, whole = export(tmp_path / "in"), tmp_path / "out", module.write_atomically
    written: list[str] = []

    def full(path: Any, data: Any) -> Any:
        written.append(Path(path).name)
        if len([name for name in written if name.endswith(".gz")]) > 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return whole(path, data)

    monkeypatch.setattr(module, "write_atomically", full)
    with pytest.raises(InputError, match=r"the disk is full after 1 of 3 series; make room and run the same command"):
        dicom(source, out=out, class_names=NAMES, series="*venous*", labels="seg")
    assert not [path for path in out.rglob("*") if path.name.startswith(".") and path.suffix == ".gz"]
    monkeypatch.setattr(
        module, "write_atomically", lambda path, data: written.append(Path(path).name) or whole(path, data)
    )
    written.clear()
    made = dicom(source, out=out, class_names=NAMES, series="*venous*", labels="seg")
    assert len([name for name in written if name.endswith(".gz")]) == 4  # two series of the three
    written.clear()
    assert dicom(source, out=out, class_names=NAMES, series="*venous*", labels="seg") == made
    assert not [name for name in written if name.endswith(".gz")]


def test_a_tilted_gantry_is_said_of_a_series_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in" / "P 1", slices(volume(), tilt=0.5))
    dicom(tmp_path / "in", out=tmp_path / "out", val_fraction=0, test_fraction=0)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "gantry tilt" in line]
    assert "  yes  " in row
    assert "  P 1: has axes" in row


def test_the_export_may_be_read_only(tmp_path: Path) -> None:
    source = export(tmp_path / "in", 1)
    before = everything(source)
    for path in [source, *source.rglob("*")]:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    dicom(source, out=tmp_path / "out", val_fraction=0, test_fraction=0)
    assert everything(source) == before
    for path in [source, *source.rglob("*")]:
        os.chmod(path, 0o755)


def test_labels_that_do_not_fit_leave_the_case_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = export(tmp_path / "in", 2)
    (source / "Planted^Name0" / "seg0.dcm").rename(source / "Planted^Name0" / "seg_copy.dcm")
    (source / "Planted^Name1" / "seg1.dcm").unlink()
    named = {"class_names": NAMES, "series": "*venous*", "labels": "seg"}
    made = dicom(source, out=tmp_path / "out", val_fraction=0, test_fraction=0, **named)
    assert len(made["training"]) == 1
    assert "has no seg label that refers to it" in capsys.readouterr().out
    for path in (source / "Planted^Name0" / "20200102").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(InputError, match=r"in holds nothing .*none of its .* series is taken"):
        dicom(source, out=tmp_path / "none", **named)
    assert "1 drawings on series that are not here" in capsys.readouterr().out


def test_patients_whom_an_anonymisation_made_one_are_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        write(tmp_path / "in" / str(number), slices(volume(seed=number), f"p{number}", PatientID="ANON"))
    dicom(tmp_path / "in", out=tmp_path / "out")
    assert "nothing is in validation and test (all 3 items are of one patient)" in capsys.readouterr().out


def test_series_that_name_nobody_are_patients_of_their_own_wherever_the_export_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = dict.fromkeys(("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID"), "")
    for number in range(2):
        write(tmp_path / "in" / str(number), slices(volume(seed=number), f"p{number}", **blank))
    made = dicom(tmp_path / "in", out=tmp_path / "out", val_fraction=0, test_fraction=0)
    assert len({item["patient_id"] for item in made["training"]}) == 2
    assert capsys.readouterr().out.count("names no patient and no study: counts as a patient of its own") == 2
    monkeypatch.chdir((tmp_path / "in").rename(tmp_path / "moved"))
    assert dicom(".", out=tmp_path / "out", val_fraction=0, test_fraction=0) == made


def test_gaps_of_contours_are_said_in_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table of the terminal and in that of the folder, which names classes and nothing that somebody typed."""
    write(tmp_path / "in" / "ct", slices(volume()))
    drawn = {"liver": [square(2, 9, k) for k in (0, 2, 3, 5)], "GTV Planted": [square(12, 19, 1)]}
    contours(tmp_path / "in" / "rt", drawn)
    named = {"class_names": NAMES, "labels": "rtstruct", "val_fraction": 0, "test_fraction": 0}
    with pytest.raises(InputError, match="nothing for a datalist"):
        dicom(tmp_path / "in", out=tmp_path / "out", **named)
    assert "has no contour of liver on 2 slices between its ends" in capsys.readouterr().out
    drawn["liver"].append(square(2, 9, 4))
    contours(tmp_path / "in" / "rt", drawn)
    said = "liver is not drawn on 1 of the 6 slices between its ends, where it counts as absent"
    for strangers in (True, False):
        (item,) = dicom(tmp_path / "in", out=tmp_path / "out", **named)["training"]
        out = capsys.readouterr().out
        assert said in out
        assert ("not a class: GTV Planted" in out) == strangers, "of what is converted only classes are known"
        assert item["unlabelled"] == ["spleen"]
        assert said in (tmp_path / "out" / "series.csv").read_text()
    assert PLANTED.search(everything(tmp_path / "out")) is None


def test_a_seg_that_names_the_images_alone_is_taken(tmp_path: Path) -> None:
    source = export(tmp_path / "in", 2)
    for file in source.rglob("seg*.dcm"):
        data = pydicom.dcmread(file)
        del data.ReferencedSeriesSequence
        data.save_as(file)
    made = dicom(source, out=tmp_path / "out", class_names=NAMES, series="*venous*", labels="seg", val_fraction=0,
                 test_fraction=0)  # fmt: skip
    found = {}
    for item in made["training"]:
        _, voxels = read_volume(str(tmp_path / "out" / item["image"]))
        number = next(n for n in range(2) if np.array_equal(voxels, volume(seed=n).astype(int) - 1024))
        found[number] = np.asarray(nib.load(tmp_path / "out" / item["label"]).dataobj)
    assert sorted(found) == [0, 1]
    for number, drawn in found.items():
        np.testing.assert_array_equal(drawn, label(number))


def test_series_that_cannot_be_read_are_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that needs a package, and one whose pixels are encrypted, beside one that is fine."""
    write(tmp_path / "in" / "fine", slices(volume()))
    packed, hidden = slices(volume(), "b"), slices(volume(), "c")
    for data in packed:
        data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        data.PixelData = encapsulate([b"rubbish!"])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    for data in hidden:
        data.EncryptedAttributesSequence = [pydicom.Dataset()]
        del data.PixelData, data.Rows, data.Columns
    write(tmp_path / "in" / "packed", packed)
    write(tmp_path / "in" / "hidden", hidden)
    monkeypatch.setattr(pixels.importlib.util, "find_spec", lambda name: None)
    made = dicom(tmp_path / "in", out=tmp_path / "out", val_fraction=0, test_fraction=0)
    said = capsys.readouterr().out
    assert len(made["training"]) == 1
    assert "which needs the package itk-io; install it" in said
    assert "6 other objects: IM000_0.dcm has no pixel data (encrypted?)" in said
    taken = [row.split(",")[6] for row in (tmp_path / "out" / "series.csv").read_text().splitlines()[1:]]
    assert taken == ["yes", "no: its images or labels cannot be used"]


def test_a_rare_class_comes_into_every_list(tmp_path: Path) -> None:
    """Three of twelve patients show the spleen; whatever the seed, each list gets one of them."""
    source = tmp_path / "in"
    codes = {name: code_of(name) for name in NAMES[1:]}
    for number in range(12):
        place = write(source / str(number), slices(volume((8, 8, 4), seed=number), f"q{number}"))
        drawn = np.ones((8, 8, 4), np.uint8)
        drawn[0, 0, 0] = 2 if number < 3 else 1
        (source / f"seg{number}.dcm").write_bytes(segmentation(drawn, stack_of(str(place)), codes, MODEL))
    for seed in range(4):
        made = dicom(source, out=tmp_path / "out", class_names=NAMES, labels="seg", val_fraction=0.34,
                     test_fraction=0.33, seed=seed)  # fmt: skip
        for part in ("training", "validation", "test"):
            maps = [np.asarray(nib.load(tmp_path / "out" / item["label"]).dataobj) for item in made[part]]
            assert sum((drawn == 2).any() for drawn in maps) == 1, part
    assert "rare classes spread (seed 3)" in made["description"]


def test_what_every_source_can_do(tmp_path: Path) -> None:
    source, out, every = export(tmp_path / "in"), tmp_path / "out", {"series": "*venous*"}
    made = dicom(source, out=out, **every)
    with pytest.raises(InputError, match="split_from would be overwritten"):
        dicom(source, out=out, split_from=out / "datalist.json", **every)
    earlier = (out / "datalist.json").rename(out / "earlier.json")
    write(source / "new", slices(volume(seed=1), "p9"))  # the scan of one of them under another name
    again = dicom(source, out=out, split_from=earlier, seed=5, exclude="*.nii*", **every)
    assert (again["validation"], again["test"]) == (made["validation"], made["test"])
    assert len(again["training"]) == 2
    assert made["training"][0] in again["training"]
    with pytest.raises(InputError, match="not written, 1 images are there under several names"):
        dicom(source, out=out, copies="refuse", **every)
    few = dicom(source, out=tmp_path / "few", exclude="Planted^Name0,new", val_fraction=0, test_fraction=0, **every)
    assert len(few["training"]) == 2
    with pytest.raises(InputError, match="out is not given; name a folder for the converted images"):
        dicom(source, **every)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint64, np.float64])
def test_nifti_labels_in_another_order_of_axes_and_of_any_type(tmp_path: Path, kind: type) -> None:
    source = write(tmp_path / "in" / "a", slices(volume())).parent
    image, _ = read_volume(str(source / "a"))
    whole = label(1)[..., None].astype(kind)
    drawn = nib.Nifti1Image(whole + kind(1e-5) if kind is np.float64 else whole, image.affine, dtype=kind)
    turned = drawn.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    assert turned.shape[:3] != drawn.shape[:3]
    nib.save(turned, source / "a" / "label.nii.gz")
    made = dicom(source, out=tmp_path / "out", class_names=NAMES, labels="nifti", val_fraction=0, test_fraction=0)
    stored = nib.load(tmp_path / "out" / made["training"][0]["label"])
    np.testing.assert_array_equal(np.asarray(stored.dataobj), label(1))
    assert stored.get_data_dtype() == np.uint8


def test_a_nifti_label_beside_two_series_is_given_to_neither(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two patients on one grid: nothing says whose it is."""
    folder = write(tmp_path / "in" / "a", slices(volume()))
    write(folder, slices(volume(), "other", PatientID="other"), ending="_other.dcm")
    image, _ = read_volume(str(write(tmp_path / "alone", slices(volume()))))
    nib.save(nib.Nifti1Image(label(1), image.affine), folder / "label.nii.gz")
    with pytest.raises(InputError, match="holds nothing for a datalist"):
        dicom(folder.parent, out=tmp_path / "out", class_names=NAMES, labels="nifti")
    assert "lies in one folder with 1 other series that would be taken" in capsys.readouterr().out


def test_a_nifti_label_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in" / "a", slices(volume())).parent
    image, _ = read_volume(str(source / "a"))
    for values, affine, text in (
        (label(1) + 0.5, image.affine, "holds 3 values that are not whole numbers"),
        (label(1) * 3, image.affine, r"holds the value(s) 3, 6, expected 0 to 2"),
        (label(1)[:-1], image.affine, "resample one onto the other's grid"),
        (label(1), image.affine @ np.diag([1, 1, 1.2, 1]), "their affines differ"),
    ):
        nib.save(nib.Nifti1Image(values, affine), source / "a" / "label.nii.gz")
        with pytest.raises(InputError, match="holds nothing for a datalist"):
            dicom(source, out=tmp_path / "out", class_names=NAMES, labels="nifti")
        assert text in capsys.readouterr().out


def test_rules(tmp_path: Path) -> None:
    source, rules = export(tmp_path / "in"), tmp_path / "rules.yaml"
    rules.write_text("series: [{modality: CT, description: '*thin', min_slices: 5}]\nclasses: {liver: [Leber*]}\n")
    made = dicom(source, out=tmp_path / "out", class_names=NAMES, rules=rules, val_fraction=0, test_fraction=0)
    assert len(made["training"]) == 1
    for text, problem in (
        ("series: [{modalty: CT}]", r"expected e\.g\. series: .*keys modality"),
        ("series: [{modality: CT}]\nclasses: {heart: [x]}", "class 'heart' is not among class_names"),
        ("- CT", "expected e.g"),
        ("series: [", "cannot be read"),
    ):
        rules.write_text(text)
        with pytest.raises(InputError, match=problem):
            dicom(source, out=tmp_path / "out", class_names=NAMES, rules=rules)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"labels": "mask"}, "labels is 'mask'; choose one of seg, rtstruct, nifti, none"),
        ({"labels": "seg"}, "labels need class_names"),
        ({"rules": "x.yaml", "modality": "CT"}, "rules and modality or series are both given"),
        ({"modality": "PT"}, "holds nothing for a datalist"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        dicom(write(tmp_path / "in", slices(volume())), out=tmp_path / "out", **settings)
