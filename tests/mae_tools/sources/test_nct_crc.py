from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.sources.nct_crc import _COUNTS, nct_crc
from picture_trees import by_image, sizes, touch

NAMES = ["ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"]


def release(root: Path, training: int = 10, test: int = 3) -> Path:
    for folder, count in (("NCT-CRC-HE-100K", training), ("CRC-VAL-HE-7K", test)):
        touch(root, *(f"{folder}/{name}/{name}-{index}.tif" for name in NAMES for index in range(count)))
    return root


def test_published_counts_add_up() -> None:
    totals = [sum(counts) for counts in zip(*_COUNTS.values(), strict=True)]
    assert totals == [100000, 7180]
    without = [total - part for total, part in zip(totals, _COUNTS["BACK"], strict=True)]
    assert without == [89434, 6333]  # the eight classes of SD-MAE


def test_7k_is_tested_and_validation_taken_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = nct_crc(release(tmp_path), counts=False)
    assert made["class_names"] == NAMES
    assert sizes(made) == [81, 9, 27]
    assert all(item["image"].startswith("CRC-VAL-HE-7K/") for item in made["test"])
    assert by_image(made)["NCT-CRC-HE-100K/STR/STR-4.tif"]["label"] == 7
    assert "The tiles name no slide" in capsys.readouterr().out
    eight = nct_crc(tmp_path, counts=False, drop_background=True)
    assert eight["class_names"] == [name for name in NAMES if name != "BACK"]
    assert sizes(eight) == [72, 8, 24]
    assert by_image(eight)["NCT-CRC-HE-100K/STR/STR-4.tif"]["label"] == 6
    paper = nct_crc(tmp_path, counts=False, parity=True)
    assert paper["parity"]
    assert paper["validation"] == paper["test"]
    assert len(paper["training"]) == 90


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    with pytest.raises(InputError, match=r"NCT-CRC-HE-100K/ADI holds 10 tiles, expected 10407, .* and 15 more; unpack"):
        nct_crc(tmp_path)
    with pytest.raises(InputError, match="holds CRC-VAL-HE-7K, NCT-CRC-HE-100K; expected the folder NONORM"):
        nct_crc(tmp_path, training="NONORM")
    touch(tmp_path, "CRC-VAL-HE-7K/tumor/x.tif")
    with pytest.raises(InputError, match=r"holds the folders ADI, .*, tumor; expected ADI, BACK"):
        nct_crc(tmp_path, counts=False)
    assert not (tmp_path / "datalist.json").exists()
