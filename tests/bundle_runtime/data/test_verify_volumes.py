import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.verify_volumes import Expected
from custom_components.errors import InputError
from head_files import REGION_NAMES, SEQUENCES, head
from nifti_files import label, only, pair, problems, save


def test_four_dimensions_where_three_are_expected(tmp_path: Path) -> None:
    sentence = r"is 4-D, shape \(12, 10, 8, 3\), expected one 3-D volume \(1 channel\)"
    only(pair(tmp_path, image={"shape": (12, 10, 8, 3)}), "error", sentence)
    assert problems(pair(tmp_path, image={"shape": (12, 10, 8, 1)})) == []


def test_wrong_number_of_channels(tmp_path: Path) -> None:
    assert problems(pair(tmp_path, image={"shape": (12, 10, 8, 4)}), channels=4) == []
    item = pair(tmp_path, image={"shape": (12, 10, 8, 3)})
    only(item, "error", r"a\.nii\.gz: has shape \(12, 10, 8, 3\): 3 channel\(s\), expected 4", channels=4)
    item["image"] = [str(save(tmp_path / f"{name}.nii", seed=3)) for name in ("t1", "t2")]
    assert problems(item, channels=2) == []
    only(item, "error", "the 2 files of this item hold 2 channels, expected 4", channels=4)


def test_sequences_on_different_grids(tmp_path: Path) -> None:
    item = pair(tmp_path)
    item["image"] = [item["image"], str(save(tmp_path / "t2.nii", shape=(12, 10, 7)))]
    only(item, "error", r"t2\.nii: has shape \(12, 10, 7\) but the first image has \(12, 10, 8\)", channels=2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_voxels(tmp_path: Path, value: float) -> None:
    data = np.ones((12, 10, 8), np.float32)
    data[0, 0, :3] = value
    only(pair(tmp_path, image={"data": data}), "error", r"img/a\.nii\.gz: holds 3 NaN or Inf voxels")


def test_a_blank_image_and_scaled_integers(tmp_path: Path) -> None:
    only(pair(tmp_path, image={"data": np.zeros((12, 10, 8), np.int16)}), "warning", "the value 0 everywhere")
    item = pair(tmp_path)
    image = nib.load(item["image"])
    image.header.set_slope_inter(0.5, -10)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float64), image.affine, image.header), item["image"])
    assert problems(item) == []


FOUR = {"class_names": REGION_NAMES, "sequences": SEQUENCES}


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("order", [SEQUENCES, ("t2", "t1ce", "flair", "t1")])
def test_sequences_are_matched_by_name_and_not_counted(tmp_path: Path, order: tuple[str, ...], stacked: bool) -> None:
    item = head(tmp_path, sequences=order, stacked=stacked)
    assert problems(item, **FOUR, channels=1) == []
    assert problems(item, **{**FOUR, "sequences": ["T1-Gd", "FLAIR"]}) == []
    assert problems(item, class_names=REGION_NAMES, channels=None) == []
    only(item, "error", "4 channels?|4 channel", class_names=REGION_NAMES, channels=3)


def test_files_of_sequences_that_the_run_does_not_take_are_not_opened(tmp_path: Path) -> None:
    item = head(tmp_path)
    Path(item["image"][3]).write_bytes(b"broken")
    assert problems(item, **{**FOUR, "sequences": SEQUENCES[:3]}) == []
    only(item, "error", r"p_t2\.nii\.gz: is not a readable NIfTI", **FOUR)


def test_sequences_in_another_order_than_the_paths(tmp_path: Path) -> None:
    """Names go with paths by position; the file names tell where the two orders differ."""
    item = {**head(tmp_path), "sequences": ["t1", "flair", "t1ce", "t2"]}
    found = [str(problem) for problem in problems(item, **FOUR) if problem.level == "error"]
    assert len(found) == 2
    assert "p_flair.nii.gz: is declared as t1 in sequences, but its name says flair" in found[0]
    assert "p_t1.nii.gz: is declared as flair in sequences, but its name says t1;" in found[1]
    alone = {**item, "image": item["image"][0], "sequences": ["t2"]}
    only(alone, "error", "p_flair.*: is declared as t2 in sequences", class_names=REGION_NAMES, sequences=["t2"])


def test_file_names_that_say_no_known_sequence_are_taken_as_declared(tmp_path: Path) -> None:
    item = head(tmp_path)
    item["image"][0] = str(Path(item["image"][0]).rename(tmp_path / "series_4.nii.gz"))
    assert problems({**item, "file": item["image"][0]}, **FOUR) == []


def test_three_files_where_four_sequences_are_named(tmp_path: Path) -> None:
    item = head(tmp_path)
    item["image"] = item["image"][:3]
    sentence = r"p_flair.*: the item has 3 files but names 4 sequences \(flair, t1, t1ce, t2\); name one for each file"
    only(item, "error", sentence, **FOUR)


