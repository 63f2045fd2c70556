import json
from pathlib import Path
from typing import Any

import monai.data
import pytest
from bundle_runtime.data.datalist import items
from custom_components.errors import InputError
from mae_tools.sources import SOURCES
from mae_tools.sources.msd import msd

LABELS = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
MODALITY = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
# Where the published 97 cases of fold 0 stand in the training list, which is not sorted by name.
FOLD_0 = (
    "2 12 16 17 20 29 40 42 43 50 52 56 60 63 76 87 89 96 98 109 110 112 113 115 117 121 124 131 135 138 139 142 147 "
    "154 164 165 171 173 174 177 186 191 193 194 208 209 224 225 226 238 254 256 275 276 289 290 291 294 295 297 301 "
    "302 306 317 321 324 334 343 349 350 354 358 364 373 395 398 405 415 419 420 422 432 436 439 447 448 451 455 458 "
    "460 462 463 468 473 474 476 483"
)


def task(root: Path, cases: int = 484, **changed: Any) -> list[str]:
    """Write a task whose list runs backwards; returns the cases in the order of the list."""
    names = [f"BRATS_{number:03d}" for number in reversed(range(1, cases + 1))]
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(exist_ok=True)
        for name in names:
            (root / folder / f"{name}.nii.gz").touch()
    training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    content = {"name": "BRATS", "modality": MODALITY, "labels": LABELS, "training": training, "test": [], **changed}
    (root / "dataset.json").write_text(json.dumps(content))
    return names


def case_names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["patient_id"] for entry in entries]


def test_fold_0_is_the_published_one_and_others_select(tmp_path: Path) -> None:
    """Guards against choosing the best epoch on the cases that are reported, as the reference code does."""
    names = task(tmp_path)
    made = SOURCES["msd"](tmp_path)
    positions = [int(position) for position in FOLD_0.split()]
    assert len(positions) == 97
    assert case_names(made["test"]) == [names[position] for position in positions]
    assert [len(made[part]) for part in ("training", "validation")] == [348, 39]
    assert sorted(case_names(made["training"] + made["validation"] + made["test"])) == sorted(names)
    assert "parity" not in made


def test_every_fold_is_monais(tmp_path: Path) -> None:
    names = task(tmp_path)
    dealt = monai.data.partition_dataset(names, num_partitions=5, shuffle=True, seed=12345)
    for fold, expected in enumerate(dealt):
        made = msd(tmp_path, fold=fold)
        assert sorted(case_names(made["test"])) == sorted(expected)


def test_parity_selects_on_the_fold(tmp_path: Path) -> None:
    task(tmp_path)
    made = msd(tmp_path, parity=True)
    assert made["validation"] == made["test"]
    assert [len(made[part]) for part in ("training", "test")] == [387, 97]
    assert made["parity"] is True


def test_items_carry_sequences_and_convention(tmp_path: Path) -> None:
    task(tmp_path, 12)
    made = msd(tmp_path)
    assert "class_names" not in made
    item = items(tmp_path / "datalist.json", "test", class_names=["background", "TC", "WT", "ET"])[0]
    assert item["sequences"] == ["flair", "t1", "t1ce", "t2"]
    assert item["label_convention"] == "msd"
    assert item["image"] == str(tmp_path / "imagesTr" / f"{item['case']}.nii.gz")
    assert item["patient_id"] == item["case"]


def test_the_order_of_the_channels_is_that_of_the_file(tmp_path: Path) -> None:
    task(tmp_path, 12, modality={"1": "FLAIR", "0": "T1-CE", "2": "ADC"})
    assert msd(tmp_path)["sequences"] == ["t1ce", "flair", "adc"]


def test_the_validation_share_depends_on_the_seed_alone(tmp_path: Path) -> None:
    task(tmp_path, 60)
    first = msd(tmp_path)
    assert msd(tmp_path, out=tmp_path / "other.json") == first
    assert (tmp_path / "other.json").read_bytes() == (tmp_path / "datalist.json").read_bytes()
    assert msd(tmp_path, seed=1)["test"] != first["test"]
    assert msd(tmp_path, val_fraction=0)["validation"] == []
    assert len(msd(tmp_path, val_fraction=0.5)["validation"]) == 24


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "non-enhancing tumor", "2": "edema", "3": "enhancing tumour"},
        {"0": "background", "1": "edema", "2": "enhancing tumour", "3": "non-enhancing tumor"},
        {"0": "background", "1": "edema", "2": "tumour core"},
        {"0": "background", "1": "liver", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        {**LABELS, "4": "cavity"},
    ],
)
def test_labels_of_another_meaning_are_refused(tmp_path: Path, labels: dict[str, str]) -> None:
    """Guards against reading 2 as the enhancing tumour (Project-MONAI/tutorials issue 1355): the names decide."""
    task(tmp_path, 12, labels=labels)
    with pytest.raises(InputError, match=r"'labels' is .*not msd \(0 background, 1 oedema, .* source 'decathlon'"):
        msd(tmp_path)
    assert not (tmp_path / "datalist.json").exists()


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3},
        {"0": "Background", "1": "Oedema", "2": "Non-Enhancing Tumour", "3": "Enhancing tumor"},
    ],
)
def test_labels_in_other_spellings(tmp_path: Path, labels: dict[str, Any]) -> None:
    task(tmp_path, 12, labels=labels)
    assert msd(tmp_path)["label_convention"] == "msd"


@pytest.mark.parametrize(
    ("modality", "sentence"),
    [
        ("MRI", "'modality' is 'MRI', expected the sequence of each channel"),
        (None, "expected the sequence of each channel"),
        ({"1": "FLAIR", "2": "T1w"}, "expected the sequence of each channel"),
        ({"0": "T1gd", "1": "t1ce"}, r"dataset\.json: 'modality' is \['T1gd', 't1ce'\]; expected different"),
    ],
)
def test_channels_without_sequence_names(tmp_path: Path, modality: Any, sentence: str) -> None:
    task(tmp_path, 12, modality=modality)
    with pytest.raises(InputError, match=sentence):
        msd(tmp_path)


def test_unknown_folds(tmp_path: Path) -> None:
    task(tmp_path, 12)
    with pytest.raises(InputError, match=r"fold is 5, expected 0 to 4 \(folds 5, 12 patients\)"):
        msd(tmp_path, fold=5)
    with pytest.raises(InputError, match=r"dataset\.json: cannot be read"):
        msd(tmp_path / "imagesTr")
