import gzip
from pathlib import Path

import numpy as np
import pytest
from head_files import REGION_NAMES, SEQUENCES, head
from nifti_files import NAMES, only, pair, problems, save

from bundle_runtime.check.check_case import inspect_item
from bundle_runtime.check.check_report import Expected


def test_a_good_item_has_no_problem_and_is_described(tmp_path: Path) -> None:
    report = inspect_item(pair(tmp_path), Expected(class_names=tuple(NAMES)), with_planes=True, section="training")
    assert report.problems == []
    assert (report.shape, report.spacing, report.orientation) == ((12, 10, 8), (2.0, 2.0, 3.0), "RAS")
    assert report.voxels == {0: 832, 1: 64, 2: 64}
    assert [plane[0].shape for plane in report.planes] == [(8, 10), (8, 12), (10, 12)]
    assert [plane[2] for plane in report.planes] == [1.5, 1.5, 1.0]
    assert report.columns() == ("12x10x8", "2 2 3", "RAS", report.columns()[3], "0-2", "ok")


@pytest.mark.parametrize("key", ["image", "label"])
def test_a_missing_file(tmp_path: Path, key: str) -> None:
    item = pair(tmp_path)
    Path(item[key]).unlink()
    only(item, "error", r"a\.nii\.gz: the file does not exist; .*dataset_dir")


@pytest.mark.parametrize("kept", [0, 1, 40, 300, -1])
@pytest.mark.parametrize("key", ["image", "label"])
def test_a_truncated_file(tmp_path: Path, key: str, kept: int) -> None:
    item = pair(tmp_path)
    content = Path(item[key]).read_bytes()
    Path(item[key]).write_bytes(content[: min(kept, len(content) - 20) if kept >= 0 else -1])
    only(item, "error", r"a\.nii\.gz: is (truncated or damaged|not a readable NIfTI file)")


def test_truncated_before_compression_and_flipped_bits(tmp_path: Path) -> None:
    plain = gzip.decompress(save(tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "short.nii").write_bytes(plain[:-100])
    (tmp_path / "short.nii.gz").write_bytes(gzip.compress(plain[:-100]))
    flipped = bytearray((tmp_path / "a.nii.gz").read_bytes())
    flipped[-6] ^= 255  # the checksum: voxels read well, but are not what was written
    (tmp_path / "flipped.nii.gz").write_bytes(flipped)
    for name in ("short.nii", "short.nii.gz", "flipped.nii.gz"):
        file = str(tmp_path / name)
        only({"image": file, "file": file, "case": "a"}, "error", rf"{name}: is truncated or damaged")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.nii.gz", b"not a NIfTI file at all" * 30, "not a readable NIfTI|damaged"),
        ("a.png", b"\x89PNG....", "not a readable NIfTI"),
        ("folder", None, "is a folder"),
    ],
)
def test_something_else_than_nifti(tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    only({"image": str(path), "file": str(path), "case": "a"}, "error", f"{name}: .*({sentence})")


def test_two_dimensions_and_rgb(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for data, sentence in ((np.ones((5, 5), np.int16), r"has shape \(5, 5\), expected a 3-D volume"), (rgb, "RGB")):
        file = str(save(tmp_path / "a.nii", data))
        only({"image": file, "file": file, "case": "a"}, "error", sentence)


def test_a_volume_smaller_than_the_roi_is_said_to_be_padded(tmp_path: Path) -> None:
    item = pair(tmp_path)
    sentence = r"is \(12, 10, 12\) voxels at 2 x 2 x 2 mm, smaller than the ROI \(12, 12, 12\): it will be padded"
    only(item, "warning", sentence, roi_size=(12, 12, 12), spacing=(2, 2, 2))
    assert problems(item, roi_size=(12, 10, 8)) == []


def test_a_good_head_is_described_by_its_tissues_and_first_wanted_sequence(tmp_path: Path) -> None:
    item = head(tmp_path, sequences=("t2", "t1ce", "t1", "flair"))
    wanted = Expected.of(REGION_NAMES, sequences=SEQUENCES, need_convention=True)
    report = inspect_item(item, wanted, with_planes=True)
    assert report.problems == []
    assert (report.channels, report.sequences) == (4, ["t2", "t1ce", "t1", "flair"])
    assert report.coarse is not None
    flair = inspect_item({**item, "image": item["image"][3], "sequences": ["flair"]}, with_planes=True)
    for plane, same in zip(report.planes, flair.planes, strict=True):
        assert np.array_equal(plane[0], same[0])  # FLAIR is shown, though its file is the last
        assert set(np.unique(plane[1])) <= {0, 1, 2, 3}  # outlines are of tissues, whatever the values of the file
    assert report.digest == flair.digest
    assert "coarse" not in report.to_dict()
