from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.data.datalist import items, load
from custom_components.errors import InputError
from mae_tools.demo_data.histology import HISTOLOGY_CLASSES, make_histology
from PIL import Image


def test_tiles_of_classes_and_tiles_with_nuclei(tmp_path: Path) -> None:
    made = make_histology(tmp_path, cases=40, size=48, nuclei_cases=16, nuclei_size=64)
    assert load(tmp_path / "datalist.json", class_names=HISTOLOGY_CLASSES)["mpp"] == 0.8
    for part in ("training", "validation", "test"):
        assert {item["label"] for item in made[part]} == set(range(4))
        assert all(Image.open(tmp_path / item["image"]).size == (48, 48) for item in made[part])
    masks = tmp_path / "nuclei" / "datalist.json"
    assert load(masks, class_names=["background", "nucleus"])["mask_kind"] == "instance"
    found = [item for part in ("training", "validation", "test") for item in items(masks, part)]
    assert len(found) == 16
    for item in found:
        pixels, objects = np.asarray(Image.open(item["image"])), np.asarray(Image.open(item["label"]))
        assert (pixels.shape, objects.shape, objects.dtype) == ((64, 64, 3), (64, 64), np.uint16)
    assert not {item["patient_id"] for item in found} & {i["patient_id"] for p in made.values() if isinstance(p, list)
                                                        for i in p if isinstance(i, dict)}  # fmt: skip


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    make_histology(tmp_path, cases=36, size=48, nuclei_cases=0)
    files = {file: file.read_bytes() for file in tmp_path.rglob("*.png")}
    make_histology(tmp_path, cases=32, size=48, nuclei_cases=0)
    assert {file: file.read_bytes() for file in files} == files
    assert not (tmp_path / "nuclei").exists()


@pytest.mark.parametrize("wrong", [{"cases": 31}, {"nuclei_cases": 15}, {"size": 40}])
def test_too_few_or_too_small(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_histology(tmp_path, **wrong)
