"""Means, counts, files and tables of segmented cases."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from bundle_runtime.scores.segmentation import score_case
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from segmented_volumes import LABEL, NAMES, ONLY_LIVER, SPACING, filled_report, make_row


def test_both_aggregates_where_one_case_lacks_an_organ():
    summary = filled_report([[0.9, 0.8, 0.1], [0.7, 0.6, None]], chosen=["liver", "spleen"]).summary()
    assert summary["all"]["mean_over_cases"]["dice"]["mean"] == pytest.approx((0.6 + 0.65) / 2)
    assert summary["all"]["mean_over_organs"]["dice"]["mean"] == pytest.approx((0.8 + 0.7 + 0.1) / 3)
    assert summary["chosen"]["mean_over_cases"]["dice"]["mean"] == pytest.approx(0.75)
    assert summary["organs"]["kidney"]["dice"]["n"] == 1
    assert any("kidney" in note and "Too few cases" in note for note in summary["notes"])
    assert math.isnan(summary["organs"]["kidney"]["dice"]["low"])


def test_an_average_counts_the_organs_that_were_scored():
    report = filled_report([[0.9, 0.8, None], [0.7, 0.6, None]], chosen=["liver", "spleen"])
    table = report.table(report.summary())
    assert "mean over cases, 2 of 3 organs" in table
    assert "mean over cases, 2 chosen organs" in table
    assert "Chosen organs (the config's headline list): liver, spleen." in table
    report = filled_report([[0.9, 0.8, 0.1]])
    assert "mean over cases, 3 organs" in report.table(report.summary())


@pytest.mark.parametrize(("cases", "warned"), [(1, False), (4, True), (10, False)])
def test_intervals_of_few_patients_are_called_too_narrow(cases, warned):
    notes = filled_report(np.random.default_rng(0).uniform(size=(cases, 3)).tolist()).summary()["notes"]
    assert any("too narrow" in note for note in notes) == warned


def test_counts_of_outcomes_and_unlabelled_never_counted():
    report = SegmentationReport(NAMES)
    report.add("a", "1", score_case(ONLY_LIVER, LABEL, SPACING, NAMES))
    report.add("b", "2", score_case(LABEL, ONLY_LIVER, SPACING, NAMES))
    report.add("c", "3", score_case(LABEL, ONLY_LIVER, SPACING, NAMES, unlabelled=["spleen"]))
    spleen = report.summary()["organs"]["spleen"]
    assert {name: spleen[name] for name in ("scored", "found", "missed", "hallucinated", "unlabelled")} == {
        "scored": 2,
        "found": 0,
        "missed": 1,
        "hallucinated": 1,
        "unlabelled": 1,
    }
    assert spleen["dice"]["mean"] == 0.0
    assert "diagonal" in report.policy
    line = next(line for line in report.table(report.summary()).splitlines() if line.startswith("spleen"))
    assert line.split()[-4:] == ["2", "1", "1", "1"]


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(5)))
def test_order_of_cases_does_not_matter(order):
    dice = np.random.default_rng(1).uniform(size=(5, 3))
    reports = [SegmentationReport(NAMES) for _ in range(2)]
    for report, numbers in zip(reports, (range(5), order), strict=True):
        for number in numbers:
            rows = [make_row(organ, value) for organ, value in zip(NAMES[1:], dice[number], strict=True)]
            report.add(f"case{number}", f"patient{number % 3}", rows)
    assert reports[0].summary() == reports[1].summary()


def test_files_are_complete_json_and_csv(tmp_path):
    report = filled_report([[0.9, 0.8, None], [0.7, 0.6, None]])
    report.write(tmp_path / "eval", {"seed": 7, "device": torch.device("cpu"), "versions": {"monai": "1.6.1"}})
    text = (tmp_path / "eval" / "scores.json").read_text()
    assert "NaN" not in text
    scores = json.loads(text)
    assert scores["header"] == {"seed": 7, "device": "cpu", "versions": {"monai": "1.6.1"}}
    assert scores["policy"] == report.policy
    assert scores["organs"]["kidney"]["dice"]["mean"] is None
    with (tmp_path / "eval" / "cases.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 6
    assert (lines[2]["organ"], lines[2]["dice"], lines[2]["outcome"]) == ("kidney", "", "absent")
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == ["cases.csv", "ranking.json", "scores.json"]
    np.testing.assert_equal(SegmentationReport.read(tmp_path / "eval").summary(), report.summary())


def test_report_refuses_duplicates_unknown_organs_and_emptiness():
    report = filled_report([[0.9, 0.8, 0.7]])
    with pytest.raises(InputError, match=r"case0.*twice"):
        report.add("case0", "p0", [])
    with pytest.raises(InputError, match=r"'heart'.*liver"):
        SegmentationReport(NAMES, chosen=["heart"])
    with pytest.raises(InputError, match="no case was scored"):
        SegmentationReport(NAMES).summary()
