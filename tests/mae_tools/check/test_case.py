from pathlib import Path

import numpy as np
from bundle_runtime.data.flips import SIDE, unpacked
from bundle_runtime.data.verify_volumes import Expected
from head_files import REGION_NAMES, SEQUENCES, head
from mae_tools.check.case import inspect_item
from nifti_files import NAMES, pair


def test_a_good_item_has_no_problem_and_is_described(tmp_path: Path) -> None:
    report = inspect_item(pair(tmp_path), Expected(class_names=tuple(NAMES)), with_planes=True, section="training")
    assert report.problems == []
    assert (report.shape, report.spacing, report.orientation) == ((12, 10, 8), (2.0, 2.0, 3.0), "RAS")
    assert report.voxels == {0: 832, 1: 64, 2: 64}
    assert [plane[0].shape for plane in report.planes] == [(8, 10), (8, 12), (10, 12)]
    assert [plane[2] for plane in report.planes] == [1.5, 1.5, 1.0]
    assert report.columns() == ("12x10x8", "2 2 3", "RAS", report.columns()[3], "0-2", "ok")


def test_a_good_head_is_described_by_its_tissues_and_first_wanted_sequence(tmp_path: Path) -> None:
    item = head(tmp_path, sequences=("t2", "t1ce", "t1", "flair"))
    wanted = Expected(REGION_NAMES, sequences=SEQUENCES, need_convention=True)
    report = inspect_item(item, wanted, with_planes=True)
    assert report.problems == []
    assert (report.channels, report.sequences) == (4, ["t2", "t1ce", "t1", "flair"])
    assert unpacked(report.facts["image"]["body"]).shape == (SIDE, SIDE, SIDE)
    flair = inspect_item({**item, "image": item["image"][3], "sequences": ["flair"]}, with_planes=True)
    for plane, same in zip(report.planes, flair.planes, strict=True):
        assert np.array_equal(plane[0], same[0])  # FLAIR is shown, though its file is the last
        assert set(np.unique(plane[1])) <= {0, 1, 2, 3}  # outlines are of tissues, whatever the values of the file
    assert report.digest == flair.digest
    assert "facts" not in report.to_dict()
