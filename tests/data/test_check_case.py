import gzip
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nifti_files import NAMES, label, pair, save

from custom_components.data.check_case import check_item, inspect_item


def only(item: dict[str, Any], level: str, sentence: str, **options: Any) -> None:
    """The item has exactly one problem, of this level, that names its file and matches the sentence."""
    problems = check_item(item, options.pop("class_names", NAMES), **options)
    assert [problem.level for problem in problems] == [level], problems
    assert re.search(sentence, str(problems[0])), str(problems[0])


def test_a_good_item_has_no_problem_and_is_described(tmp_path: Path) -> None:
    report = inspect_item(pair(tmp_path), NAMES, with_planes=True, section="training")
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


def test_four_dimensions_where_three_are_expected(tmp_path: Path) -> None:
    sentence = r"is 4-D, shape \(12, 10, 8, 3\), expected one 3-D volume \(1 channel\)"
    only(pair(tmp_path, image={"shape": (12, 10, 8, 3)}), "error", sentence)
    assert check_item(pair(tmp_path, image={"shape": (12, 10, 8, 1)}), NAMES) == []


def test_wrong_number_of_channels(tmp_path: Path) -> None:
    assert check_item(pair(tmp_path, image={"shape": (12, 10, 8, 4)}), NAMES, channels=4) == []
    item = pair(tmp_path, image={"shape": (12, 10, 8, 3)})
    only(item, "error", r"a\.nii\.gz: has shape \(12, 10, 8, 3\): 3 channel\(s\), expected 4", channels=4)
    item["image"] = [str(save(tmp_path / f"{name}.nii", seed=3)) for name in ("t1", "t2")]
    assert check_item(item, NAMES, channels=2) == []
    only(item, "error", "the 2 files of this item hold 2 channels, expected 4", channels=4)


