from pathlib import Path

import pytest
from bundle_runtime.data.find import files_below
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from mae_tools.sources.pictures import PictureFinder, is_picture, own_patient, patients_in_names
from picture_trees import touch


def test_files_of_a_tree_without_hidden_ones(tmp_path: Path) -> None:
    root = touch(tmp_path / "a.b", "b/x.png", "b-c/x.png", "a.JPG", ".git/x.png", "b/._x.png")
    assert files_below(root) == ["a.JPG", "b/x.png", "b-c/x.png"]
    assert files_below(root, levels=0) == ["a.JPG"]
    assert [is_picture(name) for name in ("a.JPG", "a.png", "a.dcm", "a.csv", "png")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.png", ["images/p1/a.png"]),
        ("a", ["images/p1/a.png"]),
        ("p1/a.png", ["images/p1/a.png"]),
        ("./images/p1/a.png", ["images/p1/a.png"]),
        ("images\\p1\\a.png", ["images/p1/a.png"]),
        ("release/images/p1/a.png", ["images/p1/a.png"]),
        ("/old/disk/images/p1/a.png", ["images/p1/a.png"]),
        ("p2/a.png", []),
        ("a.jpg", []),
        ("b.png", ["test/b.png", "train/b.png"]),
        ("train/b.png", ["train/b.png"]),
        ("c", ["images/c.jpg", "masks/c.png"]),
        ("c.png", ["masks/c.png"]),
        ("d.x", ["d.x.png"]),
        ("", []),
    ],
)
def test_paths_of_a_table_find_their_file(path: str, expected: list[str]) -> None:
    files = ["images/p1/a.png", "train/b.png", "test/b.png", "images/c.jpg", "masks/c.png", "d.x.png"]
    assert sorted(PictureFinder(files).find(path)) == expected


def test_a_missing_file_is_never_taken_from_another_list() -> None:
    """A table that names test/a.png must not get train/a.png because the name alone is unique."""
    assert PictureFinder(["train/a.png"]).find("test/a.png") == []
    assert PictureFinder(["x/train/a.png"]).find("y/train/a.png") == []


@given(st.lists(st.from_regex(r"([ab]/){0,3}[cd]\.(png|jpg)", fullmatch=True), unique=True, min_size=1), st.data())
def test_every_file_is_found_by_its_own_path(files: list[str], data: st.DataObject) -> None:
    finder = PictureFinder(files)
    file = data.draw(st.sampled_from(files))
    assert finder.find(file) == [file]
    tail = "/".join(file.split("/")[data.draw(st.integers(0, file.count("/"))) :])
    assert file in finder.find(tail) or finder.find(tail) == [tail]


def test_patients_in_names() -> None:
    assert patients_in_names(["x/p1_0.png", "p2_0.png"], r"^(p\d+)_") == {"x/p1_0.png": "p1", "p2_0.png": "p2"}
    assert patients_in_names(["train/patient7/a.png"], r"(patient\d+)/") == {"train/patient7/a.png": "patient7"}
    with pytest.raises(InputError, match=r"finds no patient in 1 of 2 files: q_0\.png"):
        patients_in_names(["p1_0.png", "q_0.png"], r"^(p\d+)_")
    with pytest.raises(InputError, match="finds no patient in 1 of 1 files"):
        patients_in_names(["_a.png"], r"^(p?)_")
    with pytest.raises(InputError, match=r"is no regular expression .*expected one with the patient in brackets"):
        patients_in_names(["a"], "(")
    for pattern in (r"^p\d+_", r"^(p)(\d+)_"):
        with pytest.raises(InputError, match=r"has [02] groups; expected one with the patient in brackets"):
            patients_in_names(["a"], pattern)
    assert own_patient("x/a.b.png") == "x/a.b"
