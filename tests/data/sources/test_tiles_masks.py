from pathlib import Path

import pytest
from picture_trees import SECTIONS, by_image, sizes, touch

from custom_components.data.datalist import load
from custom_components.data.sources.tiles_masks import tiles_masks
from custom_components.errors import InputError


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
    with pytest.raises(InputError, match="there is no picture in a folder 'labels'; name it with masks"):
        tiles_masks(tmp_path, masks="labels")
    with pytest.raises(InputError, match="mask_kind is 'ids'"):
        tiles_masks(tmp_path, mask_kind="ids")
    with pytest.raises(InputError, match="instance tells one class from the background"):
        tiles_masks(tmp_path, class_names="background,a,b")
    touch(tmp_path, "images/train/x.png", "masks/train/x.png")
    with pytest.raises(InputError, match=r"3 pictures lie in no folder train, val or test: images/a\.png"):
        tiles_masks(tmp_path)


def test_real_nuclei(real_data: Path, tmp_path: Path) -> None:
    made = tiles_masks(real_data / "histology" / "gbm40_nuclei", tmp_path / "d.json")
    assert sum(sizes(made)) == 39
