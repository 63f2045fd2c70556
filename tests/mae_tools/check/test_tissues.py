from pathlib import Path
from typing import Any

import pytest
from bundle_runtime.data.conventions import convention
from bundle_runtime.data.verify_volumes import Expected
from custom_components.tumour_labels import TISSUES
from head_files import REGION_NAMES, SEQUENCES, draw, head
from mae_tools.check.case import inspect_item

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
