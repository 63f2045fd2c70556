from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mae_tools.check.case_report import CaseReport
from mae_tools.check.command import check
from mae_tools.check.volume_proposals import of_volumes
from nifti_files import NAMES, datalist, label, pair


def case(
    shape: Any = (200, 200, 100), spacing: Any = (1.0, 1, 1), inside: Any = None, low: float = -1000
) -> CaseReport:
    facts = {"image": {"spacing": list(spacing), "values": {"image": [low, 0.0, 900.0]}, "zeros": {"image": 0.0}}}
    found = CaseReport(
        "training", "a", "a.nii.gz", shape=tuple(shape), spacing=tuple(spacing), channels=1, inside=inside
    )
    found.facts = facts
    return found


def proposed(cases: list[CaseReport], modality: str | None = None, **config: Any) -> dict[str, Any]:
    content = {} if modality is None else {"modality": modality}
    return {p.key: p.value for p in of_volumes(cases, content, config)[1]}


def test_spacing_is_the_median_and_a_crop_fits_the_volumes() -> None:
    found = proposed([case(spacing=(s, s, s)) for s in (0.9, 1.0, 1.4)], patch_size=16, roi_size=[96, 96, 128])
    assert found["spacing"] == [1.0, 1.0, 1.0]
    assert found["roi_size"] == [96, 96, 112]  # 100 voxels high, in whole patches


def test_thick_slices_are_kept_thinner_than_their_median() -> None:
    cases = [case((200, 200, 40), (1, 1, thick)) for thick in (2.0, *[5.0] * 8, 6.0)]
    assert proposed(cases)["spacing"] == [1.0, 1.0, pytest.approx(4.7)]


def test_spacing_is_coarser_where_a_crop_would_show_next_to_nothing() -> None:
    (found,) = {
        p.key: p for p in of_volumes([case((1000, 1000, 200), (0.5, 0.5, 1.0))], {}, {})[1] if p.key == "spacing"
    }.values()
    assert found.value == [1.3, 1.3, 1.0]
    assert "span a quarter of 500 x 500 x 200 mm" in found.reason


@pytest.mark.parametrize(("modality", "low"), [("CT", 0.0), (None, -1000.0)])
def test_the_window_of_ct_holds_the_labelled_structures(modality: str | None, low: float) -> None:
    found = proposed([case(inside=(-60.0, 140.0), low=low), case(inside=(-40.0, 240.0), low=low)], modality)
    assert (found["intensity_mode"], found["intensity_range"]) == ("window", [-90, 270])


@pytest.mark.parametrize("modality", ["MRI", None])
def test_without_a_unit_each_image_has_its_own_range(modality: str | None) -> None:
    found = proposed([case(inside=(1.0, 2.0), low=0.0)], modality)
    assert (found["intensity_mode"], found["intensity_range"]) == ("percentile", [1, 99])


@pytest.mark.parametrize(("cases", "size"), [(100, 24), (12, 12), (3, 4)])
def test_few_volumes_make_small_batches(cases: int, size: int) -> None:
    assert proposed([case()] * cases, crops_per_volume=4, batch_size=24)["batch_size"] == size


def test_heads_get_no_window() -> None:
    assert "intensity_mode" not in proposed([case()], patch_size=16, roi_size=[96] * 3)


def test_labelled_values_are_those_of_the_label(tmp_path: Path) -> None:
    data = np.full((12, 10, 8), -1000, np.int16)
    data[label(1, 2) > 0] = 50
    result = check(datalist(tmp_path, training=[pair(tmp_path, "a", image={"data": data})]), class_names=NAMES)
    assert result["fingerprint"]["labelled_values"] == [50, 50]
