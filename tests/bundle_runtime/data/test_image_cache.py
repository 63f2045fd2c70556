"""The picture cache: built once, shared, resumed after a kill, refused when it does not fit."""

import dataclasses
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import launch
import numpy as np
import pytest
import torch
import torch.distributed as dist
from bundle_runtime.data import cache_folder, image_blocks, image_cache
from bundle_runtime.data.datalist import fingerprint
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_dataset import ImageDataset
from bundle_runtime.data.image_file import read_picture
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.data.record import Record, record_of
from custom_components.errors import InputError
from picture_files import dicom, png, shades
from PIL import Image

Item = dict[str, Any]


def make_items(folder: Path, count: int = 10, start: int = 0) -> list[Item]:
    names = [f"p{k:03d}" for k in range(start, start + count)]
    paths = [png(folder / f"{name}.png", shades(30 + k % 7, 40, seed=k)) for k, name in enumerate(names, start)]
    return [{"image": str(path), "file": str(path), "case": name} for path, name in zip(paths, names, strict=True)]


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    return make_items(tmp_path / "data")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files decoded in this process, in order."""
    seen: list[str] = []
    original = read_picture

    def noted(file: str, *arguments: Any) -> Any:
        seen.append(file)
        return original(file, *arguments)

    monkeypatch.setattr(image_blocks, "read_picture", noted)
    return seen


RECIPE = {field.name for field in dataclasses.fields(Recipe)}


def build(items: list[Item], folder: Path, **arguments: Any) -> ImageCache:
    settings = {"size": 16} | {name: arguments.pop(name) for name in list(arguments) if name in RECIPE}
    return ImageCache(items, folder, Recipe(**settings), **{"progress": False, **arguments})


def expected(items: list[Item], recipe: Recipe) -> np.ndarray:
    return np.stack([recipe.apply(read_picture(item["image"]).pixels) for item in items])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("settings", [{}, {"channels": 3, "equalise": "none", "fit": "crop"}])
def test_rows_are_the_prepared_pictures(
    tmp_path: Path, items: list[Item], settings: dict[str, Any], workers: int
) -> None:
    cache = build(items, tmp_path / "c", num_workers=workers, **settings)
    recipe = Recipe(16, **settings)
    assert len(cache) == 10
    assert cache.items == items
    assert cache.shape == (recipe.channels, 16, 16)
    rows = cache.rows([3, 0, 3, 9])
    assert rows.dtype == torch.uint8
    np.testing.assert_array_equal(rows.numpy(), expected(items, recipe)[[3, 0, 3, 9]])
    for indices in (torch.tensor([1, 2]), np.array([1, 2]), range(1, 3)):
        np.testing.assert_array_equal(cache.rows(indices), expected(items, recipe)[1:3])
    assert cache.rows([]).shape == (0, recipe.channels, 16, 16)
    with pytest.raises(IndexError):
        cache.rows([10])


def test_rows_may_be_written_into(tmp_path: Path, items: list[Item]) -> None:
    cache = build(items, tmp_path / "c")
    before = cache.rows(range(10)).clone()
    cache.rows(range(10)).zero_()
    assert torch.equal(cache.rows(range(10)), before)


def test_a_second_run_decodes_nothing(tmp_path: Path, items: list[Item], decoded: list[str]) -> None:
    first = build(items, tmp_path / "c")
    assert len(decoded) == 10
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()}
    turned = build(items[::-1], tmp_path / "c", num_workers=2)
    part = build(items[4:7], tmp_path / "c")
    assert len(decoded) == 10
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c").iterdir()} == files
    assert torch.equal(turned.rows(range(10)), first.rows(range(9, -1, -1)))
    assert torch.equal(part.rows(range(3)), first.rows([4, 5, 6]))


def test_new_files_are_added_without_decoding_the_others(tmp_path: Path, items: list[Item], decoded: list[str]) -> None:
    build(items, tmp_path / "c")
    more = make_items(tmp_path / "data", 4, start=10)
    decoded.clear()
    both = [more[0], *items[:5], *more[1:], *items[5:]]
    cache = build(both, tmp_path / "c")
    assert sorted(decoded) == [item["image"] for item in more]
    np.testing.assert_array_equal(cache.rows(range(14)), expected(both, Recipe(16)))


def test_a_moved_or_touched_file_is_known_by_its_content(tmp_path: Path, items: list[Item], decoded: list[str]) -> None:
    before = build(items, tmp_path / "c").rows(range(10))
    decoded.clear()
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")  # new times, another path
    moved = [{**item, "image": item["image"].replace("/data/", "/elsewhere/")} for item in items]
    assert torch.equal(build(moved, tmp_path / "c").rows(range(10)), before)
    os.utime(items[2]["image"], ns=(1, 1))
    assert torch.equal(build(items, tmp_path / "c").rows(range(10)), before)
    assert not decoded
    reads: list[str] = []
    with pytest.MonkeyPatch.context() as patch:  # noted under the new name: not even read again
        patch.setattr(image_blocks, "read_stamped", lambda file: reads.append(file))
        build(moved, tmp_path / "c")
        build(items, tmp_path / "c")
    assert not reads


def test_a_changed_file_is_decoded_again(tmp_path: Path, items: list[Item], decoded: list[str]) -> None:
    build(items, tmp_path / "c")
    for seed in (50, 51, 50):  # back to an earlier content as well
        png(Path(items[4]["image"]), shades(34, 40, seed=seed))
        cache = build(items, tmp_path / "c")
        np.testing.assert_array_equal(cache.rows(range(10)), expected(items, Recipe(16)))
    assert decoded[10:] == [items[4]["image"]] * 2


def test_a_changed_file_of_the_same_size_and_another_time_shows(tmp_path: Path) -> None:
    """Uncompressed formats: every file has the same size."""
    paths = [png(tmp_path / f"{k}.bmp", shades(seed=k)) for k in range(2)]
    items = [{"image": str(path)} for path in paths]
    build(items, tmp_path / "c")
    paths[0].write_bytes(png(tmp_path / "new.bmp", shades(seed=9)).read_bytes())
    os.utime(paths[0], ns=(5, 5))
    cache = build(items, tmp_path / "c")
    np.testing.assert_array_equal(cache.rows(range(2)), expected(items, Recipe(16)))


def test_copies_share_a_row_and_a_digest(tmp_path: Path, items: list[Item]) -> None:
    twin = png(tmp_path / "twin.png", shades(30, 40, seed=0))
    assert twin.read_bytes() == Path(items[0]["image"]).read_bytes()
    cache = build([*items, {"image": str(twin)}, items[0]], tmp_path / "c")
    assert len(cache) == 12
    assert cache.digests[0] == cache.digests[10] == cache.digests[11]
    assert len(set(cache.digests.tolist())) == 10
    np.testing.assert_array_equal(cache.rows([10, 11]), cache.rows([0, 0]))


def test_other_settings_are_refused_with_the_difference(tmp_path: Path, items: list[Item]) -> None:
    build(items, tmp_path / "c", equalise="hist")
    before = sorted((tmp_path / "c").iterdir())
    wanted = {"size": 20, "equalise": "none", "order": "resize_first"}
    with pytest.raises(InputError) as caught:
        build(items, tmp_path / "c", **wanted)
    text = str(caught.value)
    assert "(size: 16 there, 20 here; equalise: hist there, none here; order: equalise_first there, unset here)" in text
    assert "--cache <another folder>" in text
    assert sorted((tmp_path / "c").iterdir()) == before
    with pytest.raises(InputError, match=r"channels: 1 there, 3 here\)"):
        build(items, tmp_path / "c", channels=3)
    build(items, tmp_path / "c", clip_limit=0.5)  # of no effect on "hist"
    noted = tmp_path / "c" / "settings.json"
    noted.write_text(re.sub(r'"format": \d+', '"format": 1', noted.read_text()))
    with pytest.raises(InputError, match=r"c was made by another version of this program; remove it, or name another"):
        build(items, tmp_path / "c")
    noted.write_text("{")
    with pytest.raises(InputError, match=r"settings\.json is damaged"):
        build(items, tmp_path / "c")


def spoil(items: list[Item], *positions: int) -> None:
    for position in positions:
        path = Path(items[position]["image"])
        path.write_bytes(path.read_bytes()[:150])


def test_all_unreadable_files_are_named_before_training(tmp_path: Path, items: list[Item], decoded: list[str]) -> None:
    spoil(items, 2, 7)
    Path(items[5]["image"]).unlink()
    with pytest.raises(InputError) as caught:
        build(items, tmp_path / "c")
    text = str(caught.value)
    assert text.startswith("3 of 10 pictures cannot be used: ")
    assert all(items[k]["image"] in text for k in (2, 5, 7))
    assert "truncated" in text
    assert "does not exist" in text
    assert "go on without them: --skip_unreadable true" in text
    rejects = json.loads((tmp_path / "c" / "rejects.json").read_text())
    assert list(rejects) == [items[k]["image"] for k in (2, 5, 7)]
    # What was good is kept, and a repaired file is taken up.
    for k in (2, 5, 7):
        png(Path(items[k]["image"]), shades(30, 40, seed=90 + k))
    decoded.clear()
    cache = build(items, tmp_path / "c")
    assert len(decoded) == 3
    np.testing.assert_array_equal(cache.rows(range(10)), expected(items, Recipe(16)))
    assert not (tmp_path / "c" / "rejects.json").exists()


def test_unreadable_files_are_left_out_on_request(
    tmp_path: Path, items: list[Item], capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    build(items, tmp_path / "c")
    spoil(items, 2, 7)  # cached before, and no longer to be used
    cache = build(items, tmp_path / "c", skip_unreadable=True)
    said = capsys.readouterr().out.strip()  # a warning would point into MONAI, which builds the cache
    assert re.fullmatch(
        r"cache: 2 of 10 pictures are left out, the first .*p002\.png: is .*; all are in .*rejects.json\.", said
    )
    assert not any("left out" in str(warning.message) for warning in recwarn)
    usable = [item for k, item in enumerate(items) if k not in (2, 7)]
    assert cache.items == usable
    assert [reject.file for reject in cache.rejects] == [items[2]["image"], items[7]["image"]]
    np.testing.assert_array_equal(cache.rows(range(8)), expected(usable, Recipe(16)))
    build(usable[:3], tmp_path / "c")  # another list does not wipe out what is known of this one
    assert len(json.loads((tmp_path / "c" / "rejects.json").read_text())) == 2


def test_a_list_without_a_usable_picture_is_refused(tmp_path: Path, items: list[Item]) -> None:
    spoil(items, *range(10))
    with pytest.raises(InputError, match=r"None of the 10 pictures .* can be used \(the first: .*p000\.png: is trunc"):
        build(items, tmp_path / "c", skip_unreadable=True)
    with pytest.raises(InputError, match="None of the 0 pictures"):
        build([], tmp_path / "c")
    with pytest.raises(InputError, match="takes one file an item"):
        build([{"image": ["a.png", "b.png"]}], tmp_path / "c")


def test_many_unreadable_files_are_counted(tmp_path: Path, items: list[Item]) -> None:
    spoil(items, *range(8))
    with pytest.raises(InputError, match=r"8 of 10 .*p004.*; and 3 more\. All are listed in"):
        build(items, tmp_path / "c", num_workers=2)


SCRIPT = """
import sys
from pathlib import Path
from bundle_runtime.data import image_cache
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_prepare import Recipe
if __name__ == "__main__":
    image_cache._BLOCK_ROWS = 5
    files = sorted(Path(sys.argv[1]).glob("*.png"))
    workers = int(sys.argv[3])
    ImageCache([{"image": str(file)} for file in files], sys.argv[2], Recipe(64, equalise="clahe"), num_workers=workers)
