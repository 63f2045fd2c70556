from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.sources.glas import glas
from picture_trees import by_image, sizes, touch


def release(root: Path, crossing: bool = False) -> Path:
    counts = {"train": 8, "testA": 3, "testB": 2}
    names = [f"{part}_{index + 1}" for part, count in counts.items() for index in range(count)]
    touch(root, *(f"Warwick/{name}{ending}.bmp" for name in names for ending in ("", "_anno")))
    owner = {name: f"{'1' if crossing and name == 'testB_1' else name.split('_')[0] + name[-1]}" for name in names}
    owner |= {"train_1": "1", "train_2": "1"}
    rows = "".join(f"{name}, {owner[name]}, benign, adenomatous\n" for name in names)
    (root / "Warwick/Grade.csv").write_text(f"name, patient ID, grade (GlaS), grade (other)\n{rows}")
    return root


def test_both_parts_are_tested(tmp_path: Path) -> None:
    made = glas(release(tmp_path), counts=False)
    assert sizes(made) == [7, 1, 5] or sizes(made) == [6, 2, 5]
    assert made["mask_kind"] == "instance"
    assert by_image(made)["Warwick/testB_2.bmp"] == {
        "image": "Warwick/testB_2.bmp",
        "label": "Warwick/testB_2_anno.bmp",
        "patient_id": "testB2",
    }
    by_list = [{item["patient_id"] for item in made[part]} for part in ("training", "validation", "test")]
    assert not by_list[0] & by_list[1]
    assert sizes(glas(tmp_path, counts=False, parity=True)) == [8, 5, 5]  # what was reported


def test_patients_of_both_lists(tmp_path: Path) -> None:
    release(tmp_path, crossing=True)
    with pytest.raises(
        InputError, match=r"1 patient\(s\) are in several of the given lists, 1 in training and test: 1"
    ):
        glas(tmp_path, counts=False)
    made = glas(tmp_path, counts=False, crossing="drop")
    assert sum(sizes(made)) == 11
    assert "without 2 images of patients in several" in made["description"]
    assert sum(sizes(glas(tmp_path, counts=False, crossing="keep"))) == 13


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    with pytest.raises(InputError, match=r"8 pictures train_\*\.bmp, expected 85, 3 pictures testA"):
        glas(tmp_path)
    (tmp_path / "Warwick/train_3_anno.bmp").unlink()
    with pytest.raises(InputError, match=r"train_3\.bmp: there is no train_3_anno\.bmp"):
        glas(tmp_path, counts=False)
    touch(tmp_path, "Warwick/train_3_anno.bmp", "Warwick/train_99.bmp", "Warwick/train_99_anno.bmp")
    with pytest.raises(InputError, match=r"Grade\.csv: names no patient for train_99"):
        glas(tmp_path, counts=False)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="0 pictures train"):
        glas(tmp_path / "none", counts=False)
