"""Two segmentations of the same volumes."""

import json

import numpy as np
import pytest
from bundle_runtime.figures.arms import Maps
from bundle_runtime.scores.segmentation import score_case
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from mae_tools.compare.command import compare
from segmented_volumes import LABEL, NAMES, ONLY_LIVER, SHIFTED, SPACING, filled_report, make_row


def test_comparison_pairs_the_cases(tmp_path):
    base = np.random.default_rng(2).uniform(0.3, 0.8, size=(8, 3))
    filled_report(base.tolist()).write(tmp_path / "a")
    filled_report((base + 0.05).tolist()).write(tmp_path / "b")
    text, result = compare(tmp_path / "a", tmp_path / "b", "from scratch", "MAE", write=tmp_path / "out")
    liver = result["organs"]["liver"]["dice"]
    assert liver["difference"]["mean"] == pytest.approx(0.05)
    assert liver["difference"]["high"] - liver["difference"]["low"] < 1e-9 < liver["a"]["high"] - liver["a"]["low"]
    assert result["all"]["hd95"]["difference"]["mean"] == pytest.approx(-0.5)
    for word in ("from scratch", "MAE", "liver", "+0.050", "8 cases"):
        assert word in text
    assert (tmp_path / "out" / "comparison.txt").read_text() == text + "\n"
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["cases"] == 8


def test_being_right_about_an_absent_organ_gains_against_inventing_it(tmp_path):
    for name, prediction in (("a", LABEL), ("b", ONLY_LIVER)):
        report = SegmentationReport(NAMES)
        report.add("case", "", score_case(prediction, ONLY_LIVER, SPACING, NAMES))
        report.write(tmp_path / name)
    organs = compare(tmp_path / "a", tmp_path / "b", "a", "b")[1]["organs"]
    assert organs["spleen"]["dice"]["difference"]["mean"] == 1.0
    assert organs["spleen"]["hd95"]["difference"]["mean"] < -10
    assert organs["kidney"]["dice"]["difference"]["n"] == 0


def test_comparison_refuses_what_cannot_be_compared(tmp_path):
    filled_report([[0.9, 0.8, 0.7]]).write(tmp_path / "a")
    filled_report([[0.9, 0.8, 0.7]], parity=True).write(tmp_path / "parity")
    with pytest.raises(InputError, match="differ in policy"):
        compare(tmp_path / "a", tmp_path / "parity", "a", "b")
    with pytest.raises(InputError, match=r"nowhere.*scores\.json"):
        compare(tmp_path / "nowhere", tmp_path / "a", "a", "b")
    other = SegmentationReport(NAMES)
    other.add("other", "q", [make_row(organ, 0.5) for organ in NAMES[1:]])
    other.write(tmp_path / "other")
    with pytest.raises(InputError, match="share no case"):
        compare(tmp_path / "a", tmp_path / "other", "a", "b")
    (tmp_path / "a" / "scores.json").write_text('{"class_names": [')
    with pytest.raises(InputError, match=r"scores\.json cannot be read"):
        compare(tmp_path / "a", tmp_path / "other", "a", "b")


def test_trainings_that_differ_are_said_above_the_table(tmp_path):
    record = {"about": {"max_epochs": 6, "label_fraction": 0.1}, "items": 3, "unlearnt": {}}
    longer = {"about": {"max_epochs": 12, "label_fraction": 0.1}, "items": 3, "unlearnt": {"spleen": "nowhere"}}
    for name, training in (("a", record), ("b", longer), ("same", record), ("old", None)):
        header = {} if training is None else {"training": training}
        filled_report([[0.9, 0.8, 0.7], [0.8, 0.8, 0.7]]).write(tmp_path / name, header)

    def first_line(other: str) -> str:
        return compare(tmp_path / "a", tmp_path / other, "scratch", "MAE")[0].splitlines()[0]

    assert first_line("b") == (
        "CAUTION: scratch and MAE were trained differently: max_epochs 6 / 12, unlearnt [] / ['spleen']."
    )
    assert first_line("same").startswith("2 cases in both")
    assert first_line("old") == "What MAE was trained on is not known (its scores hold no record of it)."


def test_a_class_that_was_not_learnt_has_no_score(tmp_path):
    report = filled_report([[0.9, 0.8, 0.7], [0.8, 0.8, 0.7]])
    report.cases = {key: [rows[0].not_learnt(), *rows[1:]] for key, rows in report.cases.items()}
    report.unlearnt = {NAMES[1]: "nowhere"}
    summary = report.write(tmp_path)
    assert np.isnan(summary["organs"][NAMES[1]]["dice"]["mean"])
    assert summary["all"]["mean_over_cases"]["dice"]["mean"] == pytest.approx(0.75)
    assert "not learnt" in report.table(summary)
    again = SegmentationReport.read(tmp_path)
    assert again.unlearnt == report.unlearnt
    assert again.only(again.keys[:1]).unlearnt == report.unlearnt


def test_pictures_show_the_largest_loss_the_middle_and_the_largest_gain(tmp_path, monkeypatch):
    import mae_tools.compare.arms as module

    dice = [[0.5] * 3, [0.6] * 3, [0.7] * 3, [0.8] * 3, [0.9] * 3]
    filled_report(dice).write(tmp_path / "a")
    changed = [[value + by for value in line] for line, by in zip(dice, (0, 0.3, -0.2, 0.1, 0.05), strict=True)]
    filled_report(changed).write(tmp_path / "b")
    for side in "ab":
        for number in range(5):
            maps = Maps(LABEL * 50, LABEL, SHIFTED, np.asarray(SPACING))
            maps.write(tmp_path / side / "pictures" / "maps", f"case{number}")
    rows = []
    original = module.arms_figure
    monkeypatch.setattr(module, "arms_figure", lambda *given: (rows.extend(given[0]), original(*given)))
    with pytest.raises(InputError, match="--out names no folder"):
        compare(tmp_path / "a", tmp_path / "b", "a", "b", pictures=True)
    compare(tmp_path / "a", tmp_path / "b", "scratch", "MAE", write=tmp_path / "out", pictures=True)
    assert [title.split("\n")[:2] for title, *_ in rows] == [
        ["case2", "largest loss"], ["case4", "middle"], ["case1", "largest gain"]
    ]  # fmt: skip
    assert rows[0][1] == ["mean Dice 0.700", "mean Dice 0.500"]
    assert (tmp_path / "out" / "comparison.png").is_file()
