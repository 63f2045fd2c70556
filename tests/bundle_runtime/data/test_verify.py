"""Findings: kept, printed, refused; what a fingerprint takes of a file."""

from pathlib import Path

import launch
import numpy as np
import pytest
import torch
from bundle_runtime.data.datalist import fingerprint
from bundle_runtime.data.dataset import PreparedDataset
from bundle_runtime.data.load_picture import LoadPictured
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.verify import (
    EDGE_BYTES,
    Found,
    ItemInputError,
    Problem,
    edges,
    millimetres,
    refuse,
    show,
    unusable,
)
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from nifti_files import NAMES, label, pair, save
from picture_files import png, shades
from torch.utils.data import DataLoader, Dataset


def finding(*levels: str) -> Found:
    found = Found("training", "p1", "a.png", voxels={0: 3}, edges={"a.png": "3 ab"}, facts={"seen": ["", "RGB", 2, 3]})
    for number, level in enumerate(levels):
        found.add(level, "a.png", f"is wrong {number}")
    return found


def test_what_was_found_survives_a_cache() -> None:
    found = finding("warning", "error")
    assert Found.of_plain(found.to_plain()) == found
    assert found.failed
    assert not finding("warning").failed


def test_errors_are_counted_and_the_first_is_told() -> None:
    refuse(finding("warning").problems)
    with pytest.raises(InputError, match=r"^list\.json: 2 error\(s\) in .*, the first: a\.png: is wrong 1 \(see x\)"):
        refuse(finding("warning", "error", "error").problems, "see x", Path("list.json"))


def test_errors_are_printed_before_warnings_and_not_all(capsys: pytest.CaptureFixture[str]) -> None:
    show(finding(*["warning"] * 50, "error").problems)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: a.png: is wrong 50"
    assert len(lines) == 41
    assert lines[-1] == "note: 11 more, python -m mae_tools check shows them all"


class Broken(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> object:
        raise unusable(finding("error", "error"))


def test_an_unusable_item_names_its_first_error_also_from_a_worker() -> None:
    error = unusable(finding("warning", "error", "error"))
    assert str(error) == "a.png: is wrong 1 (and 1 more); python -m mae_tools check shows all such files."
    assert [problem.message for problem in error.problems] == ["is wrong 1", "is wrong 2"]
    with pytest.raises(ItemInputError, match=r"InputError: a\.png: is wrong 0 \(and 1 more\)"):
        list(DataLoader(Broken(), num_workers=1))


@given(st.integers(0, 3 * EDGE_BYTES))
def test_the_ends_of_a_content_are_those_of_its_file(size: int) -> None:
    import tempfile

    content = (bytes(range(251)) * (size // 251 + 1))[:size]

    class Read:
        def edges(self, file: str) -> str:
            return edges(content)

    with tempfile.NamedTemporaryFile(suffix=".png") as stream:
        stream.write(content)
        stream.flush()
        item = {"image": stream.name, "unlabelled": []}
        assert fingerprint([item]) == fingerprint([item], Read())


def test_problems_without_a_file_are_sentences_of_their_own() -> None:
    assert str(Problem("training", "", "", "error", "every label is the same")) == "every label is the same"


def test_what_was_found_holds_no_numbers_of_numpy() -> None:
    """`torch.load` of plain values refuses them, and every start would fill the cache anew."""
    found = Found("training", "a", "a.nii.gz")
    found.facts["image"] = {"low": np.float64(0.5), np.int64(1): np.arange(2), "sizes": (np.int16(3),)}
    plain = found.to_plain()["facts"]["image"]
    assert plain == {"low": 0.5, 1: [0, 1], "sizes": [3]}
    assert {type(value) for value in (*plain, plain["low"], *plain[1], *plain["sizes"])} == {str, int, float}


def pairs(folder: Path, count: int = 3) -> list[dict]:
    return [{**pair(folder, f"c{number}", image={"seed": number}), "section": "training"} for number in range(count)]


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_the_pass_that_fills_a_cache_verifies(tmp_path: Path, cache: str, capsys: pytest.CaptureFixture[str]) -> None:
    items = pairs(tmp_path)
    place = str(tmp_path / "cache") if cache == "disk" else cache
    steps = [LoadVolumesd(class_names=NAMES, roi_size=11)]
    for _ in range(2):  # read, then found on the disk
        made = PreparedDataset(items, steps, place, progress=False)
        assert capsys.readouterr().err.count("smaller than the ROI (11, 11, 11): it will be padded") == 3
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("builtins.open", lambda *_: pytest.fail("opened"))
            print_of_all = fingerprint(items, made)
        assert print_of_all == fingerprint(items)
    save(Path(items[0]["label"]), label(1, 7))
    Path(items[2]["image"]).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(InputError, match=r"2 error\(s\) in the data, the first: .*c0\.nii\.gz: holds the value"):
            PreparedDataset(items, steps, place, progress=False)
        said = capsys.readouterr().err
        assert said.count("error: ") == 2
        assert "c2.nii.gz: is not a readable NIfTI file" in said


def test_what_the_masks_of_a_list_show_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["background", "nucleus"]
    items = []
    for number, kind in enumerate(("binary", "binary", "instance")):
        image = png(tmp_path / f"{number}.png", shades(40, 40, seed=number, channels=3))
        mask = png(tmp_path / f"{number}_m.png", np.zeros((40, 40), np.uint8))
        entry = {"image": str(image), "label": str(mask), "case": str(number), "file": str(image)}
        items.append({**entry, "mask_kind": kind, "section": "training"})
    with pytest.raises(InputError, match="class 'nucleus' occurs in no mask of training, so it cannot be learnt"):
        PreparedDataset(items, [LoadPictured(names)], "ram", progress=False)
    drawn = np.zeros((40, 40), np.uint8)
    drawn[4:9, 4:9] = 1
    png(tmp_path / "0_m.png", drawn)
    capsys.readouterr()
    made = PreparedDataset(items, [LoadPictured(names)], str(tmp_path / "cache"), progress=False)
    assert made[0]["label"].sum() == 25
    assert "is empty (no object is drawn), as 2 of 3 masks of training" in capsys.readouterr().err
    png(tmp_path / "1_m.png", drawn[:20])
    with pytest.raises(InputError, match=r"1_m\.png: is a mask of 20x40 pixels for a picture of 40x40"):
        PreparedDataset(items, [LoadPictured(names)], "ram", progress=False)


def _rank(rank: int, folder: str, items: list[dict]) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        PreparedDataset(items, [LoadVolumesd(class_names=NAMES)], f"{folder}/cache", progress=False)
        said = ""
    except InputError as error:
        said = str(error)
    (Path(folder) / f"said_{rank}").write_text(said)
    torch.distributed.destroy_process_group()


def test_all_processes_refuse_what_one_of_them_found(tmp_path: Path) -> None:
    items = pairs(tmp_path)
    save(Path(items[1]["label"]), label(7))  # the share of the second process
    launch.together(_rank, str(tmp_path), items)
    assert all("1 error(s)" in (tmp_path / f"said_{rank}").read_text() for rank in (0, 1))


def test_millimetres() -> None:
    assert millimetres((1.5, 1.5, 2)) == "1.5 x 1.5 x 2 mm"
