"""The one walk over folders, and what it leaves out, with and without a word."""

import gzip
from pathlib import Path

import pytest
from bundle_runtime.data.find import (
    VOLUMES,
    by_stem,
    excluded,
    files_below,
    folders_in,
    image_folder,
    other_volumes,
    some,
)
from custom_components.errors import InputError


def volumes(place: Path, levels: int | None = 0) -> list[Path]:
    return [place / file for file in files_below(place, levels) if file.lower().endswith(VOLUMES)]


def touch(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    return place


def test_a_folder_and_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    assert image_folder("in") == tmp_path / "in"
    Path("a.png").touch()
    with pytest.raises(InputError, match=r"dataset_dir a\.png is a file, expected a folder; .* or give a datalist"):
        image_folder("a.png")
    with pytest.raises(InputError, match=r"dataset_dir none does not exist; give the folder that holds the images"):
        image_folder("none")


def test_volumes_of_a_tree(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii", "a.nii.gz", "._a.nii.gz", "c.png", "x/d.nii", "x/y/e.nii", ".z/f.nii", "__MACOSX/g.nii")
    found = {
        levels: [file.relative_to(tmp_path).as_posix() for file in volumes(tmp_path, levels)] for levels in (0, 1, None)
    }
    assert found == {
        0: ["a.nii.gz", "b.nii"],
        1: ["a.nii.gz", "b.nii", "x/d.nii"],
        None: ["a.nii.gz", "b.nii", "x/d.nii", "x/y/e.nii"],
    }
    with pytest.raises(InputError, match="nowhere: the folder cannot be read"):
        volumes(tmp_path / "nowhere")


def test_what_check_wrote_is_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "check/check.html", "b/b.png", "b/check.html", "b/more/c.png", "d/check.json", "d/e.png")
    assert len(files_below(tmp_path)) == 7
    touch(tmp_path, "check/check.json", "b/check.json")
    data = ["a.png", "b/b.png", "b/more/c.png", "d/check.json", "d/e.png"]
    assert files_below(tmp_path) == data, "images beside a report are data"
    assert folders_in(tmp_path) == ["b", "d"]


def test_linked_folders_are_followed_and_loops_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside, outside = touch(tmp_path / "in", "a.png", "x/b.png"), touch(tmp_path / "out", "c.png")
    (inside / "linked").symlink_to(outside)
    (outside / "back").symlink_to(inside)  # the way leads through the link
    (inside / "x" / "self").symlink_to(inside / "x")
    (inside / "twin").symlink_to(inside / "x")  # no loop: another way to the same folder
    assert files_below(inside) == ["a.png", "linked/c.png", "twin/b.png", "x/b.png"]
    said = capsys.readouterr().out
    assert f"{inside}/linked/back is a link back to {inside} and is left out" in said
    assert f"{inside}/x/self is a link back to {inside}/x and is left out" in said
    (outside / "up").symlink_to(tmp_path)  # a link to what holds the folder
    assert files_below(inside) == ["a.png", "linked/c.png", "twin/b.png", "x/b.png"]


def test_left_out_by_pattern_or_as_output(tmp_path: Path) -> None:
    names = ("a.png", "a_mask.png", "train/other/b.png", "train/c.png", "run/d.png", "Thumbs.db", "__MACOSX/e.png")
    touch(tmp_path, *names)
    assert files_below(tmp_path, leave_out=[tmp_path / "run"], exclude=["*_mask*", "train/other"]) == [
        "a.png",
        "train/c.png",
    ]
    assert folders_in(tmp_path, exclude=["run"]) == ["train"]
    assert folders_in(tmp_path, "train") == ["other"]
    assert excluded("a/b/c.png", ["b"])
    assert excluded("a/b/c.png", ["a/*"])
    assert not excluded("a/b/c.png", ["c", "b/*"])


def test_endings_in_any_case_and_a_file_that_is_there_packed_and_not(tmp_path: Path) -> None:
    touch(tmp_path, "a.NII.GZ", "b.Nii", "x/a.nii")
    assert [file.name for file in volumes(tmp_path, None)] == ["a.NII.GZ", "b.Nii", "a.nii"]
    assert by_stem(["a.NII.GZ", "b.nii"]) == {"a": "a.NII.GZ", "b": "b.nii"}
    with pytest.raises(InputError, match=r"x/a\.NII\.GZ and x/a\.nii have the same name; remove one of them"):
        by_stem(["x/a.NII.GZ", "x/a.nii"])


def test_files_of_other_kinds_are_named_by_what_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.NRRD", "c.mnc", "notes.txt", "IM0001")
    (tmp_path / "1.2.840.7").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "p.png").write_bytes(gzip.compress(b"x"))
    files = files_below(tmp_path)
    assert other_volumes(tmp_path, files) == "1 file(s) that are DICOM (1.2.840.7), 1 file(s) that are MINC (c.mnc)"
    assert other_volumes(tmp_path, ["a.nii", "p.png"]) == ""
    assert some("abcd", 2) == "a, b and 2 more"
