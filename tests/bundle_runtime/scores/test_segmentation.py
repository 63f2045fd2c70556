import csv
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.metrics import HausdorffDistanceMetric
from scipy import ndimage

from bundle_runtime.scores.intervals import bootstrap_interval
from bundle_runtime.scores.segmentation import Row, score_case
from bundle_runtime.scores.segmentation_handler import ScoreSegmentation
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from mae_tools.compare.command import compare

NAMES = ["background", "liver", "spleen", "kidney"]
SPACING = (0.8, 1.5, 3.0)
SHAPE = (20, 18, 16)


def boxes(*placed, shape=SHAPE):
    """A label map with (class, start, stop) boxes."""
    volume = np.zeros(shape, dtype=np.uint8)
    for index, start, stop in placed:
        volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = index
    return volume


LABEL = boxes((1, (2, 2, 2), (8, 9, 7)), (2, (11, 4, 5), (15, 9, 11)))
SHIFTED = boxes((1, (4, 3, 2), (10, 9, 8)), (2, (11, 5, 4), (16, 9, 11)))
ONLY_LIVER = np.where(LABEL == 1, LABEL, 0)


def oracle_hd95(prediction, label, spacing):
    """HD95 from SciPy's distance transform alone."""

    def surface(mask):
        padded = np.pad(mask, 1)
        return padded & ~ndimage.binary_erosion(padded)

    a, b = surface(prediction), surface(label)
    to_b = ndimage.distance_transform_edt(~b, sampling=spacing)[a]
    to_a = ndimage.distance_transform_edt(~a, sampling=spacing)[b]
    return max(np.percentile(to_b, 95), np.percentile(to_a, 95))


def row_of(rows, organ):
    return next(row for row in rows if row.organ == organ)


# --- one case -------------------------------------------------------------------------------------------------------


def test_shifted_box_has_the_known_dice_and_distance():
    label, prediction = boxes((1, (2, 2, 2), (8, 8, 8))), boxes((1, (5, 2, 2), (11, 8, 8)))
    row = score_case(prediction, label, (2.0, 1.0, 1.0), NAMES)[0]
    assert row.dice == pytest.approx(0.5)
    assert row.hd95 == pytest.approx(
        6.0
    )  # moved by 3 voxels of 2 mm; the far face alone is more than 5 % of the surface
    assert row.volume_ml_label == row.volume_ml_prediction == pytest.approx(6**3 * 2 / 1000)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING, (3, 1, 1)])
def test_agrees_with_a_distance_transform(spacing):
    for row in score_case(SHIFTED, LABEL, spacing, NAMES)[:2]:
        index = NAMES.index(row.organ)
        assert row.outcome == "found"
        assert row.hd95 == pytest.approx(oracle_hd95(index == SHIFTED, index == LABEL, spacing), rel=1e-5)


def test_structures_at_the_image_border_and_in_two_dimensions():
    label, prediction = boxes((1, (0, 0), (6, 9)), shape=(12, 9)), boxes((1, (0, 2), (9, 7)), shape=(12, 9))
    row = score_case(prediction, label, (0.5, 2.0), NAMES)[0]
    assert row.hd95 == pytest.approx(oracle_hd95(prediction == 1, label == 1, (0.5, 2.0)), rel=1e-5)
    assert math.isnan(row.volume_ml_label)


@pytest.mark.parametrize(
    ("policy", "expected"), [("diagonal", math.dist((0, 0, 0), (16.0, 27.0, 48.0))), (200, 200.0), ("drop", math.nan)]
)
def test_missed_and_hallucinated_follow_the_policy(policy, expected):
    missed = row_of(score_case(ONLY_LIVER, LABEL, SPACING, NAMES, miss_penalty=policy), "spleen")
    invented = row_of(score_case(LABEL, ONLY_LIVER, SPACING, NAMES, miss_penalty=policy), "spleen")
    assert (missed.outcome, missed.dice) == ("missed", 0.0)
    assert (invented.outcome, invented.dice) == ("hallucinated", 0.0)
    assert missed.hd95 == pytest.approx(expected, nan_ok=True)
    assert invented.hd95 == pytest.approx(expected, nan_ok=True)


