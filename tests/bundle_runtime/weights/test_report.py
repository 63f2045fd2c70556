"""The report on loaded weights: when it counts as complete, and what a reader and a program get of it."""

import json

import pytest
from bundle_runtime.weights.report import Report, first_names


def test_names_beyond_the_first_are_counted():
    assert first_names(["a", "b", "c"]) == "a, b, c"
    assert first_names(["a", "b", "c", "d", "e"]) == "a, b, c, and 2 more"
    assert first_names(["a", "b"], 1) == "a, and 1 more"


@pytest.mark.parametrize(
    ("matched", "new", "unplaced", "complete"),
    [
        (["a", "b"], [], [], True), (["a"], ["b"], [], False), (["a", "b"], [], ["cls_token"], False),
        ([], ["a", "b"], [], False),
    ],
)  # fmt: skip
def test_complete_needs_every_tensor_and_nothing_of_the_files_encoder_left_over(matched, new, unplaced, complete):
    report = Report(matched=matched, new=new, unplaced=unplaced, unused=["head.weight"], encoder_total=2)
    assert report.encoder_loaded == len(matched)
    assert report.complete is complete


def test_reports_share_no_list():
    Report().matched.append("a")
    assert Report().matched == []


def test_the_saved_report_holds_every_field_and_the_two_results(tmp_path):
    report = Report("enc.pt", "timm", ["norm.bias"], {"fc_norm.bias": "norm.bias"}, encoder_total=1)
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved == report.to_dict()
    assert (saved["encoder_loaded"], saved["complete"], saved["renamed"]) == (1, True, {"fc_norm.bias": "norm.bias"})
    assert Report(**{name: saved[name] for name in vars(report)}) == report


def test_the_text_names_only_what_happened():
    assert (
        str(Report("enc.pt", "timm", ["a"], encoder_total=1)) == "weights: enc.pt (timm): 1 of 1 encoder tensors loaded"
    )
    report = Report(
        renamed={f"old{i}": f"new{i}" for i in range(3)},
        resampled={"positions": "3x3 to 4x2"},
        new=["a"],
        unused=["b"],
        unplaced=["c"],
        notes=["d"],
    )
    assert str(report).splitlines()[1:] == [
        "  renamed 3: old0 -> new0, old1 -> new1, and 1 more",
        "  resampled positions: 3x3 to 4x2",
        "  new 1: a",
        "  unused 1: b",
        "  without a place 1: c",
        "  note: d",
    ]
