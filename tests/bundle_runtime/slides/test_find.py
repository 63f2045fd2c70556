from pathlib import Path

import pytest
from bundle_runtime.slides.find import SlideFile, find_slides
from custom_components.errors import InputError
from slide_files import dicom_slide, picture


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_slides_of_a_folder_and_their_ids(tmp_path: Path) -> None:
    touch(
        tmp_path, "TCGA-A2-A0T2-01Z-00-DX1.29A5C4D5.svs", "b/case7.tif", "b/case7_mask.tif", ".x/h.tif", "notes.txt",
        "out/old.tif",
    )  # fmt: skip
    found = find_slides(tmp_path, leave_out=[str(tmp_path / "out")])
    assert [(entry.slide, entry.patient) for entry in found] == [
        ("TCGA-A2-A0T2-01Z-00-DX1.29A5C4D5", "TCGA-A2-A0T2"),
        ("case7", "case7"),
    ]


def test_patients_by_a_pattern_or_a_table(tmp_path: Path) -> None:
    folder = touch(tmp_path / "s", "P01_a.tif", "P01_b.tif")
    assert {entry.patient for entry in find_slides(folder, r"^(P\d+)_")} == {"P01"}
    named = find_slides(folder, r"^(?P<patient>P\d+)_(?P<slide>\w)")
    assert [(entry.patient, entry.slide) for entry in named] == [("P01", "a"), ("P01", "b")]
    table = tmp_path / "t.csv"
    table.write_text("case,patient_id\nP01_a,x\nP01_b,y\n")
    assert [entry.patient for entry in find_slides(folder, patients=table)] == ["x", "y"]


@pytest.mark.parametrize(
    ("pattern", "match"), [("(", "regular expression"), (r"(Q\d)", "finds no patient"), (r"P\d", "one group")]
)
def test_patterns_that_do_not_work(tmp_path: Path, pattern: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        find_slides(touch(tmp_path, "P1.tif"), pattern)


def test_what_is_no_slide(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_slides(tmp_path / "none")
    with pytest.raises(InputError, match="holds no slide"):
        find_slides(tmp_path)
    with pytest.raises(InputError, match="same slide id 'x'"):
        find_slides(touch(tmp_path, "a/x.tif", "b/x.svs"))


def test_names_of_real_files(tmp_path: Path) -> None:
    folder = touch(
        tmp_path, "test3-TRITC 2 (560).ndpi", "tcga-cr-7395-01a-01-ts1.svs", "UPPER.SVS", "a.mrxs", "a/Data1.dat"
    )
    assert {entry.slide: entry.patient for entry in find_slides(folder)} == {
        "test3-TRITC 2 (560)": "test3-TRITC 2 (560)", "tcga-cr-7395-01a-01-ts1": "TCGA-CR-7395",
        "UPPER": "UPPER", "a": "a",
    }  # fmt: skip


def test_the_files_of_a_dicom_series_are_one_slide(tmp_path: Path) -> None:
    """Its label is none of its own, and other DICOM files are none at all."""
    dicom_slide(tmp_path / "in" / "case 7", picture(128, 128))
    (found,) = find_slides(tmp_path / "in")
    assert found == SlideFile(tmp_path / "in" / "case 7" / "1.dcm", "case 7", "P7")
    assert find_slides(tmp_path / "in" / "case 7") == [found]
    assert find_slides(found.path) == [found._replace(slide="1")]
    assert find_slides(tmp_path / "in", r"^case (\d)")[0].patient == "7"
    dicom_slide(tmp_path / "b", picture(128, 128))
    for file in (tmp_path / "b").iterdir():
        file.rename(tmp_path / "in" / "case 7" / f"b{file.name}")
    assert [entry.slide for entry in find_slides(tmp_path / "in")] == ["1", "b1"]


def test_a_dicom_file_that_is_no_slide_is_left_out_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    dicom_slide(tmp_path / "a", picture(64, 64), steps=(1,))
    for file in (tmp_path / "a").iterdir():
        file.write_bytes(
            file.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.77.1.6", b"1.2.840.10008.5.1.4.1.1.77.1.4")
        )
    with pytest.raises(InputError, match="holds no slide"):
        find_slides(tmp_path)
    assert [entry.slide for entry in find_slides(touch(tmp_path, "broken.dcm"))] == ["broken"]
