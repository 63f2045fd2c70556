"""Blocks of the picture cache: whole or not there."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data import image_blocks
from bundle_runtime.data.image_blocks import (
    BlockBuilder,
    Facts,
    Stamp,
    digest,
    look,
    read_contents,
    read_stamped,
    sweep,
    write_block,
)
from bundle_runtime.data.image_file import read_picture
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.data.verify import edges
from bundle_runtime.data.verify_pictures import look_of
from custom_components.errors import InputError
from picture_files import dicom, png, shades

PIXELS = np.arange(3 * 16, dtype=np.uint8).reshape(3, 1, 4, 4)
NAMES = ["aa", "bb", "cc"]
ROWS = {name: Facts("8-bit grey", 4, 4, False, "", "", "", f"{k} {name}") for k, name in enumerate(NAMES)}
FILES = {f"/data/{name}.png": Stamp(10 + k, 20 + k, name) for k, name in enumerate(ROWS)}


def test_a_block_comes_back(tmp_path: Path) -> None:
    write_block(tmp_path, PIXELS, ROWS, FILES)
    contents = read_contents(tmp_path)
    assert contents.rows == {"aa": (0, 0), "bb": (0, 1), "cc": (0, 2)}
    assert contents.files == {(file, stamp.size, stamp.mtime_ns): stamp.digest for file, stamp in FILES.items()}
    assert contents.facts == ROWS
    mapped = np.load(contents.blocks[0], mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, PIXELS)


def test_the_same_block_written_twice_is_one(tmp_path: Path) -> None:
    """Two runs that start together may build the same block; neither may spoil the other's."""
    for _ in range(2):
        write_block(tmp_path, PIXELS, ROWS, FILES)
    assert len(list(tmp_path.iterdir())) == 2


