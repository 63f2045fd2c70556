from pathlib import Path

import pytest
from bundle_runtime.data.datalist import items
from custom_components.errors import InputError
from mae_tools.sources.cxr14 import CXR14_FINDINGS, cxr14
from nih_release import make_release
from picture_trees import SECTIONS, by_image, sizes, touch


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole table and both lists, but only 300 of the 112,120 pictures."""
    root = tmp_path_factory.mktemp("nih")
    make_release(root, pictures=300)
    return root


def subset(root: Path, rows: dict[str, tuple[str, str]], train_val: list[str], test: list[str]) -> Path:
    """A few images: name -> (findings, patient)."""
    touch(root, *(f"images/{name}" for name in rows))
    lines = [f"{name},{findings},{patient}" for name, (findings, patient) in rows.items()]
    (root / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels,Patient ID\n" + "\n".join(lines) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(train_val) + "\n")
    (root / "test_list.txt").write_text("\r\n".join(test))
    return root


def small(root: Path, patients: int = 20) -> Path:
    rows = {
        f"{number:08d}_{visit:03d}.png": ("Mass|Effusion" if number % 3 else "No Finding", str(number))
        for number in range(patients)
        for visit in range(2)
    }
    names = list(rows)
    return subset(root, rows, names[: patients + 10], names[patients + 10 :])


@pytest.mark.slow
def test_the_published_counts_hold(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = cxr14(release, out=tmp_path / "d.json", partial=True)
    said = capsys.readouterr().out
    assert "86292 of 86524 pictures of a list are missing" in said
    assert "25528 of 25596 pictures of a list are missing" in said
    assert (sum(sizes(made)), len(made["test"])) == (300, 68)
    assert (made["task"], tuple(made["class_names"])) == ("multi_label", CXR14_FINDINGS)
    assert all(image.startswith("images_0") for image in by_image(made))


def test_a_count_that_differs_is_named(release: Path, tmp_path: Path) -> None:
    for name in ("train_val_list.txt", "test_list.txt"):
        (tmp_path / name).symlink_to(release / name)
    text = (release / "Data_Entry_2017_v2020.csv").read_text()
    (tmp_path / "Data_Entry_2017.csv").write_text(text.replace("No Finding", "Hernia", 1))
    sentence = r"Hernia: found 142 in train_val, expected 141, images without.*; unpack or download .*--counts false"
    with pytest.raises(InputError, match=sentence):
        cxr14(tmp_path, partial=True)


def test_validation_is_taken_out_of_train_val_by_patient(tmp_path: Path) -> None:
    root = small(tmp_path)
    with pytest.raises(InputError, match=r"images: found 30 in train_val, expected 86524, .*pass --counts false"):
        cxr14(root)
    made = cxr14(root, counts=False, val_fraction=0.2)
    apart = [{item["patient_id"] for item in made[part]} for part in SECTIONS]
    assert [len(part) for part in apart] == [12, 3, 5]
    assert not apart[1] & apart[0]
    assert sorted(apart[2], key=int) == ["15", "16", "17", "18", "19"]
    assert by_image(made)["images/00000001_000.png"] == {
        "image": "images/00000001_000.png",
        "label": [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "patient_id": "1",
    }
    assert cxr14(root, counts=False, val_fraction=0.2) == made != cxr14(root, counts=False, val_fraction=0.2, seed=1)
    assert len(items(root / "datalist.json", "test", class_names=CXR14_FINDINGS)) == 10


def test_parity_is_the_papers_own_use(tmp_path: Path) -> None:
    made = cxr14(small(tmp_path), counts=False, parity=True)
    assert (sizes(made), made["parity"]) == ([30, 10, 10], True)
    assert made["validation"] == made["test"]


def test_header_and_spelling_variants(tmp_path: Path) -> None:
    root = small(tmp_path)
    expected = cxr14(root, counts=False)
    text = (root / "Data_Entry_2017.csv").read_text()
    text = text.replace("Image Index,Finding Labels,Patient ID", "image_index;finding_labels;PatientID").replace(
        ",", ";"
    )
    (root / "Data_Entry_2017.csv").write_text(
        text.replace("No Finding", "no finding").replace("Mass|Effusion", "effusion | Mass")
    )
    assert cxr14(root, counts=False) == expected


def test_an_unknown_finding_is_named(tmp_path: Path) -> None:
    root = small(tmp_path)
    text = (root / "Data_Entry_2017.csv").read_text()
    (root / "Data_Entry_2017.csv").write_text(text.replace("Mass|Effusion", "Mass|Efusion", 1))
    with pytest.raises(
        InputError, match=r"line 4, column 'Finding Labels' names 'Efusion', which is none of the 14.*'Effusion'"
    ):
        cxr14(root, counts=False)
    (root / "Data_Entry_2017.csv").write_text(text.replace("Mass|Effusion", "Mass|No Finding", 1))
    with pytest.raises(
        InputError, match="names 'No Finding', which is none of the 14 findings and not 'No Finding' alone"
    ):
        cxr14(root, counts=False)


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    root = small(tmp_path)
    text = (root / "Data_Entry_2017.csv").read_text()
    (root / "Data_Entry_2017.csv").write_text(text.replace("Effusion,19", "Effusion,1"))
    with pytest.raises(
        InputError, match=r"1 patient\(s\) are in several of the given lists, 1 in training and test: 1; correct"
    ):
        cxr14(root, counts=False)


def test_images_in_both_lists_or_in_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = small(tmp_path)
    listed = (root / "train_val_list.txt").read_text()
    (root / "train_val_list.txt").write_text(listed + "00000019_001.png\n")
    with pytest.raises(
        InputError, match=r"1 image\(s\) are in train_val_list.txt and in test_list.txt: 00000019_001.png"
    ):
        cxr14(root, counts=False)
    (root / "train_val_list.txt").write_text(listed + "99999999_000.png\n")
    with pytest.raises(
        InputError, match=r"1 of 41 listed images have no row in .*: 99999999_000\.png; correct them, or"
    ):
        cxr14(root, counts=False)
    (root / "train_val_list.txt").write_text(listed.replace("00000000_000.png\n", ""))
    with pytest.raises(InputError, match=r"1 of 40 images of .*2017\.csv are in neither list: 00000000_000\.png"):
        cxr14(root, counts=False)
    assert sum(sizes(cxr14(root, counts=False, partial=True))) == 39
    assert "are in neither list and are left out" in capsys.readouterr().out
    (root / "train_val_list.txt").write_text(listed + listed)
    with pytest.raises(InputError, match=r"train_val_list\.txt: names 30 image\(s\) twice"):
        cxr14(root, counts=False)
    (root / "train_val_list.txt").write_text("\n")
    with pytest.raises(InputError, match=r"train_val_list\.txt: is empty; expected each image name on a line"):
        cxr14(root, counts=False)


def test_rows_that_repeat_or_disagree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = small(tmp_path)
    path = root / "Data_Entry_2017.csv"
    text = path.read_text()
    path.write_text(text + "00000000_000.png,No Finding,0\n")
    cxr14(root, counts=False)
    assert "1 rows of" in capsys.readouterr().out
    path.write_text(text + "00000000_000.png,Mass,0\n")
    with pytest.raises(InputError, match=r"two rows say different things of 00000000_000\.png"):
        cxr14(root, counts=False)
    path.write_text(text + "00000000_009.png,Mass,\n")
    with pytest.raises(InputError, match="line 42 lacks the image's name or its patient"):
        cxr14(root, counts=False)


def test_an_excluded_picture_is_not_missing(tmp_path: Path) -> None:
    root = small(tmp_path)
    before = by_image(cxr14(root, counts=False))
    after = by_image(cxr14(root, counts=False, exclude="00000003_*"))
    assert set(before) - set(after) == {f"images/00000003_00{visit}.png" for visit in "01"}


def test_files_that_are_missing_or_there_twice(tmp_path: Path) -> None:
    root = small(tmp_path)
    (root / "images" / "00000003_000.png").unlink()
    with pytest.raises(InputError, match=r"1 of 30 pictures of a list are missing: 00000003_000\.png; unpack"):
        cxr14(root, counts=False)
    touch(root, "images/00000003_000.png", "small/00000003_000.png", "images/spare.png")
    with pytest.raises(InputError, match=r"00000003_000\.png is there twice, as images/0.* and small/0.*with --images"):
        cxr14(root, counts=False)
    assert sum(sizes(cxr14(root, counts=False, images="images"))) == 40
    touch(root, "Data_Entry_2017_v2020.csv")
    with pytest.raises(
        InputError, match=r"holds several files Data_Entry_2017\*\.csv: .*; expected one; name it with --csv"
    ):
        cxr14(root, counts=False, images="images")
    assert sum(sizes(cxr14(root, counts=False, images="images", csv="Data_Entry_2017.csv"))) == 40
    with pytest.raises(InputError, match="other: the folder holds no picture"):
        cxr14(root, counts=False, images="other", csv="Data_Entry_2017.csv")
    (root / "test_list.txt").unlink()
    with pytest.raises(InputError, match=r"holds no file test_list\.txt; expected one"):
        cxr14(root, counts=False, csv="Data_Entry_2017.csv")
