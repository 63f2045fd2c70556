from pathlib import Path

import h5py
import numpy as np
import pytest
from custom_components.errors import InputError
from mae_tools.sources.pcam import pcam
from picture_trees import by_image, sizes
from PIL import Image

COUNTS = {"train": 7, "valid": 3, "test": 4}


def release(root: Path, slides: bool = True) -> dict[str, np.ndarray]:
    tiles = {}
    for number, (word, count) in enumerate(COUNTS.items()):
        rng = np.random.default_rng(number)
        tiles[word] = rng.integers(0, 256, (count, 96, 96, 3), np.uint8)
        stem = f"{root}/camelyonpatch_level_2_split_{word}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = tiles[word]
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(count) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)
        if slides:
            rows = "".join(f"{i},1,2,False,False,{word}_{i // 2}\n" for i in range(count))
            Path(f"{stem}_meta.csv").write_text(f",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n{rows}")
    return tiles


def test_tiles_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = release(tmp_path)
    monkeypatch.setitem(pcam.__globals__, "_BLOCK", 2)
    made = pcam(tmp_path, counts=False)
    assert sizes(made) == [7, 3, 4]
    item = by_image(made)["tiles/train/000/000005.png"]
    assert (item["label"], item["patient_id"]) == (1, "train_2")
    for row in range(7):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"tiles/train/000/{row:06d}.png")), tiles["train"][row])
    (tmp_path / "tiles/train/000/000003.png").unlink()  # as after an interruption
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.png")}
    assert pcam(tmp_path, counts=False) == made
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in before.items())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "tiles/train/000/000003.png")), tiles["train"][3])


def test_without_slides_and_with_a_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = release(tmp_path, slides=False)
    made = pcam(tmp_path, counts=False, limit=3, tiles=tmp_path / "elsewhere")
    assert sizes(made) == [3, 3, 3]
    assert [Path(item["image"]).stem for item in made["training"]] == ["000000", "000002", "000004"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "elsewhere/train/000/000004.png")), tiles["train"][4])
    assert made["training"][1]["patient_id"] == "train_000002"
    assert "every tile counts as a patient of its own" in capsys.readouterr().out


def test_parity_lets_the_test_list_select(tmp_path: Path) -> None:
    release(tmp_path)
    made = pcam(tmp_path, counts=False, parity=True)
    assert sizes(made) == [10, 4, 4]


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    stem = f"{tmp_path}/camelyonpatch_level_2_split_"
    with pytest.raises(InputError, match=r"train_x\.h5: holds 7 tiles, expected 262144; pass --counts false"):
        pcam(tmp_path)
    Path(f"{stem}valid_meta.csv").write_text("wsi\na\n")
    with pytest.raises(InputError, match=r"valid_meta\.csv: names 1 slides for 3 tiles"):
        pcam(tmp_path, counts=False)
    rows = "".join(f"train_{index}\n" for index in range(3))
    Path(f"{stem}valid_meta.csv").write_text(f"wsi\n{rows}")
    with pytest.raises(InputError, match=r"3 patient.* are in several of the given lists"):
        pcam(tmp_path, counts=False)
    assert sizes(pcam(tmp_path, counts=False, crossing="drop")) == [1, 3, 4]
    with h5py.File(f"{stem}valid_y.h5", "w") as file:
        file["y"] = np.array([0, 1], np.uint8)
    with pytest.raises(InputError, match=r"valid_x\.h5: holds 3 tiles, and the y file 2 labels"):
        pcam(tmp_path, counts=False)
    Path(f"{stem}valid_y.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"valid_y\.h5: cannot be read as HDF5"):
        pcam(tmp_path, counts=False)
    Path(f"{stem}valid_y.h5").rename(f"{stem}valid_y.h5.gz")
    with pytest.raises(InputError, match=r"valid_y\.h5: there is no such file; unpack the \.gz file"):
        pcam(tmp_path, counts=False)
