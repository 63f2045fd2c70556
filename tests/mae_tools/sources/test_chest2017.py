from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.sources.chest2017 import chest2017
from picture_trees import SECTIONS, by_image, sizes, touch


def release(root: Path) -> Path:
    touch(
        root,
        *(
            f"train/PNEUMONIA/person{p}_{kind}_{p * 3 + i}.jpeg"
            for p in range(20)
            for i, kind in enumerate(["virus", "bacteria"])
        ),
        *(f"train/NORMAL/IM-{p:04d}-000{i}.jpeg" for p in range(10) for i in (1, 2)),
        *(f"train/NORMAL/NORMAL2-IM-{p:04d}-0001-000{p % 2}.jpeg" for p in range(5)),
        "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
        "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
        *(f"test/PNEUMONIA/person{p}_bacteria_{p}.jpeg" for p in (3, 77)),
        "test/NORMAL/IM-0900-0001.jpeg",
    )
    return root


def test_patients_stay_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = chest2017(release(tmp_path))
    owners = [{item["patient_id"] for item in made[part]} for part in SECTIONS]
    assert not owners[0] & owners[1] | owners[0] & owners[2] | owners[1] & owners[2]
    assert "person3" in owners[2]
    assert len(made["test"]) == 3
    assert sum(sizes(made)) == 40 - 2 + 25 + 2 + 3  # two images of person3 do not train
    assert "2 images of 1 patient(s)" in capsys.readouterr().out
    found = by_image(made)
    assert found["train/NORMAL/NORMAL2-IM-0003-0001-0001.jpeg"]["patient_id"] == "NORMAL2-IM-0003"
    assert found["train/NORMAL/IM-0003-0001.jpeg"]["patient_id"] == "IM-0003"
    assert found["train/PNEUMONIA/person4_virus_12.jpeg"] == {
        "image": "train/PNEUMONIA/person4_virus_12.jpeg",
        "label": 1,
        "patient_id": "person4",
    }


def test_other_splits(tmp_path: Path) -> None:
    release(tmp_path)
    assert sizes(chest2017(tmp_path, keep_validation=True))[1:] == [2, 3]
    assert sum(sizes(chest2017(tmp_path, crossing="keep"))) == 70
    paper = chest2017(tmp_path, train_fraction=0.7, parity=True)
    assert paper["validation"] == paper["test"]
    assert sum(sizes(paper)) == 70 + len(paper["test"])
    with pytest.raises(
        InputError, match=r"1 patient\(s\) are in several of the given lists, person3 in training and test: person3"
    ):
        chest2017(tmp_path, crossing="refuse")


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    touch(tmp_path, "train/NORMAL/scan7.jpeg")
    with pytest.raises(InputError, match=r"1 pictures are not of the form .*: train/NORMAL/scan7\.jpeg"):
        chest2017(tmp_path)
    with pytest.raises(InputError, match="expected the folders train and test with NORMAL and PNEUMONIA"):
        chest2017(touch(tmp_path / "other", "train/NORMAL/IM-0001-0001.jpeg"))
