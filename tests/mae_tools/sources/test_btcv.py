from pathlib import Path

import pytest
from bundle_runtime.data.datalist import load
from custom_components.errors import InputError
from mae_tools.sources import SOURCES
from mae_tools.sources.btcv import CLASS_NAMES, TEST_CASES, TRAINING_CASES, btcv


def layout(root: Path, images: str = "imagesTr", labels: str = "labelsTr") -> Path:
    for number in (*TRAINING_CASES, *TEST_CASES):
        for folder, stem in ((images, "img"), (labels, "label")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{stem}{number:04d}.nii.gz").touch()
    return root


@pytest.mark.parametrize("pair", [("imagesTr", "labelsTr"), ("img", "label"), ("Training/img", "Training/label")])
def test_split_of_the_thirty_cases(tmp_path: Path, pair: tuple[str, str]) -> None:
    made = SOURCES["btcv"](layout(tmp_path, *pair))
    numbers = {part: [int(item["patient_id"]) for item in made[part]] for part in ("training", "validation", "test")}
    assert [len(part) for part in numbers.values()] == [14, 4, 12]
    assert sorted(numbers["training"] + numbers["validation"]) == list(TRAINING_CASES)
    assert tuple(numbers["test"]) == TEST_CASES
    assert made["training"][0]["image"] == f"{pair[0]}/img{numbers['training'][0]:04d}.nii.gz"
    assert load(tmp_path / "datalist.json")["class_names"] == list(CLASS_NAMES)
    assert f"{numbers['validation'][0]:04d}" in made["description"]
    assert len(CLASS_NAMES) == 14


def test_the_validation_cases_depend_on_the_seed_alone(tmp_path: Path) -> None:
    root = layout(tmp_path)
    first = btcv(root)["validation"]
    assert btcv(root)["validation"] == first
    assert any(btcv(root, seed=seed)["validation"] != first for seed in (1, 2))
    assert btcv(root, validation=0)["validation"] == []


def test_parity_selects_on_the_test_list(tmp_path: Path) -> None:
    made = btcv(layout(tmp_path), parity=True)
    assert len(made["training"]) == 18
    assert made["validation"] == made["test"]
    assert load(tmp_path / "datalist.json")["parity"] is True


def test_every_missing_case_is_named(tmp_path: Path) -> None:
    root = layout(tmp_path)
    for name in ("imagesTr/img0005.nii.gz", "labelsTr/label0038.nii.gz"):
        (root / name).unlink()
    with pytest.raises(InputError, match=r"2 of the 60 files .*img0005\.nii\.gz, .*label0038\.nii\.gz"):
        btcv(root)
    assert not (root / "datalist.json").exists()


def test_no_folders_and_impossible_counts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither of the folder pairs imagesTr/labelsTr or img/label"):
        btcv(tmp_path)
    with pytest.raises(InputError, match="validation is 18, expected 0 to 17"):
        btcv(tmp_path, validation=18)
