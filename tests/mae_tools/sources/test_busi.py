from pathlib import Path

import numpy as np
import pytest
from custom_components.errors import InputError
from mae_tools.sources.busi import busi, merged
from mae_tools.sources.class_folder import class_folder
from picture_trees import by_image, sizes
from PIL import Image


def release(root: Path) -> Path:
    for name in ("benign", "malignant", "normal"):
        (root / name).mkdir(parents=True)
        for number in range(1, 6):
            Image.fromarray(np.full((12, 16, 3), 90, np.uint8)).save(root / name / f"{name} ({number}).png")
            for part in range(2 if (name, number) == ("benign", 4) else 1):
                mask = np.zeros((12, 16), np.uint8)
                mask[2 + 6 * part : 4 + 6 * part, 3:9] = 0 if name == "normal" else 255
                ending = f"_mask{f'_{part}' if part else ''}"
                Image.fromarray(mask).save(root / name / f"{name} ({number}){ending}.png")
    return root


def test_several_masks_become_one(tmp_path: Path) -> None:
    made = busi(release(tmp_path))
    assert sizes(made) == [9, 3, 3]
    item = by_image(made)["benign/benign (4).png"]
    mask = np.asarray(Image.open(tmp_path / item["label"]))
    assert mask.sum() == 2 * 12
    assert set(np.unique(mask)) == {0, 1}
    assert not np.asarray(Image.open(tmp_path / by_image(made)["normal/normal (2).png"]["label"])).any()
    assert sum(sizes(busi(tmp_path, with_normal=False))) == 10


@pytest.mark.parametrize("high", [1, 90, 255])
def test_masks_of_any_two_values(tmp_path: Path, high: int) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(picture)
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:7] = high
    Image.fromarray(mask).save(tmp_path / "a_mask.png")
    assert np.array_equal(merged(picture, [tmp_path / "a_mask.png"]), mask > 0)


def test_the_classes_need_one_command(tmp_path: Path) -> None:
    made = class_folder(release(tmp_path), exclude="*_mask*")
    assert made["class_names"] == ["benign", "malignant", "normal"]
    busi(tmp_path)  # its merged masks lie in a folder of their own
    assert sum(sizes(made)) == 15


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    Image.fromarray(np.zeros((5, 16), np.uint8)).save(tmp_path / "benign" / "benign (2)_mask.png")
    with pytest.raises(InputError, match=r"benign \(2\)_mask\.png: is 5 x 16 pixels, and benign \(2\)\.png 12 x 16"):
        busi(tmp_path)
    (tmp_path / "benign" / "benign (2)_mask.png").unlink()
    with pytest.raises(InputError, match=r"there is no benign \(2\)_mask\.png"):
        busi(tmp_path)
    with pytest.raises(InputError, match="holds no folder benign, malignant, normal"):
        busi(tmp_path / "benign")