def test_absent_and_unlabelled_are_not_scored():
    rows = score_case(LABEL, ONLY_LIVER, SPACING, NAMES, unlabelled=["spleen"])
    assert [row.outcome for row in rows] == ["found", "unlabelled", "absent"]
    assert all(math.isnan(value) for row in rows[1:] for value in (row.dice, row.hd95))
    assert math.isnan(rows[1].volume_ml_label)
    assert rows[1].volume_ml_prediction > 0


def test_parity_counts_voxels_and_drops_what_is_undefined():
    found = score_case(SHIFTED, LABEL, SPACING, NAMES, parity=True)[0]
    assert found.hd95 == pytest.approx(oracle_hd95(SHIFTED == 1, LABEL == 1, (1, 1, 1)), rel=1e-5)
    missed = row_of(score_case(ONLY_LIVER, LABEL, SPACING, NAMES, parity=True), "spleen")
    assert missed.dice == 0.0
    assert math.isnan(missed.hd95)
    invented = row_of(score_case(LABEL, ONLY_LIVER, SPACING, NAMES, parity=True), "spleen")
    assert math.isnan(invented.dice)
    assert math.isnan(invented.hd95)


@pytest.mark.filterwarnings("ignore:the prediction of class")
def test_a_missed_lesion_must_not_improve_the_mean_distance():
    """MONAI#9095, and `masked_invalid` over HD95 in SelfMedMAE's seg_trainer: both drop the miss from the mean."""
    poor = boxes((1, (2, 2, 2), (8, 9, 7)), (2, (2, 12, 0), (5, 16, 3)))  # the spleen is found in the wrong place
    metric = HausdorffDistanceMetric(percentile=95)
    theirs = {}
    for name, prediction in (("poor", poor), ("missed", ONLY_LIVER)):
        one_hot = [torch.from_numpy(np.stack([volume == c for c in range(3)]))[None] for volume in (prediction, LABEL)]
        metric.reset()
        metric(*one_hot)
        theirs[name] = float(metric.aggregate())
    assert theirs["missed"] < theirs["poor"]  # the defect; if this fails, MONAI has mended it
    ours = {}
    for name, prediction in (("poor", poor), ("missed", ONLY_LIVER)):
        report = SegmentationReport(NAMES)
        report.add("case", "p", score_case(prediction, LABEL, SPACING, NAMES))
        ours[name] = report.summary()["all"]["mean_over_cases"]["hd95"]["mean"]
    assert ours["missed"] > ours["poor"]


@settings(max_examples=25, deadline=None)
@given(*[arrays(np.uint8, (6, 5, 4), elements=st.integers(0, 3))] * 2)
def test_symmetric_and_bounded(prediction, label):
    for one, other in zip(
        score_case(prediction, label, SPACING, NAMES), score_case(label, prediction, SPACING, NAMES), strict=True
    ):
        assert one.dice == pytest.approx(other.dice, nan_ok=True)
        assert one.hd95 == pytest.approx(other.hd95, nan_ok=True)
        if one.outcome != "absent":
            assert 0 <= one.dice <= 1
            assert 0 <= one.hd95 <= math.dist((0, 0, 0), np.multiply((6, 5, 4), SPACING)) + 1e-5
        if np.array_equal(prediction == NAMES.index(one.organ), label == NAMES.index(one.organ)):
            assert one.outcome == "absent" or (one.dice, one.hd95) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction": LABEL[:-1]}, ["(19, 18, 16)", "(20, 18, 16)", "one grid"]),
        ({"label": np.where(LABEL == 2, 9, LABEL)}, ["label holds", "9", "indices 0 to 3"]),
        ({"prediction": np.where(LABEL == 2, np.nan, LABEL)}, ["prediction holds", "nan"]),
        ({"label": LABEL * 0.5}, ["label holds fractions", "whole class indices"]),
        ({"spacing": (1.0, 0.0, 1.0)}, ["spacing is (1.0, 0.0, 1.0)", "3 positive numbers"]),
        ({"unlabelled": ["splen"]}, ["'splen'", "'spleen'", "datalist"]),
        ({"miss_penalty": "diagnoal"}, ["miss_penalty is 'diagnoal'", "'diagonal', 'drop'"]),
        ({"miss_penalty": -1.0}, ["miss_penalty is -1.0"]),
    ],
)
def test_bad_input_is_named(change, words):
    arguments = {"prediction": SHIFTED, "label": LABEL, "spacing": SPACING, "class_names": NAMES, **change}
    with pytest.raises(InputError) as error:
        score_case(**arguments)
    for word in words:
        assert word in str(error.value)