def test_two_dimensions_and_rgb(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for data, sentence in ((np.ones((5, 5), np.int16), r"has shape \(5, 5\), expected a 3-D volume"), (rgb, "RGB")):
        file = str(save(tmp_path / "a.nii", data))
        only({"image": file, "file": file, "case": "a"}, "error", sentence)


def test_sequences_on_different_grids(tmp_path: Path) -> None:
    item = pair(tmp_path)
    item["image"] = [item["image"], str(save(tmp_path / "t2.nii", shape=(12, 10, 7)))]
    only(item, "error", r"t2\.nii: has shape \(12, 10, 7\) but the first image has \(12, 10, 8\)", channels=2)


def test_label_of_another_shape(tmp_path: Path) -> None:
    item = pair(tmp_path, data=label(1, 2, shape=(12, 10, 9)))
    only(item, "error", r"lab/a\.nii\.gz: has shape \(12, 10, 9\) but its image has \(12, 10, 8\)")


@pytest.mark.parametrize(("shift", "flip"), [(3.0, 1), (0.0, -1)])
def test_label_on_another_grid(tmp_path: Path, shift: float, flip: int) -> None:
    affine = np.diag([2.0 * flip, 2, 3, 1])
    affine[1, 3] = shift
    only(pair(tmp_path, affine=affine), "error", r"lab/a\.nii\.gz: lies up to .* voxels away from its image")


def test_rounding_in_the_affine_is_no_other_grid(tmp_path: Path) -> None:
    affine = np.diag([2.0 + 1e-5, 2, 3, 1])
    affine[0, 3] = 1e-3
    assert check_item(pair(tmp_path, affine=affine), NAMES) == []


@pytest.mark.parametrize(("value", "sentence"), [(3, r"value\(s\) 3, expected 0 to 2 \(3 class_names"), (-1, "-1")])
def test_label_value_outside_class_names(tmp_path: Path, value: int, sentence: str) -> None:
    only(pair(tmp_path, data=label(1, value, dtype=np.int16)), "error", sentence)


def test_labels_that_are_not_class_numbers(tmp_path: Path) -> None:
    only(pair(tmp_path, data=label(1, 2, dtype=np.float32) * 0.5), "error", r"not whole numbers \(0\.5\)")
    only(pair(tmp_path, data=np.full((12, 10, 8), np.nan, np.float32)), "error", "not whole numbers")
    only(pair(tmp_path, data=np.zeros((12, 10, 8, 3), np.uint8)), "error", "is 4-D, .*one 3-D map of class numbers")
    assert check_item(pair(tmp_path, data=label(1, 2, dtype=np.float32)), NAMES) == []


def test_an_all_background_label(tmp_path: Path) -> None:
    only(pair(tmp_path, data=label()), "error", r"lab/a\.nii\.gz: is background everywhere; draw")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_voxels(tmp_path: Path, value: float) -> None:
    data = np.ones((12, 10, 8), np.float32)
    data[0, 0, :3] = value
    only(pair(tmp_path, image={"data": data}), "error", r"img/a\.nii\.gz: holds 3 NaN or Inf voxels")


def test_a_volume_smaller_than_the_roi_is_said_to_be_padded(tmp_path: Path) -> None:
    item = pair(tmp_path)
    sentence = r"is \(12, 10, 12\) voxels at 2 x 2 x 2 mm, smaller than the ROI \(12, 12, 12\): it will be padded"
    only(item, "warning", sentence, roi_size=(12, 12, 12), spacing=(2, 2, 2))
    assert check_item(item, NAMES, roi_size=(12, 10, 8)) == []


def test_near_empty_foreground(tmp_path: Path) -> None:
    few = label(1)
    few[0, 0, :4] = 2
    only(pair(tmp_path, data=few), "warning", r"has only 4 voxel\(s\) of spleen")
    tiny = np.zeros((60, 60, 60), np.uint8)
    tiny[0, :2, :6] = 1
    item = pair(tmp_path, image={"shape": (60, 60, 60)}, data=tiny)
    only(item, "warning", "is nearly empty: 12 foreground voxels")


def test_a_class_drawn_although_declared_unlabelled(tmp_path: Path) -> None:
    item = {**pair(tmp_path), "unlabelled": ["spleen"]}
    only(item, "warning", "has 64 voxels of spleen, which the datalist declares unlabelled")


def test_bad_headers(tmp_path: Path) -> None:
    image = nib.load(save(tmp_path / "a.nii"))
    file = str(tmp_path / "b.nii")
    item = {"image": file, "file": file, "case": "b"}

    def header(**fields: Any) -> None:
        changed = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
        nib.save(changed, file)
        content = bytearray(Path(file).read_bytes())
        raw = np.frombuffer(content, dtype=image.header.template_dtype, count=1)
        for name, value in fields.items():
            raw[name] = value
        Path(file).write_bytes(content)

    header(pixdim=[1, 0, 2, 3, 0, 0, 0, 0])
    only(item, "error", r"b\.nii: has spacing \(0\.0, 2\.0, 3\.0\) mm, expected positive numbers")
    header(srow_x=[0, 0, 0, 0])
    only(item, "error", "singular")
    header(qform_code=0, sform_code=0)
    only(item, "warning", "neither qform nor sform")
    header(qoffset_x=50)
    only(item, "warning", "qform and an sform that disagree")
    header(quatern_b=3)
    only(item, "warning", "qform and an sform that disagree")
    header(pixdim=[1, 4, 4, 4, 0, 0, 0, 0], qform_code=0)
    only(item, "warning", "4 x 4 x 4 mm in pixdim but 2 x 2 x 3 mm in its affine")


def test_a_blank_image_and_scaled_integers(tmp_path: Path) -> None:
    only(pair(tmp_path, image={"data": np.zeros((12, 10, 8), np.int16)}), "warning", "the value 0 everywhere")
    item = pair(tmp_path)
    image = nib.load(item["image"])
    image.header.set_slope_inter(0.5, -10)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float64), image.affine, image.header), item["image"])
    assert check_item(item, NAMES) == []


@pytest.mark.parametrize(("value", "wrong"), [(2, False), (3, True), ([0, 1, 1], False), ([0, 1, 1, 1], True)])
def test_labels_that_are_no_files(tmp_path: Path, value: Any, wrong: bool) -> None:
    assert bool(check_item({**pair(tmp_path), "label": value}, NAMES)) is wrong


@given(st.lists(st.integers(0, 40), unique=True, min_size=1))
def test_label_values_are_shown_as_ranges(values: list[int]) -> None:
    from custom_components.data.check_case import _ranges

    parts = [list(map(int, part.split("-"))) for part in _ranges(values).split(",")]
    assert [n for part in parts for n in range(part[0], part[-1] + 1)] == sorted(values)
