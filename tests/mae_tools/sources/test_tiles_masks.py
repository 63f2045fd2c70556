from pathlib import Path
from typing import Any

import pytest
from bundle_runtime.data.datalist import load, write
from custom_components.errors import InputError
from mae_tools.sources.tiles_masks import tiles_masks
from picture_trees import SECTIONS, by_image, sizes, touch


def test_two_folders(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/p{i // 2}_{i}.png" for i in range(20)), *(f"masks/p{i // 2}_{i}.tif" for i in range(20)))
    made = tiles_masks(tmp_path, patient_pattern=r"^(p\d+)_", modality="H&E")
    assert sizes(made) == [12, 4, 4]
    owners = [{item["patient_id"] for item in made[part]} for part in SECTIONS]
    assert sum(map(len, owners)) == 10
    assert by_image(made)["images/p3_7.png"]["label"] == "masks/p3_7.tif"
    assert load(tmp_path / "datalist.json")["mask_kind"] == "instance"
    csv = tmp_path / "owners.csv"
    csv.write_text("case,patient_id\n" + "".join(f"images/p{i // 2}_{i}.png,p{i // 2}\n" for i in range(20)))
    assert tiles_masks(tmp_path, patients=csv, modality="H&E") == made


@pytest.mark.parametrize("form", ["images/{}/a{}.png", "{}/images/a{}.png"])
def test_given_lists(tmp_path: Path, form: str) -> None:
    for part, count in (("train", 4), ("test", 2)):
        for index in range(count):
            name = form.format(part, f"{part}{index}")
            touch(tmp_path, name, name.replace("images", "masks"))
    made = tiles_masks(tmp_path, class_names="[background, gland, tumour]", mask_kind="classes")
    assert sizes(made) == [3, 1, 2]
    assert made["class_names"] == ["background", "gland", "tumour"]
    for image, item in by_image(made).items():
        assert item["label"] == image.replace("images", "masks")


def test_one_folder_with_an_ending(tmp_path: Path) -> None:
    touch(tmp_path, *(f"all/{name}{ending}.png" for name in "abcdef" for ending in ("", "_mask")))
    made = tiles_masks(tmp_path, images="all", masks="all", mask_ending="_mask", mask_kind="binary")
    assert sum(sizes(made)) == 6
    assert by_image(made)["all/c.png"]["label"] == "all/c_mask.png"
    assert made["mask_kind"] == "binary"


def test_the_report_of_a_check_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{part}/{name}.png" for part in ("images", "masks") for name in "abcdef"))
    touch(tmp_path, "images/check/check.html", "images/check/check.json")
    assert sum(sizes(tiles_masks(tmp_path))) == 6


def test_refusals(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png", "masks/a.png", "masks/b.png")
    with pytest.raises(InputError, match=r"1 of the images have none of the masks of the same name: images/c\.png"):
        tiles_masks(tmp_path)
    touch(tmp_path, "masks/c.png", "masks/d.png")
    with pytest.raises(InputError, match=r"1 of the masks have none of the images of the same name: masks/d\.png"):
        tiles_masks(tmp_path)
    (tmp_path / "masks/d.png").unlink()
    touch(tmp_path, "masks/c.tif")
    with pytest.raises(InputError, match=r"masks/c\.png and masks/c\.tif have the same name"):
        tiles_masks(tmp_path)
    (tmp_path / "masks/c.tif").unlink()
    with pytest.raises(InputError, match="there is no picture in a folder 'labels'; name it with --masks"):
        tiles_masks(tmp_path, masks="labels")
    with pytest.raises(InputError, match="mask_kind is 'ids'"):
        tiles_masks(tmp_path, mask_kind="ids")
    with pytest.raises(InputError, match="instance tells one class from the background"):
        tiles_masks(tmp_path, class_names="background,a,b")
    touch(tmp_path, "images/train/x.png", "masks/train/x.png")
    with pytest.raises(InputError, match=r"3 pictures lie in no folder train, val or test: images/a\.png"):
        tiles_masks(tmp_path)


def test_real_nuclei(real_data: Path, tmp_path: Path) -> None:
    made = tiles_masks(real_data / "histology" / "gbm40_nuclei", out=tmp_path / "d.json")
    assert sum(sizes(made)) == 39


def lists_of(made: dict[str, Any]) -> dict[str, str]:
    return {item["image"]: part for part in SECTIONS for item in made[part]}


def earlier_list(path: Path, lists: dict[str, list[tuple[str, str]]], **keys: Any) -> Path:
    content = {part: [{"image": image, "patient_id": owner} for image, owner in lists[part]] for part in SECTIONS}
    write(path, {**content, **keys})
    return path


@pytest.mark.parametrize("elsewhere", [True, False])
def test_the_split_of_another_datalist_is_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], elsewhere: bool
) -> None:
    """A test picture of the segmentation that was in the list of the pre-training is leakage."""
    root = tmp_path / "data"
    touch(root, *(f"{folder}/{name}.png" for name in "abcdefgh" for folder in ("images", "masks")))
    owners = {name: f"p{index // 2}" for index, name in enumerate("abcdef")}
    parts = {"training": "ab", "validation": "cd", "test": "ef"}
    lists = {part: [(f"images/{name}.png", owners[name]) for name in names] for part, names in parts.items()}
    earlier = earlier_list((tmp_path if elsewhere else root) / "classes.json", lists)
    made = tiles_masks(root, out=tmp_path / "masks.json", mask_kind="binary", split_from=earlier)
    found = {part: {image[7] for image, its in lists_of(made).items() if its == part} for part in SECTIONS}
    assert found == {"training": {*"abgh"}, "validation": {*"cd"}, "test": {*"ef"}}
    assert by_image(made)["images/f.png"]["patient_id"] == "p2"
    said = capsys.readouterr().out
    assert "6 of 8 images come into the lists" in said
    assert "they train: images/g.png, images/h.png" in said
    with pytest.raises(InputError, match=r"split_from would be overwritten; copy it under another name first"):
        tiles_masks(root, out=earlier, split_from=earlier)


def test_other_pictures_of_the_same_patients_go_to_the_list_of_the_patient(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/p{i}_new.png" for i in range(4) for folder in ("images", "masks")))
    lists = {"training": [("x/0.png", "p0"), ("x/1.png", "p1")], "validation": [("x/2.png", "p2")],
             "test": [("x/3.png", "p3")]}  # fmt: skip
    earlier = earlier_list(tmp_path / "classes.json", lists)
    made = tiles_masks(tmp_path, out=tmp_path / "m.json", patient_pattern=r"^(p\d)_", split_from=earlier)
    assert lists_of(made) == {
        "images/p0_new.png": "training", "images/p1_new.png": "training", "images/p2_new.png": "validation",
        "images/p3_new.png": "test",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"split_from names none of the 4 images .* --patient_pattern"):
        tiles_masks(tmp_path, out=tmp_path / "m.json", split_from=earlier)


def test_an_equal_name_in_another_folder_is_another_picture(tmp_path: Path) -> None:
    for root in ("one", "two"):
        touch(tmp_path / root, "images/0.png", "masks/0.png")
    earlier = earlier_list(tmp_path / "one/d.json", {"training": [("images/0.png", "a")], "validation": [], "test": []})
    with pytest.raises(InputError, match="split_from names none of the 1 images"):
        tiles_masks(tmp_path / "two", split_from=earlier)


def test_the_split_of_a_parity_list_stays_one(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{name}.png" for name in "ab" for folder in ("images", "masks")))
    lists = {
        "training": [("images/a.png", "a")],
        "validation": [("images/b.png", "b")],
        "test": [("images/b.png", "b")],
    }
    made = tiles_masks(
        tmp_path, out=tmp_path / "m.json", split_from=earlier_list(tmp_path / "c.json", lists, parity=True)
    )
    assert made["parity"] is True
    assert [item["image"] for item in made["test"]] == ["images/b.png"]
    assert made["validation"] == made["test"]
