"""What a source does about the same image under several names."""

import json
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pytest
from bundle_runtime.data.datalist import load
from bundle_runtime.data.schema import SECTIONS
from custom_components.errors import InputError
from mae_tools.check.command import check
from mae_tools.sources.class_folder import class_folder
from mae_tools.sources.copies import settle
from mae_tools.sources.folder import folder
from nifti_files import label, save
from picture_files import png, shades
from PIL import Image


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Given lists of two classes; val holds a copy of train (TIFF, turned) and test one of val in the other class."""
    seed = 0
    for part, count in (("train", 5), ("val", 4), ("test", 4)):
        for name in ("a", "b"):
            for number in range(count):
                seed += 1
                (tmp_path / part / name).mkdir(parents=True, exist_ok=True)
                png(tmp_path / part / name / f"{part}{number}.png", shades(seed=seed))
    pixels = np.asarray(Image.open(tmp_path / "train/a/train1.png"))
    Image.fromarray(np.rot90(pixels)).convert("RGB").save(tmp_path / "val/a/copy.tif")
    (tmp_path / "test/b/again.png").write_bytes((tmp_path / "val/a/val2.png").read_bytes())
    (tmp_path / "train/a/twin.png").write_bytes((tmp_path / "train/a/train2.png").read_bytes())
    return tmp_path


def places(content: dict[str, Any]) -> dict[str, str]:
    return {item["image"]: part for part in SECTIONS for item in content[part]}


def test_without_a_word_nothing_is_looked_at_and_the_check_names_all(tree: Path) -> None:
    class_folder(tree)
    with pytest.raises(InputError, match=r"2 error.*--copies drop"):
        check(tree / "datalist.json", num_workers=0)
    found = json.loads((tree / "check" / "check.json").read_text())["copies"]
    assert sorted([Path(place["file"]).name for place in group] for group in found) == [
        ["train1.png", "copy.tif"], ["train2.png", "twin.png"], ["val2.png", "again.png"],
    ]  # fmt: skip


def test_refuse_writes_nothing(tree: Path) -> None:
    with pytest.raises(InputError, match="not written, 3 images are there under several names"):
        class_folder(tree, copies="refuse")
    assert not (tree / "datalist.json").exists()
    with pytest.raises(InputError, match="copies is 'keep', expected refuse, drop, together"):
        class_folder(tree, copies="keep")


def test_drop_keeps_the_one_of_training(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = places(class_folder(tree))
    after = places(class_folder(tree, copies="drop"))
    assert set(before) - set(after) == {"val/a/copy.tif", "test/b/again.png", "train/a/twin.png"}
    assert after == {name: part for name, part in before.items() if name in after}
    assert "Copies: 6 images are 3 different ones.\n1 of them bear different labels" in capsys.readouterr().out
    assert check(tree / "datalist.json", num_workers=0)["copies"] == []


def test_together_keeps_all_in_one_list(tree: Path) -> None:
    before = places(class_folder(tree))
    after = places(class_folder(tree, copies="together"))
    moved = {name: part for name, part in after.items() if before[name] != part}
    assert moved == {"val/a/copy.tif": "training", "test/b/again.png": "validation"}
    assert len(after) == len(before)
    assert check(tree / "datalist.json", num_workers=0)["errors"] == 0


def test_together_keeps_patients_whole(tree: Path) -> None:
    names = places(class_folder(tree))
    owners = {"val/a/copy.tif": "P", "val/a/val0.png": "P", "val/b/val0.png": "P", "val/b/val1.png": "P"}
    rows = "".join(f"{name},{owners.get(name, name)}\n" for name in names)
    (tree / "p.csv").write_text(f"case,patient_id\n{rows}")
    after = places(class_folder(tree, patients=tree / "p.csv", copies="together"))
    assert {after[name] for name in (*owners, "train/a/train1.png")} == {"validation"}  # four of five are there
    load(tree / "datalist.json")


def test_volumes_in_another_orientation_and_type(tmp_path: Path) -> None:
    volumes = [np.random.default_rng(seed).integers(-100, 200, (12, 10, 8)).astype(np.int16) for seed in range(5)]
    volumes.append(volumes[0][::-1].transpose(2, 1, 0).astype(np.float32))
    for number, data in enumerate(volumes):
        save(tmp_path / "images" / f"c{number}.nii.gz", data)
        shown = label(1, 2) if number < 5 else label(1, 2)[::-1].transpose(2, 1, 0).copy()
        save(tmp_path / "labels" / f"c{number}.nii.gz", shown)
    made = folder(tmp_path, copies="drop", val_fraction=0.3, test_fraction=0.3)
    names = {Path(name).name for name in places(made)}
    assert len(names) == 5
    assert len(names & {"c0.nii.gz", "c5.nii.gz"}) == 1


def test_copies_in_nrrd_are_found_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(-900, 900, (4, 5, 6)).astype(np.int16)
    for name in ("a", "b", "c"):
        seed = 0 if name == "b" else ord(name) - ord("a")
        itk.imwrite(itk.image_from_array(np.roll(voxels, seed)), str(tmp_path / f"{name}.nrrd"))
    listed = {"training": [{"image": f"{name}.nrrd"} for name in "abc"], "validation": [], "test": []}
    kept = settle(listed, "drop", tmp_path, tmp_path / "d.json")["training"]
    assert [item["image"] for item in kept] == ["a.nrrd", "c.nrrd"]
    (tmp_path / "c.nrrd").write_bytes(b"NRRD0004")
    with pytest.raises(InputError, match=r"not written, 1 image\(s\) cannot be read.*c\.nrrd; mend or exclude them"):
        settle(listed, "drop", tmp_path, tmp_path / "d.json")