def test_pixels_without_a_list_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill between the two files leaves, and what one in the middle of a file leaves."""
    original = image_blocks.write_atomically

    def killed(path: Path, data: str | bytes) -> Path:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        return original(path, data)

    monkeypatch.setattr(image_blocks, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        write_block(tmp_path, PIXELS, ROWS, FILES)
    (tmp_path / ".block-1.npy.x8s").write_bytes(b"half")
    assert len(list(tmp_path.glob("*.npy"))) == 1
    contents = read_contents(tmp_path)
    assert not contents.blocks
    assert not contents.files


@pytest.mark.parametrize("damage", ["cut", "gone", "list", "keys", "empty"])
def test_a_broken_block_is_left_out(tmp_path: Path, damage: str) -> None:
    write_block(tmp_path, PIXELS, ROWS, FILES)
    first, *_ = tmp_path.glob("*.npy")
    write_block(tmp_path, PIXELS[:1] + 1, {"dd": ROWS["aa"]}, {"/data/dd.png": Stamp(1, 2, "dd")})
    if damage == "cut":
        first.write_bytes(first.read_bytes()[:-1])
    elif damage == "gone":
        first.unlink()
    elif damage == "list":
        first.with_suffix(".json").write_text('{"rows": ["aa"')
    else:
        first.with_suffix(".json").write_text('{"rows": ["aa"]}' if damage == "keys" else "")
    with pytest.warns(UserWarning, match=f"{first.stem}.json is not whole and its pictures are made anew"):
        contents = read_contents(tmp_path)
    assert contents.rows == {"dd": (0, 0)}
    assert list(contents.files.values()) == ["dd"]


def test_a_list_of_moved_files_needs_its_block(tmp_path: Path) -> None:
    write_block(tmp_path, PIXELS, ROWS, FILES)
    write_block(tmp_path, np.empty(0, np.uint8), {}, {"/new/aa.png": Stamp(10, 99, "aa")})
    assert read_contents(tmp_path).files[("/new/aa.png", 10, 99)] == "aa"
    assert len(read_contents(tmp_path).blocks) == 1
    block = next(tmp_path.glob("*.npy"))
    block.with_suffix(".json").unlink()
    assert not read_contents(tmp_path).files


def test_sweeping_spares_what_is_new_or_whole(tmp_path: Path) -> None:
    write_block(tmp_path, PIXELS, ROWS, FILES)
    left = [tmp_path / ".block-1.npy.abc", tmp_path / "block-2.npy", tmp_path / ".block-3.json.d"]
    fresh = tmp_path / ".block-4.npy.abc"
    for path in [*left, fresh]:
        path.write_bytes(b"x")
    before = time.time() - 3600
    for path in [*left, *tmp_path.glob("block-*")]:
        os.utime(path, (before, before))
    sweep(tmp_path)
    assert not any(path.exists() for path in left)
    assert fresh.exists()
    assert len(read_contents(tmp_path).rows) == 3


def test_building_a_block(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    good = [str(png(tmp_path / f"{k}.png", shades(seed=k))) for k in range(3)]
    copy = str(png(tmp_path / "copy.png", shades(seed=1)))
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(good[0]).read_bytes()[:200])
    files = [good[0], str(cut), *good[1:], copy, str(tmp_path / "none.png")]
    recipe = Recipe(16)
    outcome = BlockBuilder(recipe, folder, [[], files])[1]
    assert outcome.looked_at == 6
    assert outcome.failure is None
    assert [reject.file for reject in outcome.rejects] == [str(cut), str(tmp_path / "none.png")]
    assert "truncated" in outcome.rejects[0].reason
    assert "does not exist" in outcome.rejects[1].reason
    assert outcome.patients == {}
    contents = read_contents(folder)
    assert len(contents.rows) == 3  # the copy shares the row of its original
    assert len(contents.files) == 4
    pixels = np.load(contents.blocks[0])
    for k, file in enumerate(good):
        _, row = contents.rows[contents.files[(file, *look(file))]]
        np.testing.assert_array_equal(pixels[row], recipe.apply(shades(seed=k)[None]))


def test_a_known_content_is_noted_and_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    files = [str(png(tmp_path / f"{k}.png", shades(seed=k))) for k in range(2)]
    known = digest(Path(files[0]).read_bytes())
    BlockBuilder(Recipe(16), tmp_path / "cache", [files], [known])[0]
    listed = json.loads(next((tmp_path / "cache").glob("*.json")).read_text())
    assert listed["rows"] == [digest(Path(files[1]).read_bytes())]
    assert [stamp[2] for stamp in listed["files"].values()] == [known, *listed["rows"]]


def test_what_was_decoded_is_described_without_the_patient(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    file = dicom(tmp_path / "a.dcm", shades().astype(np.uint16), ViewPosition="LL")
    outcome = BlockBuilder(Recipe(16), tmp_path / "cache", [[str(file)]])[0]
    ((name, facts),) = read_contents(tmp_path / "cache").facts.items()
    look = look_of(read_picture(str(file)).pixels)
    assert facts == Facts("DICOM CR", 40, 50, False, "CR", "LL", look, edges(file.read_bytes()))
    assert outcome.patients == {name: "P7"}
    assert "P7" not in next((tmp_path / "cache").glob("*.json")).read_text()
    assert facts.seen("P7")[1:] == ("DICOM CR", 40, 50, b"", False, "P7", "CR", "LL", b"", (), look)


def test_a_failed_write_is_reported_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: str | bytes) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_blocks, "write_atomically", full)
    folder = tmp_path / "cache"
    folder.mkdir()
    outcome = BlockBuilder(Recipe(16), folder, [[str(png(tmp_path / "a.png"))]])[0]
    assert outcome.failure == (28, "No space left on device")
    assert not list(folder.iterdir())


def test_the_stamp_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    stamp, content = read_stamped(str(path))
    assert content == b"abc"
    assert (stamp.size, stamp.mtime_ns) == look(str(path)) == (3, path.stat().st_mtime_ns)
    assert stamp.digest == digest(b"abc") != digest(b"abd")
    assert look(str(tmp_path / "none")) == (-1, -1)
    with pytest.raises(InputError, match="does not exist"):
        read_stamped(str(tmp_path / "none"))


def test_the_list_is_plain_json(tmp_path: Path) -> None:
    write_block(tmp_path, PIXELS, ROWS, FILES)
    listed = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert listed["rows"] == NAMES
    assert listed["facts"][0] == ["8-bit grey", 4, 4, False, "", "", "", "0 aa"]
    assert listed["files"]["/data/aa.png"] == [10, 20, "aa"]
    assert listed["bytes"] == next(tmp_path.glob("*.npy")).stat().st_size


def test_an_error_that_nobody_foresaw_is_the_failure_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(png(tmp_path / f"{k}.png", shades(seed=k))) for k in range(3)]
    read = image_blocks.read_picture

    def break_on_the_second(path: str, content: bytes) -> Any:
        if path == files[1]:
            raise RuntimeError("codec: marker 0xFFB7\nsecond line")
        return read(path, content)

    monkeypatch.setattr(image_blocks, "read_picture", break_on_the_second)
    outcome = BlockBuilder(Recipe(16), tmp_path / "cache", [files])[0]
    assert [reject.file for reject in outcome.rejects] == [files[1]]
    assert "it could not be read (" in outcome.rejects[0].reason
    assert len(read_contents(tmp_path / "cache").rows) == 2