"""


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, decoded: list[str], workers: int) -> None:
    count = 80
    files = [png(tmp_path / "data" / f"{k:03d}.png", shades(300, 300, seed=k)) for k in range(count)]
    items = [{"image": str(file)} for file in files]
    folder = tmp_path / "c"
    (tmp_path / "build.py").write_text(SCRIPT)
    process = launch.start(tmp_path / "build.py", tmp_path / "data", folder, workers, cwd=tmp_path)
    wait_for(lambda: len(list(folder.glob("block-*.json"))) >= 3)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= workers
    process.kill()
    process.join()
    wait_for(lambda: not any(Path("/proc", child).exists() for child in children))  # workers end by themselves
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("block-*.json")}
    done = len(image_blocks.read_contents(folder).rows)
    assert 15 <= done < count
    cache = build(items, folder, size=64, equalise="clahe")
    assert len(decoded) == count - done
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in finished.items())
    np.testing.assert_array_equal(cache.rows(range(count)), expected(items, Recipe(64, equalise="clahe")))


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_a_full_disk_is_noticed_before_the_start(
    tmp_path: Path, items: list[Item], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_folder.shutil, "disk_usage", lambda path: SimpleNamespace(free=5000))
    text = r"c is too full: .* needs 8960 bytes \(0\.00 GB\), 5000 bytes \(0\.00 GB\) are free; free some space"
    with pytest.raises(InputError, match=text):
        build(items, tmp_path / "c")
    assert not decoded
    monkeypatch.undo()
    build(items, tmp_path / "c")


def test_a_disk_that_fills_up_meanwhile(tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    original = image_blocks.write_atomically
    written: list[Path] = []

    def filling(path: Path, data: str | bytes) -> Path:
        if len(written) >= 4:
            raise OSError(28, "No space left on device")
        written.append(path)
        return original(path, data)

    monkeypatch.setattr(image_blocks, "write_atomically", filling)
    monkeypatch.setattr(image_cache, "_BLOCK_ROWS", 2)
    with pytest.raises(InputError, match=r"is too full: .* needs 5376 bytes"):  # six of ten are missing
        build(items, tmp_path / "c")
    assert sorted(path for path in (tmp_path / "c").iterdir() if path.name.startswith(("block", ".block"))) == sorted(
        written
    )
    monkeypatch.undo()
    cache = build(items, tmp_path / "c")
    np.testing.assert_array_equal(cache.rows(range(10)), expected(items, Recipe(16)))


def test_a_folder_that_cannot_be_one(tmp_path: Path, items: list[Item]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file/c cannot be used \(Not a directory\); name one that can be written"):
        build(items, tmp_path / "file" / "c")


def test_what_is_decoded_is_verified_and_said_at_every_start(
    tmp_path: Path, items: list[Item], capsys: pytest.CaptureFixture[str]
) -> None:
    png(Path(items[1]["image"]), shades(20, 40))
    png(Path(items[2]["image"]), shades(40, 40).astype(np.uint16) * 200)
    listed = [{**item, "section": "training", "patient_id": item["case"]} for item in items]
    for _ in range(2):  # decoded, then found in the cache
        build(listed, tmp_path / "c")
        said = capsys.readouterr().err
        assert f"warning: {items[0]['image']}: is only 30x40 pixels, smaller than 32, as 4 picture(s) of train" in said
        assert f"{items[2]['image']}: holds 16-bit grey and is converted to 8-bit grey or RGB, as 1 pict" in said
    png(Path(items[3]["image"]), shades(9, 40))
    with pytest.raises(InputError, match=r"p003\.png: is only 9x40 pixels, smaller than one patch of 16; remove it"):
        build(listed, tmp_path / "c")
    assert len(build(listed, tmp_path / "c", skip_unreadable=True)) == 10


def test_the_fingerprint_needs_no_file_again(tmp_path: Path, items: list[Item]) -> None:
    listed = [{**item, "unlabelled": []} for item in items]
    expected = fingerprint(listed)
    for _ in range(2):
        cache = build(listed, tmp_path / "c")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("builtins.open", lambda *_: pytest.fail("opened"))
            assert fingerprint(listed, cache) == expected
    Path(items[0]["image"]).unlink()
    assert fingerprint(listed, build(listed, tmp_path / "c", skip_unreadable=True)) != expected


def test_dicom_files_and_pictures_go_together(tmp_path: Path) -> None:
    stored = (shades().astype(np.uint16) * 16).astype(np.uint16)
    items = [{"image": str(dicom(tmp_path / "a.dcm", stored))}, {"image": str(png(tmp_path / "b.png"))}]
    cache = build(items, tmp_path / "c", equalise="none")
    difference = cache.rows([0])[0].int() - cache.rows([1])[0].int()
    assert difference.abs().float().mean() < 6  # the range of the DICOM file is stretched a little


def test_building_leaves_the_random_numbers_of_the_run_alone(tmp_path: Path, items: list[Item]) -> None:
    """Or a run would differ from its resumed self, which finds the cache ready."""
    torch.manual_seed(3)
    build(items, tmp_path / "c", num_workers=2)
    after = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(4))


def test_a_copy_for_another_process_is_small_and_reads_alike(tmp_path: Path, items: list[Item]) -> None:
    cache = build(items, tmp_path / "c")
    rows = cache.rows(range(10))
    data = pickle.dumps(cache)
    assert len(data) < 5000  # neither pixels nor maps
    assert torch.equal(pickle.loads(data).rows(range(10)), rows)


SPAWNED = """
import sys
import torch.multiprocessing as mp
from pathlib import Path
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_prepare import Recipe
if __name__ == "__main__":
    mp.set_start_method("spawn")
    files = sorted(Path(sys.argv[1]).glob("*.png"))
    cache = ImageCache([{"image": str(file)} for file in files], sys.argv[2], Recipe(16), num_workers=1, progress=False)
    print(cache.rows(range(len(cache))).sum().item())
