"""Pictures for inference: a folder, DICOM without endings, a datalist, and what cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_inputs import ImageInputs, TileInputs
from bundle_runtime.data.image_prepare import Recipe
from custom_components.errors import InputError
from picture_files import dicom, png, shades


def taken(inputs: ImageInputs, num_workers: int = 0) -> ImageInputs:
    """The inputs after their pictures were decoded into a cache, as in a run."""
    folder = inputs.output_dir / f"cache-{len(list(inputs.output_dir.glob('cache-*')))}"
    cache = ImageCache(inputs.items, folder, Recipe(16), inputs=inputs, num_workers=num_workers, progress=False)
    inputs.items = list(cache.items)
    return inputs


def test_a_folder_with_everything(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "in" / "results"
    png(folder / "b.png")
    png(folder / "sub" / "a.jpg")
    png(folder / ".hidden" / "c.png")
    png(out / "pictures" / "d.png")  # of an earlier run
    dicom(folder / "sub" / "1.2.840.7", shades().astype(np.uint16))
    dicom(folder / "DICOMDIR", shades().astype(np.uint16))
    dicom(folder / "anonymous.dcm", shades().astype(np.uint16), PatientID=None)
    (folder / "notes.txt").write_text("no picture")
    inputs = taken(ImageInputs(str(folder), output_dir=str(out)))
    assert [(item["case"], item["patient_id"]) for item in inputs.items] == [
        ("anonymous", "anonymous"),
        ("b", "b"),
        ("1.2.840.7", "P7"),
        ("a", "a"),
    ]
    assert inputs.items[2]["image"] == inputs.items[2]["file"] == str(folder / "sub" / "1.2.840.7")
    inputs.finish()
    assert not (out / "failures.json").exists()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_bad_files_are_set_aside_and_reported_at_the_end(tmp_path: Path, num_workers: int) -> None:
    for name in ("a", "b", "c"):
        png(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    dicom(tmp_path / "report.dcm", shades().astype(np.uint16), Modality="SR")
    inputs = taken(ImageInputs(str(tmp_path), output_dir=str(tmp_path / "out")), num_workers)
    assert [item["case"] for item in inputs.items] == ["a", "c"]
    with pytest.raises(InputError, match=r"2 of 4 images could not be used: .*b\.png: is truncated.*structured report"):
        inputs.finish()
    rows = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert [Path(row["file"]).name for row in rows] == ["b.png", "report.dcm"]
    for name in ("b.png", "report.dcm"):
        (tmp_path / name).unlink()
    taken(ImageInputs(str(tmp_path), output_dir=str(tmp_path / "out"))).finish()
    assert not (tmp_path / "out" / "failures.json").exists()


def test_many_failures_make_a_short_sentence(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    for number in range(9):
        (tmp_path / f"x{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match="9 of 10 images") as caught:
        taken(ImageInputs(str(tmp_path), output_dir=str(tmp_path / "out"))).finish()
    assert "and 4 more" in str(caught.value)
    assert len(json.loads((tmp_path / "out" / "failures.json").read_text())) == 9


def test_nothing_usable_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"1 of 1 images could not be used: .*a\.png: is not a picture"):
        taken(ImageInputs(str(tmp_path), output_dir=str(tmp_path / "out")))
    assert len(json.loads((tmp_path / "out" / "failures.json").read_text())) == 1


def test_empty_and_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"hold no picture \(\.png"):
        ImageInputs(str(tmp_path))
    with pytest.raises(InputError, match=r"none does not exist; give the folder"):
        ImageInputs(str(tmp_path / "none"))
    with pytest.raises(
        InputError, match=r"nii\.gz is a file, expected a folder; put it into a folder of its own, or give"
    ):
        ImageInputs(str(tmp_path / "scan.nii.gz"))


@pytest.mark.parametrize("modalities", [["CR", "DX"], "CR", None])
def test_pictures_that_the_network_was_not_made_for_get_a_warning(
    tmp_path: Path, modalities: list[str] | str | None
) -> None:
    stored = shades().astype(np.uint16)
    dicom(tmp_path / "a.dcm", stored, ViewPosition="PA")
    dicom(tmp_path / "b.dcm", stored, Modality="CT", ViewPosition="LL")
    dicom(tmp_path / "c.dcm", stored, Modality=None)  # what the header leaves open is no reason
    png(tmp_path / "d.png")
    png(tmp_path / "e.png", np.full((40, 50), 7, np.uint8))
    views = None if modalities is None else ["PA", "AP"]
    inputs = taken(ImageInputs(str(tmp_path), output_dir=str(tmp_path / "out"), modalities=modalities, views=views))
    said = {item["case"]: item["warning"] for item in inputs.items}
    assert [said[case] for case in "acde"] == ["", "", "", "all its pixels are equal"]
    if modalities is None:
        assert said["b"] == ""
    else:
        assert said["b"].startswith("its DICOM modality is CT, expected CR")
        assert said["b"].endswith("; its DICOM view position is LL, expected PA or AP")


def test_the_report_of_a_check_is_named_nowhere_and_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    png(tmp_path / "in" / "a.png")
    png(tmp_path / "in" / "check" / "b.png")
    assert len(ImageInputs(str(tmp_path / "in"), output_dir=str(tmp_path / "out")).items) == 2
    for name in ("check.html", "check.json"):
        (tmp_path / "in" / "check" / name).touch()
    assert len(ImageInputs(str(tmp_path / "in"), output_dir=str(tmp_path / "out")).items) == 2
    assert "left out" not in capsys.readouterr().out


def test_equal_names_in_several_folders(tmp_path: Path) -> None:
    for name in ("1/a.png", "2/a.png", "b.png"):
        png(tmp_path / name)
    assert [item["case"] for item in ImageInputs(str(tmp_path)).items] == ["1/a.png", "2/a.png", "b"]


def test_masks_beside_pictures_are_left_out_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BUSI keeps `a (1)_mask.png` and `a (1)_mask_1.png` beside `a (1).png`; a picture of masks alone is none."""
    data = tmp_path / "data"
    names = ("a (1).png", "a (1)_mask.png", "a (1)_mask_1.png", "b/labels/x.png", "b/x.png", "c/face mask.png")
    for number, name in enumerate(names):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        png(data / name, shades(seed=number))
    found = ImageInputs(str(data), output_dir=str(tmp_path / "out"))
    assert [item["case"] for item in found.items] == ["a (1)", "x", "face mask"]
    said = capsys.readouterr().out
    assert "1 file(s) in folders of labels are left out: b/labels/x.png." in said
    assert "2 file(s) named as masks of others are left out: a (1)_mask.png, a (1)_mask_1.png." in said


