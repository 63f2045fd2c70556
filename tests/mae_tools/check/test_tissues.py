from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.conventions import convention
from bundle_runtime.data.verify_volumes import Expected
from custom_components.tumour_labels import TISSUES
from head_files import REGION_NAMES, SEQUENCES, draw, head
from mae_tools.check.case import inspect_item
from mae_tools.check.tissues import core_outside, enhancement

WANTED = {"class_names": REGION_NAMES, "sequences": SEQUENCES, "need_convention": True}


def only(item: dict[str, Any], sentence: str, **expected: Any) -> None:
    (problem,) = inspect_item(item, Expected(**expected)).problems
    assert (problem.level, sentence in problem.message) == ("warning", True)


@pytest.mark.parametrize("rule", ["msd", "brats2018", "brats2023"])
def test_voxels_are_reported_by_tissue_whatever_the_convention(tmp_path: Path, rule: str) -> None:
    report = inspect_item(head(tmp_path, rule=rule), Expected(**WANTED))
    assert report.problems == []
    codes = draw()[1]
    named = {name: int((codes == code).sum()) for code, name in enumerate(TISSUES[:4]) if code}
    assert report.tissues == named
    assert report.convention == convention(rule).describe()
    assert set(report.voxels or {}) == set(convention(rule).tissues)


@pytest.mark.parametrize("sequences", [SEQUENCES, ("t1ce",), ("t2", "t1ce", "flair")])
def test_an_enhancing_tumour_that_is_not_bright(tmp_path: Path, sequences: tuple[str, ...]) -> None:
    wanted = {**WANTED, "sequences": sequences}
    assert inspect_item(head(tmp_path, sequences=sequences), Expected(**wanted)).problems == []
    table = convention({"1": "enhancing tumour", "2": "oedema", "4": "non-enhancing core"})
    item = {**head(tmp_path, sequences=sequences), "label_convention": table.to_text()}
    only(item, "does not look enhanced", **wanted)


def test_t1_and_t1ce_with_exchanged_names(tmp_path: Path) -> None:
    item = head(tmp_path)
    t1, t1ce = (Path(file) for file in item["image"][1:3])
    t1.rename(tmp_path / "kept.nii.gz")
    t1ce.rename(t1)
    (tmp_path / "kept.nii.gz").rename(t1ce)
    only(item, "does not look enhanced", **WANTED)


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