# --- intervals ------------------------------------------------------------------------------------------------------


def test_interval_holds_the_mean_and_is_seeded():
    values = np.random.default_rng(3).normal(10, 2, size=40)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / math.sqrt(40), rel=0.15)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([*values, math.nan]) == (low, high)
    assert bootstrap_interval(values, seed=1) != (low, high)


def test_degenerate_values_fall_back_and_one_case_has_no_interval():
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert np.isnan(bootstrap_interval([0.5])).all()
    assert np.isnan(bootstrap_interval([])).all()
    assert np.isnan(bootstrap_interval([math.nan, math.nan])).all()
    assert np.isnan(bootstrap_interval([0.5, 0.7], groups=["a", "a"])).all()


def test_groups_are_drawn_whole():
    values = np.repeat(np.random.default_rng(0).normal(size=12), 8)  # eight equal images of each patient
    patients = np.repeat([f"p{i}" for i in range(12)], 8)
    alone, grouped = bootstrap_interval(values), bootstrap_interval(values, groups=patients)
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])
    one_each = bootstrap_interval(values[::8], groups=patients[::8])
    assert grouped == pytest.approx(one_each)


# --- report ---------------------------------------------------------------------------------------------------------


def make_row(organ, dice, hd95=1.0, outcome="found"):
    return Row(organ, dice, hd95, outcome, 10.0, 11.0)


def filled_report(dice, **arguments):
    """A report from a (cases, 3 organs) table of Dice; None = absent."""
    report = SegmentationReport(NAMES, **arguments)
    for number, line in enumerate(dice):
        rows = [
            make_row(organ, math.nan, math.nan, "absent") if value is None else make_row(organ, value, 10 * (1 - value))
            for organ, value in zip(NAMES[1:], line, strict=True)
        ]
        report.add(f"case{number}", f"p{number}", rows)
    return report


def test_both_aggregates_where_one_case_lacks_an_organ():
    summary = filled_report([[0.9, 0.8, 0.1], [0.7, 0.6, None]], organs=["liver", "spleen"]).summary()
    assert summary["all"]["mean_over_cases"]["dice"]["mean"] == pytest.approx((0.6 + 0.65) / 2)
    assert summary["all"]["mean_over_organs"]["dice"]["mean"] == pytest.approx((0.8 + 0.7 + 0.1) / 3)
    assert summary["chosen"]["mean_over_cases"]["dice"]["mean"] == pytest.approx(0.75)
    assert summary["organs"]["kidney"]["dice"]["n"] == 1
    assert any("kidney" in note and "Too few cases" in note for note in summary["notes"])
    assert math.isnan(summary["organs"]["kidney"]["dice"]["low"])


def test_an_average_counts_the_organs_that_were_scored():
    table = filled_report([[0.9, 0.8, None], [0.7, 0.6, None]], organs=["liver", "spleen"]).table()
    assert "mean over cases, 2 of 3 organs" in table
    assert "mean over cases, 2 chosen organs" in table
    assert "Chosen organs (the config's headline list): liver, spleen." in table
    assert "mean over cases, 3 organs" in filled_report([[0.9, 0.8, 0.1]]).table()


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
    line = next(line for line in report.table().splitlines() if line.startswith("spleen"))
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
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == ["cases.csv", "scores.json"]
    np.testing.assert_equal(SegmentationReport.read(tmp_path / "eval").summary(), report.summary())


def test_report_refuses_duplicates_unknown_organs_and_emptiness():
    report = filled_report([[0.9, 0.8, 0.7]])
    with pytest.raises(InputError, match=r"case0.*twice"):
        report.add("case0", "p0", [])
    with pytest.raises(InputError, match=r"'heart'.*liver"):
        SegmentationReport(NAMES, organs=["heart"])
    with pytest.raises(InputError, match="no case was scored"):
        SegmentationReport(NAMES).summary()


