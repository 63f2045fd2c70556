import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle_runtime.check.check_report import CaseReport, Expected, ranges
from custom_components.errors import InputError


@given(st.lists(st.integers(0, 40), unique=True, min_size=1))
def test_label_values_are_shown_as_ranges(values: list[int]) -> None:
    parts = [list(map(int, part.split("-"))) for part in ranges(values).split(",")]
    assert [n for part in parts for n in range(part[0], part[-1] + 1)] == sorted(values)


def test_what_is_expected_is_read_from_what_configs_give() -> None:
    expected = Expected.of(["background", "WT"], 4, 96, (1, 1, 1.5), sequences=["T1-Gd", "FLAIR"])
    assert expected.class_names == ("background", "WT")
    assert (expected.roi_size, expected.spacing) == ((96, 96, 96), (1, 1, 1.5))
    assert expected.sequences == ("t1ce", "flair")
    assert Expected.of(sequences="T1w").sequences == ("t1",)
    assert Expected.of() == Expected()


@pytest.mark.parametrize("wrong", [{"roi_size": (96, 96)}, {"spacing": (1, 1)}, {"sequences": ["t1", "t1w"]}])
def test_what_cannot_be_expected(wrong: dict) -> None:
    with pytest.raises(InputError):
        Expected.of(**wrong)


def test_the_table_shows_tissues_where_they_are_known() -> None:
    report = CaseReport("training", "p", "p.nii", voxels={0: 90, 1: 10})
    assert report.columns()[4] == "0-1"
    report.tissues = {"oedema": 10}
    assert report.columns()[4] == "oedema 10"
    report.tissues = {}
    assert report.columns()[4] == "no tumour"