"""


@pytest.mark.slow
def test_workers_may_be_spawned(tmp_path: Path, items: list[Item]) -> None:
    script = tmp_path / "script.py"
    script.write_text(SPAWNED)
    command = [sys.executable, str(script), str(tmp_path / "data"), str(tmp_path / "c")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert int(result.stdout) == expected(items, Recipe(16)).sum()


def _rank(rank: int, folder: str, count: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    sys.path.insert(0, str(Path(__file__).parent))
    seen: list[str] = []
    original: Callable[..., Any] = read_picture
    image_blocks.read_picture = lambda file, content: (seen.append(file), original(file, content))[1]
    files = sorted(Path(folder, "data").glob("*.png"))
    cache = build([{"image": str(file)} for file in files], Path(folder, "c"))
    torch.save((len(seen), cache.rows(range(count))), f"{folder}/rank_{rank}.pt")
    dist.destroy_process_group()


def test_the_main_process_builds_and_the_others_wait(tmp_path: Path, items: list[Item]) -> None:
    launch.together(_rank, str(tmp_path), len(items))
    counts, rows = zip(*(torch.load(tmp_path / f"rank_{rank}.pt") for rank in (0, 1)), strict=True)
    assert counts == (10, 0)
    assert torch.equal(*rows)
    np.testing.assert_array_equal(rows[0], expected(items, Recipe(16)))


def test_pictures_are_compared_with_those_of_the_training(tmp_path: Path, items: list[Item]) -> None:
    """What the training's cache saw goes into the record; a later cache says how its own pictures differ."""
    for position, item in enumerate(items):
        png(Path(item["image"]), np.clip(shades(30, 40, seed=1) // 2 + 60 + position, 0, 255).astype(np.uint8))
    labelled = [{**item, "patient_id": item["case"], "label": number % 2} for number, item in enumerate(items)]
    trained = build(labelled, tmp_path / "c")
    record = record_of(ImageDataset(trained, ["a", "b"], "multi_class"), ["a", "b"])
    record = Record.of_plain(json.loads(json.dumps(record.to_plain())))
    usual = np.asarray(Image.open(items[0]["image"]))
    looks = {"same": usual, "exchanged": 255 - usual, "dark": usual // 16}
    new = []
    for name, values in looks.items():
        new.append({"image": str(png(tmp_path / "new" / f"{name}.png", values)), "case": name})
    for _ in range(2):  # decoded, then found in the cache
        found = {item["case"]: item["warning"] for item in build(new, tmp_path / "n", record=record).items}
        assert found["same"] == ""
        assert "are black and white exchanged" in found["exchanged"]
        assert "is its window right?" in found["dark"]
