from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from head_files import REGION_NAMES, SEQUENCES, draw, head
from nifti_files import label, only, pair, problems, save

from bundle_runtime.check.check_case import inspect_item
from bundle_runtime.check.check_label import core_outside, enhancement
from bundle_runtime.check.check_report import Expected
from custom_components.tumour_labels import TISSUES, convention

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


@pytest.mark.parametrize("rule", ["msd", "brats2018", "brats2023"])
def test_voxels_are_reported_by_tissue_whatever_the_convention(tmp_path: Path, rule: str) -> None:
    report = inspect_item(head(tmp_path, rule=rule), Expected.of(**WANTED))
    assert report.problems == []
    codes = draw()[1]
    named = {name: int((codes == code).sum()) for code, name in enumerate(TISSUES[:4]) if code}
    assert report.tissues == named
    assert report.convention == convention(rule).describe()
    assert set(report.voxels or {}) == set(convention(rule).tissues)


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


@pytest.mark.parametrize("sequences", [SEQUENCES, ("t1ce",), ("t2", "t1ce", "flair")])
def test_an_enhancing_tumour_that_is_not_bright(tmp_path: Path, sequences: tuple[str, ...]) -> None:
    wanted = {**WANTED, "sequences": sequences}
    assert problems(head(tmp_path, sequences=sequences), **wanted) == []
    table = convention({"1": "enhancing tumour", "2": "oedema", "4": "non-enhancing core"})
    item = {**head(tmp_path, sequences=sequences), "label_convention": table.to_text()}
    only(item, "warning", r"p_seg.*does not look enhanced.*are label_convention and sequences right\?", **wanted)


def test_t1_and_t1ce_with_exchanged_names(tmp_path: Path) -> None:
    item = head(tmp_path)
    t1, t1ce = (Path(file) for file in item["image"][1:3])
    t1.rename(tmp_path / "kept.nii.gz")
    t1ce.rename(t1)
    (tmp_path / "kept.nii.gz").rename(t1ce)
    only(item, "warning", "does not look enhanced", **WANTED)


def test_enhancement_is_not_judged_without_t1ce_or_from_a_few_voxels() -> None:
    images, codes = draw()
    assert enhancement(codes, {"t1": images["t1"], "flair": images["flair"]}) is None
    few = np.where(codes == TISSUES.index("enhancing tumour"), 0, codes)
    few[:, :, 0].flat[:49] = TISSUES.index("enhancing tumour")
    assert enhancement(few, images) is None
    assert enhancement(codes, {**images, "t1": np.zeros_like(images["t1"])}) is None
    found = enhancement(codes, images)
    assert found is not None
    assert found > 1


@pytest.mark.parametrize("seed", range(4))
def test_the_core_lies_inside_and_outside_with_its_name_exchanged(seed: int) -> None:
    codes = draw(seed)[1]
    right = core_outside(codes)
    assert right is not None
    assert right < -0.5
    exchanged = np.array([0, 2, 1, 3])[codes]
    assert core_outside(exchanged) == -right
    assert core_outside(np.where(codes == 2, 0, codes)) is None


def test_core_outside_counts_faces() -> None:
    codes = np.zeros((12, 12, 12), np.uint8)
    codes[3:9, 3:9, 3:9] = TISSUES.index("oedema")
    codes[4:8, 4:8, 4:8] = TISSUES.index("non-enhancing core")
    # The core's 96 faces touch oedema only; the oedema has those and 216 to the outside.
    assert core_outside(codes) == round(-216 / 312, 3)
    assert core_outside(codes[3:9, 3:9, 3:9]) == 0  # nothing but tumour in view
    codes[:] = 0
    codes[:4] = TISSUES.index("non-enhancing core")
    codes[4:8] = TISSUES.index("oedema")
    assert core_outside(codes) == core_outside(codes[::-1]) == -0.5  # one face of the two of the oedema