def test_a_datalist_needs_no_labels(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    dicom(tmp_path / "c.dcm", shades().astype(np.uint16))
    entries = [{"image": "a.png", "label": 1}, {"image": "b.png"}, {"image": "c.dcm", "patient_id": "known"}]
    path = tmp_path / "datalist.json"
    path.write_text(
        json.dumps({"validation": entries[:3], "test": [{"image": ["d.png", "e.png"]}, {"image": "f.png"}]})
    )
    inputs = taken(ImageInputs(str(tmp_path), str(path), "validation", str(tmp_path / "out")))
    assert [(item["case"], item["patient_id"]) for item in inputs.items] == [("a", "a"), ("c", "known")]
    assert "label" not in inputs.items[0]
    with pytest.raises(InputError, match=r"2 of 2 images could not be used: .*one of 2 files of an item"):
        taken(ImageInputs(str(tmp_path), str(path), "test", str(tmp_path / "out")))


def test_cases_are_names_that_files_can_have(tmp_path: Path) -> None:
    for name in ("s1/a b.png", "s2/a b.png", "s2/c.png"):
        png(tmp_path / name)
    inputs = TileInputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    assert [item["case"] for item in inputs.items] == ["s1_a_b.png", "s2_a_b.png", "c"]


def test_equal_names_are_numbered(tmp_path: Path) -> None:
    for name in ("a b.png", "a+b.png"):
        png(tmp_path / name)
    assert {item["case"] for item in TileInputs(str(tmp_path)).items} == {"a_b", "a_b_2"}
