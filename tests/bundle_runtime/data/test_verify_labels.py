from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.conventions import convention
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.verify_labels import ranges
from custom_components.tumour_labels import TISSUES
from head_files import REGION_NAMES, SEQUENCES, draw, head
from hypothesis import given
from hypothesis import strategies as st
from nifti_files import NAMES, label, only, pair, problems, save

WANTED = {"class_names": REGION_NAMES, "sequences": SEQUENCES, "need_convention": True}
UNDIVIDED = convention({"1": "oedema", "2": "tumour core"})


@pytest.mark.parametrize(("value", "sentence"), [(3, r"value\(s\) 3, expected 0 to 2 \(3 class_names"), (-1, "-1")])
def test_label_value_outside_class_names(tmp_path: Path, value: int, sentence: str) -> None:
    only(pair(tmp_path, data=label(1, value, dtype=np.int16)), "error", sentence)


def test_labels_that_are_not_class_numbers(tmp_path: Path) -> None:
    only(pair(tmp_path, data=label(1, 2, dtype=np.float32) * 0.5), "error", r"not whole numbers \(0\.5\)")
    only(pair(tmp_path, data=np.full((12, 10, 8), np.nan, np.float32)), "error", "not whole numbers")
    only(pair(tmp_path, data=np.zeros((12, 10, 8, 3), np.uint8)), "error", "is 4-D, .*one 3-D map of class numbers")
    assert problems(pair(tmp_path, data=label(1, 2, dtype=np.float32))) == []


@pytest.mark.parametrize("scale", [0.9999999, 1.0003])
def test_numbers_that_are_nearly_whole_are_rounded_and_said(tmp_path: Path, scale: float) -> None:
    where = pair(tmp_path, data=(label(1, 2) * np.float32(scale)).astype(np.float32))
    only(where, "warning", r"holds values such as (0\.99|1\.000).*, which are rounded to whole numbers")
    item, found = LoadVolumesd(class_names=NAMES).look(where)
    assert sorted(found.voxels) == [0, 1, 2]
    assert np.array_equal(item["label"][0], label(1, 2))


@pytest.mark.parametrize("codes", ["LAS", "PIR", "SRA"])
def test_a_label_with_its_axes_in_another_order_lies_on_its_image(tmp_path: Path, codes: str) -> None:
    """dcm2niix turns axes; voxels and place are the same."""
    where = pair(tmp_path, data=label(1, 2))
    stored = nib.load(tmp_path / "lab" / "a.nii.gz")
    turn = nib.orientations.ornt_transform(nib.io_orientation(stored.affine), nib.orientations.axcodes2ornt(codes))
    nib.save(stored.as_reoriented(turn), tmp_path / "lab" / "a.nii.gz")
    assert problems(where) == []
    assert np.array_equal(LoadVolumesd(class_names=NAMES).look(where)[0]["label"][0], label(1, 2))


def test_an_all_background_label(tmp_path: Path) -> None:
    only(pair(tmp_path, data=label()), "error", r"lab/a\.nii\.gz: is background everywhere; draw")


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


@pytest.mark.parametrize(("value", "wrong"), [(2, False), (3, True), ([0, 1, 1], False), ([0, 1, 1, 1], True)])
def test_labels_that_are_no_files(tmp_path: Path, value: Any, wrong: bool) -> None:
    assert bool(problems({**pair(tmp_path), "label": value})) is wrong


@pytest.mark.parametrize("rule", ["msd", "brats2023"])
def test_the_4_of_brats_2021_under_another_convention(tmp_path: Path, rule: str) -> None:
    item = {**head(tmp_path, rule="brats2018"), "label_convention": rule}
    described = convention(rule).describe().replace("(", r"\(").replace(")", r"\)")
    sentence = rf"p_seg\.nii\.gz: holds the value\(s\) 4, which the convention {described} does not know.*fit brats2018"
    only(item, "error", sentence, **WANTED)


def test_a_declared_convention_counts_and_not_the_number_of_classes(tmp_path: Path) -> None:
    item = head(tmp_path, rule="brats2018")  # value 4, three foreground regions
    assert problems(item, **{**WANTED, "need_convention": False}) == []
    assert problems(item, **{**WANTED, "class_names": ["background", "WT"]}) == []


def test_no_convention_is_an_error_where_one_is_needed(tmp_path: Path) -> None:
    item = head(tmp_path, rule="brats2018")
    del item["label_convention"]
    sentence = r"p_seg.*holds the values 0-2,4, and nothing says what they mean: set label_convention.*fit brats2018\)"
    only(item, "error", sentence, **WANTED)
    del item["label"]
    assert problems(item, **WANTED) == []


def test_float_labels_with_a_convention(tmp_path: Path) -> None:
    item = head(tmp_path)
    data = np.asarray(nib.load(item["label"]).dataobj).astype(np.float32)
    save(Path(item["label"]), data)
    assert problems(item, **WANTED) == []
    data[0, 0, 0] = 1.5
    save(Path(item["label"]), data)
    only(item, "error", r"p_seg\.nii\.gz: holds 1 values that are not whole numbers \(1\.5\)", **WANTED)


def test_a_head_without_tumour_is_a_warning(tmp_path: Path) -> None:
    item = head(tmp_path, tumour=False)
    only(item, "warning", r"p_seg\.nii\.gz: has no tumour; right for a healthy head or after an operation", **WANTED)


def test_regions_that_are_drawn_although_declared_unlabelled(tmp_path: Path) -> None:
    item = {**head(tmp_path), "unlabelled": ["ET"]}
    count = int((draw()[1] == TISSUES.index("enhancing tumour")).sum())
    only(item, "warning", f"has {count} voxels of ET, which the datalist declares unlabelled", **WANTED)
    codes = draw()[1]
    codes[codes > 1] = TISSUES.index("tumour core")
    item = {**head(tmp_path, "q", rule=UNDIVIDED, codes=codes), "unlabelled": ["ET", "NCR/NET"]}
    assert problems(item, **WANTED) == []


def test_a_convention_with_an_undivided_core_beside_the_enhancing_tumour(tmp_path: Path) -> None:
    """Such a label does not tell all of ET, which is no fault of the label that holds some."""
    codes = draw()[1]
    codes[codes == TISSUES.index("non-enhancing core")] = TISSUES.index("tumour core")
    rule = convention({"1": "oedema", "2": "tumour core", "4": "enhancing tumour"})
    item = {**head(tmp_path, rule=rule, codes=codes), "unlabelled": list(rule.unlabelled)}
    assert item["unlabelled"] == ["ET", "NCR/NET"]
    assert problems(item, **WANTED) == []


def test_a_speck_of_one_tissue(tmp_path: Path) -> None:
    codes = draw()[1]
    codes[codes == TISSUES.index("enhancing tumour")] = TISSUES.index("oedema")
    codes[16, 18, 15] = TISSUES.index("enhancing tumour")
    only(head(tmp_path, codes=codes), "warning", r"has only 1 voxel\(s\) of enhancing tumour", **WANTED)


@given(st.lists(st.integers(0, 40), unique=True, min_size=1))
def test_label_values_are_shown_as_ranges(values: list[int]) -> None:
    parts = [list(map(int, part.split("-"))) for part in ranges(values).split(",")]
    assert [n for part in parts for n in range(part[0], part[-1] + 1)] == sorted(values)
