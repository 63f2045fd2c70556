"""What every source can do: exclude files, take a split over, say where paths start."""

import inspect
import sys
from pathlib import Path

import pytest
from bundle_runtime.data.datalist import load, write
from bundle_runtime.data.schema import SECTIONS, as_list
from custom_components.errors import InputError
from dicom_files import slices, volume
from dicom_files import write as write_series
from mae_tools.__main__ import main
from mae_tools.sources import SOURCES
from mae_tools.sources.class_folder import class_folder
from mae_tools.sources.registry import Root
from picture_trees import by_image, sizes, touch

from tests.golden.draw_trees import TREES


def classes(root: Path) -> Path:
    touch(root, *(f"{name}/{index}.png" for name in "ab" for index in range(6)))
    return root


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_source_has_the_shared_settings_in_its_help(name: str) -> None:
    command = SOURCES[name]
    parameters = inspect.signature(command).parameters
    assert next(iter(parameters)) == "root"
    for setting in ("out", "exclude", "split_from", "sections", "copies"):
        assert parameters[setting].kind is inspect.Parameter.KEYWORD_ONLY
        assert f"\n    {setting}: " in (command.__doc__ or "")
    assert (command.__doc__ or "").index("    sections:") < (command.__doc__ or "").index("Raises:")


def test_the_settings_of_a_split_are_those_that_a_source_offers(tmp_path: Path) -> None:
    offered, text = inspect.signature(SOURCES["nct_crc"]).parameters, SOURCES["nct_crc"].__doc__ or ""
    assert offered["val_fraction"].default == 0.1  # the source's own
    assert offered["seed"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "test_fraction" not in offered  # its test list is given
    assert "val_fraction: share of the patients that selects" in text
    assert "test_fraction: " not in text
    with pytest.raises(TypeError, match="test_fraction"):
        SOURCES["nct_crc"](tmp_path, test_fraction=0.2)


def test_split_from_takes_lists_and_patients_over(tmp_path: Path) -> None:
    classes(tmp_path)
    items = [{"image": f"a/{index}.png", "patient_id": "P1"} for index in range(3)]
    write(tmp_path / "earlier.json", {"training": [], "validation": [], "test": items})
    made = class_folder(tmp_path, split_from=tmp_path / "earlier.json")
    assert [(item["image"], item["patient_id"]) for item in made["test"]] == [(f"a/{i}.png", "P1") for i in range(3)]
    assert len(made["training"]) == 9
    with pytest.raises(InputError, match="split_from would be overwritten"):
        class_folder(tmp_path, out=tmp_path / "earlier.json", split_from=tmp_path / "earlier.json")


def test_sections_place_every_case(tmp_path: Path) -> None:
    classes(tmp_path)
    words = {"0": "train", "1": "val", "2": "test"}
    rows = "".join(f"{name}/{index}.png,{words[str(index % 3)]}\n" for name in "ab" for index in range(6))
    (tmp_path / "s.csv").write_text(f"case,section\n{rows}")
    with pytest.raises(InputError, match="choose one"):
        class_folder(tmp_path, sections="s.csv", split_from="d.json")
    made = class_folder(tmp_path, sections=tmp_path / "s.csv")
    assert sorted(item["image"] for item in made["test"]) == ["a/2.png", "a/5.png", "b/2.png", "b/5.png"]
    assert sorted(item["image"] for item in made["validation"]) == ["a/1.png", "a/4.png", "b/1.png", "b/4.png"]


def test_exclude_and_what_is_then_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(classes(tmp_path), "a/0_mask.png")
    assert "a/0_mask.png" not in by_image(class_folder(tmp_path, exclude="*_mask*,b/5.png"))
    assert "b/5.png" not in by_image(class_folder(tmp_path, exclude="*_mask*,b/5.png"))
    class_folder(tmp_path, exclude="*_mask*,*[5].png,b/7.*")
    assert "exclude: no file or folder of" in (said := capsys.readouterr().out)
    assert "fits b/7.*." in said
    with pytest.raises(InputError, match="holds 0 class folder"):
        class_folder(tmp_path, exclude="*")


def test_empty_lists_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fractions, said in (
        ((0, 0), "Note: nothing is in validation and test; train selects by validation, evaluate reads test.\n"),
        ((0.2, 0), "Note: nothing is in test;"),
        ((0.2, 0.2), None),
    ):
        class_folder(classes(tmp_path), val_fraction=fractions[0], test_fraction=fractions[1])
        out = capsys.readouterr().out
        assert said in out if said else "Note: nothing" not in out


def test_tcga_barcodes_are_patients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{kind}/TCGA-0{i}-000{i}-01Z-00-DX1/tile_{j}.png" for kind in "ab" for i in range(4) for j in range(2)]
    touch(tmp_path, *names)
    made = class_folder(tmp_path)
    assert {item["patient_id"] for item in by_image(made).values()} == {f"TCGA-0{i}-000{i}" for i in range(4)}
    assert "16 of 16 pictures belong to the patients in their names (TCGA barcodes" in capsys.readouterr().out


def test_a_root(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "x/b.nii", "x/y/c.nii", "z/d.txt")
    root = Root(tmp_path, ("z",))
    assert root.left_out == ["z/d.txt"]
    assert root.files("x", levels=0) == ["x/b.nii"]
    assert root.files("x") == ["x/b.nii", "x/y/c.nii"]
    assert root.volumes() == ["a.nii.gz"]
    assert root.folders() == ["x"]
    assert root.folders("x") == ["y"]


def test_what_is_said_of_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes(tmp_path)
    class_folder(tmp_path)
    assert "--dataset_dir" not in capsys.readouterr().out
    class_folder(tmp_path, out=tmp_path / "lists" / "one.json")
    assert f"--dataset_dir {tmp_path}" in capsys.readouterr().out
    assert (tmp_path / "datalist.json").read_bytes() == (tmp_path / "lists" / "one.json").read_bytes()
    assert len(load(tmp_path / "datalist.json")["training"]) > 4
    with pytest.raises(InputError, match="nowhere is not a folder"):
        class_folder(tmp_path / "nowhere")


# Trees of which the first command leaves images out: no label, no grade, patients in two lists.
LEAVING = {"brats", "chest2017", "deeplesion", "glas", "messidor2", "pcam"}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_source_leaves_files_out_without_a_word(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is no image of its own is named in what it prints or refuses; not so words and tables."""
    root = tmp_path / "data"
    root.mkdir()
    arguments = ["--val_fraction", "0", "--test_fraction", "0"]
    if name == "dicom":
        write_series(root / "series", slices(volume()))
    else:
        TREES[name].draw(root)
        arguments = [*TREES[name].commands[0]]
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(out: str) -> list[int]:
        place = ["--out", str(tmp_path / out if name == "dicom" else tmp_path / out / "datalist.json")]
        monkeypatch.setattr(sys, "argv", ["mae_tools", "datalist", name, str(root), *arguments, *place])
        main()
        return sizes(load(tmp_path / out / "datalist.json"))

    plain = run("first")
    assert sum(plain)
    assert name in LEAVING or "come into no list" not in capsys.readouterr().out
    listed = load(tmp_path / "first" / "datalist.json")
    image = next(as_list(item["image"])[0] for part in SECTIONS for item in listed[part])
    near = (root / "series" if name == "dicom" else (root / image).parent) / "near.mnc"
    touch(root, "far.mnc", "lost.nii.gz", "odd.xyz", "README", "notes.txt", "cells.csv")
    near.touch()
    capsys.readouterr()
    try:
        again = run("second")
        said = capsys.readouterr().out
    except InputError as error:  # class folders hold pictures alone
        near.unlink()
        said = f"{error}{capsys.readouterr().out}"
        again = run("second")
        said += capsys.readouterr().out
    assert again == plain
    assert [word for word in ("near.mnc", "far.mnc", "lost.nii.gz", "odd.xyz") if word not in said] == []
    assert not any(word in said for word in ("README", "notes.txt", "cells.csv"))


def test_files_that_belong_to_listed_ones_are_not_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The voxels of a header, and what is excluded."""
    for part in ("images", "labels"):
        for case in "abc":
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / f"{case}.mhd").write_text(f"ElementDataFile = {case}.raw\n")
            (tmp_path / part / f"{case}.raw").touch()
    touch(tmp_path, "images/spare.raw", "other/a.png")
    SOURCES["folder"](tmp_path, exclude="other")
    assert f"1 file(s) of {tmp_path} come into no list: 1 .raw (images/spare.raw)." in capsys.readouterr().out