# --- comparison -----------------------------------------------------------------------------------------------------


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


# --- handler --------------------------------------------------------------------------------------------------------


def run_handler(handler, batches):
    """An engine that hands over (batch, output) pairs as MONAI's evaluator does after decollating."""
    engine = Engine(lambda engine, pair: pair[1])

    def show_batch(engine):
        engine.state.batch = engine.state.batch[0]

    engine.add_event_handler(Events.ITERATION_COMPLETED, show_batch)
    handler.attach(engine)
    return engine.run(batches, max_epochs=1)


def items(prediction, affine=None, **extra):
    affine = torch.diag(torch.tensor([*SPACING, 1.0])) if affine is None else affine
    label = MetaTensor(torch.from_numpy(LABEL)[None], affine=affine)
    output = {"pred": MetaTensor(torch.from_numpy(prediction)[None].float(), affine=affine), "label": label}
    return [extra], [output]


def test_handler_scores_writes_and_sets_metrics(tmp_path, capsys):
    flipped = torch.diag(torch.tensor([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
    batches = [
        items(SHIFTED, case="one", patient_id="p1"),
        items(ONLY_LIVER, flipped, case="two", patient_id="p2", unlabelled=["spleen"]),
    ]
    handler = ScoreSegmentation(NAMES, tmp_path, organs=["liver"], header={"seed": 3})
    for _ in range(2):  # a second run starts afresh
        state = run_handler(handler, batches)
    direct = score_case(SHIFTED, LABEL, SPACING, NAMES)
    assert state.metrics["mean_dice"] == pytest.approx(((direct[0].dice + direct[1].dice) / 2 + 1.0) / 2)
    assert state.metrics["mean_hd95"] == pytest.approx((direct[0].hd95 + direct[1].hd95) / 4, rel=1e-5)
    assert state.metrics["mean_dice_1"] == pytest.approx((direct[0].dice + 1.0) / 2)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["header"] == {"seed": 3}
    assert scores["organs"]["spleen"]["unlabelled"] == 1
    printed = capsys.readouterr().out
    assert "liver" in printed
    assert "HD95 is the larger" in printed


def test_handlers_that_log_at_the_end_of_the_epoch_see_the_scores(tmp_path):
    """MONAI's MLflow, TensorBoard and log handlers read `state.metrics` there; the manifest at COMPLETED."""
    seen = {}

    class Scores(ScoreSegmentation):
        def attach(self, engine):
            super().attach(engine)
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.update(engine.state.metrics))

    run_handler(Scores(NAMES, tmp_path, organs=["liver"]), [items(LABEL, case="one")])
    assert seen == {"mean_dice": 1.0, "mean_hd95": 0.0, "mean_dice_1": 1.0, "mean_hd95_1": 0.0}


def test_handler_takes_the_mask_and_the_target_of_the_training_batch(tmp_path):
    batch, output = items(ONLY_LIVER, case="one")
    output[0]["label"] = {"label": output[0]["label"], "unlabelled": torch.tensor([False, False, True, False])}
    assert run_handler(ScoreSegmentation(NAMES, tmp_path), [(batch, output)]).metrics["mean_dice"] == 1.0
    assert SegmentationReport.read(tmp_path).cases["", "one"]["spleen"].outcome == "unlabelled"


def test_handler_names_the_case_in_its_errors(tmp_path):
    affine = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0]))
    batch, output = items(SHIFTED, case="abd007")
    output[0]["pred"].affine = affine
    with pytest.raises(InputError, match=r"abd007: prediction and label have different affines"):
        run_handler(ScoreSegmentation(NAMES, tmp_path), [(batch, output)])
    output[0]["label"] = output[0]["label"].as_tensor()
    with pytest.raises(InputError, match=r"abd007: the label carries no affine"):
        run_handler(ScoreSegmentation(NAMES, tmp_path), [(batch, output)])
    assert not list(tmp_path.iterdir())
    run_handler(ScoreSegmentation(NAMES, tmp_path, parity=True), [(batch, output)])
    assert (tmp_path / "scores.json").exists()
    with pytest.raises(TypeError, match="decollate"):
        run_handler(ScoreSegmentation(NAMES, tmp_path), [({}, {"pred": 1})])
