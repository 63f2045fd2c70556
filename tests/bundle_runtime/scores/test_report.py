"""What all reports of scores share, shown on each of them."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scored_images
from bundle_runtime.scores.instance_report import InstanceReport
from bundle_runtime.scores.instances import Counts
from bundle_runtime.scores.report import Report, extremes, mean, read_scores
from bundle_runtime.scores.segmentation import Row
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["background", "liver", "spleen, left"]


def segmentation(cases: int = 12) -> SegmentationReport:
    report = SegmentationReport(NAMES, miss_penalty="drop", seed=3)
    for number, dice in enumerate(np.random.default_rng(0).uniform(size=(cases, 2)).tolist()):
        rows = [Row(name, value, 9 * value, "found", 1.0, 2.0) for name, value in zip(NAMES[1:], dice, strict=True)]
        report.add(f"case {number}", f"p{number // 2}", rows)
    return report


def pictures(cases: int = 12) -> InstanceReport:
    report = InstanceReport(NAMES, split="by hand", seed=3)
    for number in range(cases):
        counts = Counts(10 + number, 20, 30, 3, number, 1, 2.25, 30, 40)
        report.add(f"case {number}", f"p{number // 2}", [counts, Counts()])
    return report


def images(cases: int = 12) -> Report:
    return scored_images.report(number=cases, images=2, seed=3)


FAMILIES = pytest.mark.parametrize("make", [segmentation, pictures, images])


@FAMILIES
def test_the_files_give_the_same_report(make: Callable[[], Report], tmp_path: Path) -> None:
    report = make()
    summary = report.write(tmp_path, {"seed": 7}, ["a remark"])
    again = type(report).read(tmp_path)
    assert again.keys == report.keys
    assert again.write(tmp_path / "again", {"seed": 7}, ["a remark"])["notes"] == summary["notes"]
    for name in ("scores.json", "cases.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()
    saved = json.loads((tmp_path / "scores.json").read_text())
    assert next(iter(saved)) == "header"
    assert (saved["header"], saved["policy"], saved["notes"][-1]) == ({"seed": 7}, report.policy, "a remark")
    assert (saved["cases"], saved["patients"]) == (12, 6)
    assert "a remark" in report.table(summary)
    assert report.policy in report.table(summary)


@FAMILIES
def test_cases_are_ranked_by_how_well_they_went(make: Callable[..., Report], tmp_path: Path) -> None:
    report = make()
    report.write(tmp_path)
    ranking = json.loads((tmp_path / "ranking.json").read_text())
    assert ranking["by"] == report.RANKED_BY
    given = dict(zip(report.keys, report.case_scores(), strict=True))
    assert {(row["patient_id"], row["case"]): row["score"] for row in ranking["cases"]} == given
    scores = [row["score"] for row in ranking["cases"]]
    assert scores == sorted(scores)


def test_what_a_case_scores() -> None:
    rows = [
        Row("a", 0.5, 1, "found", 1, 1),
        Row("b", math.nan, math.nan, "absent", 0, 0),
        Row("c", 0.7, 1, "found", 1, 1),
    ]
    assert SegmentationReport.case_score(rows) == pytest.approx(0.6)
    assert InstanceReport.case_score([Counts(overlap=10, reference=20, predicted=30), Counts()]) == pytest.approx(0.4)
    assert math.isnan(SegmentationReport.case_score(rows[1:2]))
    findings = scored_images.report(number=6)
    findings.probabilities[0], findings.labels[0] = [0.9, 0.4, 0.5], [1, 0, np.nan]
    findings.labels[1] = np.nan
    assert findings.case_scores()[0] == pytest.approx((0.9 * 0.6) ** 0.5)
    assert math.isnan(findings.case_scores()[1])
    classes = scored_images.report("multi_class", number=6)
    assert classes.case_scores()[2] == classes.probabilities[2, classes.labels[2]]


@given(st.integers(0, 30), st.integers(1, 6))
def test_the_extremes_of_a_ranking(count: int, most: int) -> None:
    first, last = extremes(range(count), most)
    assert len(first) == min(most, (count + 1) // 2)
    assert len(last) == min(most, count // 2)
    assert [*first, *last[::-1]] == [*range(len(first)), *range(count - len(last), count)]


@FAMILIES
def test_a_part_of_the_cases_is_a_report_of_its_own(make: Callable[..., Report]) -> None:
    report = make()
    part = report.only(report.keys[:6])
    assert part.keys == report.keys[:6]
    assert len(report.keys) == 12
    np.testing.assert_equal(part.summary()["policy"], report.summary()["policy"])
    assert part.summary()["cases"] == 6
    whole = report.only(report.keys)
    np.testing.assert_equal(whole.summary(), report.summary())


@FAMILIES
def test_metrics_are_the_means_of_the_summary(make: Callable[[], Report]) -> None:
    report = make()
    numbers: list[float] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if "mean" in value:
                numbers.append(value["mean"])
            for entry in value.values():
                walk(entry)

    walk(report.summary())
    for name, value in report.metrics().items():
        assert math.isnan(value) or value in numbers, name


@FAMILIES
def test_few_patients_are_said(make: Callable[..., Report]) -> None:
    assert any(note.startswith("Only 6 patients") for note in make().summary()["notes"])
    assert not any("patients" in note for note in make(24).caution())


def test_a_case_without_a_patient_is_one_of_its_own() -> None:
    report = SegmentationReport(NAMES)
    for case, patient in (("a", ""), ("b", ""), ("c", "p"), ("d", "p")):
        report.add(case, patient, [Row(name, 1.0, 0.0, "found", 1.0, 1.0) for name in NAMES[1:]])
    assert report.patients == 3


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing/scores\.json cannot be read as scores"):
        read_scores(tmp_path / "nothing")
    segmentation().write(tmp_path)
    path = tmp_path / "cases.csv"
    lines = list(csv.reader(path.open()))
    path.write_text("\n".join(",".join(cell for cell in line[1:]) for line in lines))
    with pytest.raises(InputError, match=r"cannot be read as scores.*case"):
        SegmentationReport.read(tmp_path)
    (tmp_path / "scores.json").write_text("[1]")
    with pytest.raises(InputError, match=r"scores\.json cannot be read"):
        SegmentationReport.read(tmp_path)


def test_mean_of_column_means() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 8.0, np.nan]])
    assert mean(values) == 5.0
    assert mean(values[:, 0]) == 2.0
    assert math.isnan(mean(values[:, 2]))