@pytest.mark.parametrize("named", [("flair", "t1"), ("flair", "t1", "t1ce", "t2", "adc")])
def test_a_4d_file_with_another_number_of_volumes_than_names(tmp_path: Path, named: tuple[str, ...]) -> None:
    item = {**head(tmp_path, stacked=True), "sequences": list(named)}
    sentence = rf"p\.nii\.gz: has shape \(32, 36, 30, 4\): 4 volume\(s\), but {len(named)} sequences are named"
    only(item, "error", sentence, **{**FOUR, "sequences": ["flair"]})


def test_a_4d_file_among_several(tmp_path: Path) -> None:
    item = head(tmp_path)
    item["image"][1] = head(tmp_path, "q", stacked=True)["image"]
    only(item, "error", r"q\.nii\.gz: .*4 volumes, but one sequence is named \(t1\); expected one 3-D volume", **FOUR)


def test_a_missing_sequence_is_an_error_unless_zeros_may_stand_in(tmp_path: Path) -> None:
    item = head(tmp_path, sequences=("flair", "t1", "t2"))
    only(item, "error", r"p_flair.*: has no t1ce, only flair, t1, t2; .*allow_missing_sequences: true", **FOUR)
    only(item, "warning", "p_flair.*: has no t1ce: zeros stand in", **FOUR, allow_missing_sequences=True)
    other = {**FOUR, "sequences": ["dwi", "adc"]}
    for allowed in (False, True):
        sentence = "has none of the sequences dwi, adc; it is said to hold flair, t1, t2"
        found = [str(problem) for problem in problems(item, **other, allow_missing_sequences=allowed)]
        assert len(found) == 1
        assert sentence in found[0]


def test_an_item_that_does_not_name_its_sequences(tmp_path: Path) -> None:
    item = head(tmp_path)
    del item["sequences"]
    only(item, "error", r"nothing says which sequences this item holds; add sequences, such as \['flair'", **FOUR)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_sequence_that_is_zero_everywhere_is_named(tmp_path: Path, stacked: bool) -> None:
    item = head(tmp_path, stacked=stacked)
    file = item["image"] if stacked else item["image"][2]
    data = np.asarray(nib.load(file).dataobj).copy()
    data[(..., 2) if stacked else ...] = 0
    save(Path(file), data)
    only(item, "error", r"its t1ce is 0 everywhere; restore it, or take t1ce out of sequences", **FOUR)
    assert problems(item, **{**FOUR, "sequences": ["flair", "t2"]}) == []


def test_sequences_of_one_case_on_different_grids(tmp_path: Path) -> None:
    item = head(tmp_path)
    volume = np.asarray(nib.load(item["image"][2]).dataobj)
    save(Path(item["image"][2]), volume[:-1])
    only(item, "error", r"p_t1ce.*: has shape \(31, 36, 30\) but the first image has \(32, 36, 30\)", **FOUR)
    moved = np.diag([2.0, 2, 3, 1])
    moved[2, 3] = 1.5
    save(Path(item["image"][2]), volume, moved)
    only(item, "error", r"p_t1ce.*: lies up to 0.75 voxels away from the first image", **FOUR)


def test_a_background_that_is_not_zero_is_told_once_with_the_sequences(tmp_path: Path) -> None:
    item = head(tmp_path)
    for index in (0, 3):
        data = np.asarray(nib.load(item["image"][index]).dataobj).copy()
        data[data == 0] = 7
        save(Path(item["image"][index]), data)
    sentence = r"not skull-stripped, or its background is not 0 \(voxels that are exactly 0: flair 0\.0%, t2 0\.0%\)"
    only(item, "warning", sentence, **FOUR)


def test_nan_in_a_named_sequence_is_one_error(tmp_path: Path) -> None:
    item = head(tmp_path)
    data = np.asarray(nib.load(item["image"][1]).dataobj).astype(np.float32)
    data[5, 5, :2] = np.nan
    save(Path(item["image"][1]), data)
    only(item, "error", r"p_t1\.nii\.gz: holds 2 NaN or Inf voxels", **FOUR)


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
    assert problems(pair(tmp_path, affine=affine)) == []


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


def test_what_is_expected_is_read_from_what_configs_give() -> None:
    expected = Expected(["background", "WT"], 4, 96, (1, 1, 1.5), sequences=["T1-Gd", "FLAIR"])
    assert expected.class_names == ["background", "WT"]
    assert (expected.roi_size, expected.spacing) == ((96, 96, 96), (1, 1, 1.5))
    assert expected.sequences == ["t1ce", "flair"]
    assert Expected(sequences="T1w").sequences == ["t1"]


@pytest.mark.parametrize("wrong", [{"roi_size": (96, 96)}, {"spacing": (1, 1)}, {"sequences": ["t1", "t1w"]}])
def test_what_cannot_be_expected(wrong: dict) -> None:
    with pytest.raises(InputError):
        Expected(**wrong)


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
        ("a.png", b"\x89PNG....", "is no NIfTI, NRRD, MetaImage or DICOM file"),
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
