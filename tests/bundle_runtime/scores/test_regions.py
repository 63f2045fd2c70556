"""Scores of overlapping brain tumour regions."""

import json
import math

import numpy as np
import pytest
import torch
from bundle_runtime.data.conventions import CONVENTIONS
from bundle_runtime.data.tissue_labels import TissueLabeld
from bundle_runtime.scores.segmentation import score_case
from bundle_runtime.scores.segmentation_handler import ScoreSegmentation
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES, region_masks, tissue_map
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ignite.engine import Engine, Events
from mae_tools.compare.command import compare
from monai.data import MetaTensor
from monai.metrics import compute_dice, compute_hausdorff_distance

REGIONS = ["background", "TC", "WT", "ET"]
PARITY = [*REGIONS, "NCR/NET"]
SPACING = (1.0, 1.5, 2.0)
CODES = {name: code for code, name in enumerate(TISSUES)}


def tumour(shift: int = 0, enhancing: bool = True) -> np.ndarray:
    """Oedema around a core with an enhancing part, as tissue codes."""
    codes = np.zeros((24, 20, 16), np.uint8)
    for tissue, start, stop in (
        ("oedema", 4, 14),
        ("non-enhancing core", 6, 11),
        ("enhancing tumour" if enhancing else "non-enhancing core", 8, 11),
    ):
        codes[start + shift : stop + shift, start:stop, start:stop] = CODES[tissue]
    return codes


def masks_of(codes: np.ndarray, names: list[str] = REGIONS) -> torch.Tensor:
    return region_masks(torch.from_numpy(codes)[None], names)


def monai_scores(prediction: np.ndarray, label: np.ndarray, names: list[str]) -> tuple[list[float], list[float]]:
    """MONAI's Dice and HD95 in mm of each region as a channel of its own."""
    sides = [masks_of(codes, names)[None].float() for codes in (prediction, label)]
    hd95 = compute_hausdorff_distance(*sides, include_background=True, percentile=95, spacing=list(SPACING))
    return compute_dice(*sides, include_background=True)[0].tolist(), hd95[0].tolist()


def test_each_region_is_a_structure_of_its_own_as_in_monai() -> None:
    prediction, label = tumour(shift=2), tumour()
    rows = score_case(prediction, label, SPACING, PARITY, regions=True)
    dice, hd95 = monai_scores(prediction, label, PARITY)
    assert [row.structure for row in rows] == PARITY[1:]
    assert [row.dice for row in rows] == pytest.approx(dice)
    assert [row.hd95 for row in rows] == pytest.approx(hd95)
    voxel = math.prod(SPACING) / 1000
    # WT holds all of the tumour, oedema or not; ET is the 3^3 block inside TC.
    expected = {"WT": 10**3, "TC": 5**3, "ET": 3**3, "NCR/NET": 5**3 - 3**3}
    assert {row.structure: row.volume_ml_label for row in rows} == pytest.approx(
        {name: count * voxel for name, count in expected.items()}
    )


@pytest.mark.filterwarnings("ignore:the (prediction|ground truth) of class")
@settings(max_examples=25, deadline=None)
@given(*[arrays(np.uint8, (6, 5, 4), elements=st.integers(0, 3))] * 2)
def test_agrees_with_monai_on_any_pair_of_maps(prediction: np.ndarray, label: np.ndarray) -> None:
    dice, hd95 = monai_scores(prediction, label, REGIONS)
    for row, d, h in zip(score_case(prediction, label, SPACING, REGIONS, regions=True), dice, hd95, strict=True):
        if row.outcome == "found":
            assert (row.dice, row.hd95) == pytest.approx((d, h))
        else:  # MONAI: NaN for an empty label and for every distance to nothing, so that misses vanish from the mean
            assert math.isnan(h)
            assert row.outcome in ("missed", "hallucinated", "absent")


@settings(max_examples=25, deadline=None)
@given(arrays(np.bool_, (3, 6, 5, 4)), arrays(np.uint8, (6, 5, 4), elements=st.integers(0, 3)))
def test_masks_are_scored_as_they_are(masks: np.ndarray, label: np.ndarray) -> None:
    """As the papers' code does: regions that contradict each other (ET outside TC) are not made to nest."""
    dice = compute_dice(torch.from_numpy(masks)[None].float(), masks_of(label)[None].float(), include_background=True)
    rows = score_case(masks, label, SPACING, REGIONS, regions=True, parity=True)
    for row, expected in zip(rows, dice[0].tolist(), strict=True):
        assert row.dice == pytest.approx(expected, nan_ok=True)  # NaN alike: not labelled, not scored
    nested = score_case(tissue_map(torch.from_numpy(masks), REGIONS)[0].numpy(), label, SPACING, REGIONS, regions=True)
    assert nested[2].volume_ml_prediction == pytest.approx(rows[2].volume_ml_prediction)  # ET comes first


def test_missed_absent_and_undrawn_regions() -> None:
    no_et = tumour(enhancing=False)
    missed = {row.structure: row for row in score_case(no_et, tumour(), SPACING, REGIONS, regions=True)}
    assert (missed["ET"].outcome, missed["ET"].dice) == ("missed", 0.0)
    assert missed["ET"].hd95 == pytest.approx(math.dist((0, 0, 0), np.multiply((24, 20, 16), SPACING)))
    assert (missed["TC"].outcome, missed["TC"].dice) == ("found", 1.0)
    absent = score_case(no_et, no_et, SPACING, REGIONS, regions=True)[2]
    assert absent.outcome == "absent"
    # A label with one value for the whole core: TC and WT are scored, ET is not.
    values = np.select([tumour() == CODES["oedema"], tumour() > CODES["oedema"]], [1, 2])
    item = {"label": torch.from_numpy(values)[None], "label_convention": '{"1": "oedema", "2": "tumour core"}'}
    undivided = TissueLabeld()(item)["label"][0].numpy()
    rows = score_case(tumour(), undivided, SPACING, REGIONS, unlabelled=["ET"], regions=True)
    assert [(row.outcome, row.dice) for row in rows[:2]] == [("found", 1.0)] * 2
    assert (rows[2].outcome, rows[2].volume_ml_prediction) == ("unlabelled", pytest.approx(27 * 0.003))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": tumour() + 3}, ["label holds values", "indices 0 to 5"]),
        ({"prediction": np.zeros((2, 24, 20, 16), bool)}, ["2 masks", "['TC', 'WT', 'ET']"]),
        ({"prediction": np.full((3, 24, 20, 16), 2)}, ["prediction holds values", "0 to 1"]),
        ({"prediction": np.zeros((3, 20, 20, 16), bool)}, ["(20, 20, 16)", "one grid"]),
        ({"class_names": ["background", "liver"]}, ["'liver'", "no region"]),
    ],
)
def test_bad_region_input_is_named(change: dict, words: list[str]) -> None:
    given = {"prediction": tumour(), "label": tumour(), "spacing": SPACING, "class_names": REGIONS, **change}
    with pytest.raises(InputError) as error:
        score_case(**given, regions=True)
    for word in words:
        assert word in str(error.value)


# --- report, handler, comparison ------------------------------------------------------------------------------------


def run(handler: ScoreSegmentation, cases: list[tuple[dict, dict]]) -> dict:
    engine = Engine(lambda engine, pair: pair[1])

    def show_batch(engine: Engine) -> None:
        engine.state.batch = [engine.state.batch[0]]
        engine.state.output = [engine.state.output]

    engine.add_event_handler(Events.ITERATION_COMPLETED, show_batch)
    handler.attach(engine)
    return engine.run(cases, max_epochs=1).metrics


def case(name: str, prediction: np.ndarray, label: np.ndarray, **extra: object) -> tuple[dict, dict]:
    affine = torch.diag(torch.tensor([*SPACING, 1.0]))
    prediction = prediction if prediction.ndim == 4 else prediction[None]
    output = {
        "pred": MetaTensor(torch.from_numpy(prediction), affine=affine),
        "label": MetaTensor(torch.from_numpy(label)[None], affine=affine),
    }
    return {"case": name, "patient_id": name, **extra}, output


def test_handler_scores_tissue_maps_and_masks(tmp_path, capsys) -> None:
    mask = torch.tensor([False, False, False, True])
    cases = [case("a", tumour(1), tumour()), case("b", tumour(), tumour(enhancing=False), unlabelled=mask)]
    metrics = run(ScoreSegmentation(REGIONS, tmp_path, regions=True, chosen=["ET"]), cases)
    direct = score_case(tumour(1), tumour(), SPACING, REGIONS, regions=True)
    assert metrics["mean_dice"] == pytest.approx((np.mean([row.dice for row in direct]) + 1.0) / 2)
    assert metrics["mean_dice_1"] == pytest.approx(direct[2].dice)
    printed = capsys.readouterr().out
    header, line = (next(t for t in printed.splitlines() if t.startswith(start)) for start in ("region ", "ET "))
    assert header.endswith("ml label  ml predicted  scored  missed  halluc.  unlabelled")
    assert line.split()[-6:] == ["0.08", "0.08", "1", "0", "0", "1"]
    assert "ET: enhancing tumour" in printed
    assert "a region that is missed" in printed
    assert "organ" not in printed
    masks = [case("a", masks_of(tumour(1)).numpy(), tumour())]
    assert run(ScoreSegmentation(REGIONS, tmp_path, regions=True), masks)["mean_dice"] == pytest.approx(
        np.mean([row.dice for row in direct])
    )
    with pytest.raises(InputError, match="'liver', which is no region"):
        ScoreSegmentation(["background", "liver"], tmp_path, regions=True)


def test_the_label_value_that_the_papers_call_et_is_reported_under_its_own_name(tmp_path) -> None:
    """MONAI tutorials issue 1355 and SelfMedMAE's med_transforms.py: MSD's value 2 was read as ET; it is the core."""
    msd = np.select([tumour() == code for code in (1, 2, 3)], [1, 2, 3]).astype(np.uint8)
    label = CONVENTIONS["msd"].decode(msd)
    prediction = tumour(1)
    run(ScoreSegmentation(PARITY, tmp_path, regions=True, parity=True), [case("a", prediction, label)])
    scores = json.loads((tmp_path / "scores.json").read_text())
    theirs = compute_dice(*(torch.from_numpy(values == 2)[None, None].float() for values in (prediction, msd)))
    assert scores["organs"]["NCR/NET"]["dice"]["mean"] == pytest.approx(float(theirs))
    assert scores["organs"]["ET"]["dice"]["mean"] != pytest.approx(float(theirs), abs=0.01)
    assert [note for note in scores["notes"] if "1355" in note and "not ET" in note]
    plain = SegmentationReport(REGIONS, regions=True)
    assert not any("1355" in note for note in plain.explanations())


def test_two_evaluations_of_regions_are_compared_as_regions(tmp_path) -> None:
    for name, shift in (("a", 2), ("b", 1)):
        report = SegmentationReport(REGIONS, regions=True)
        for number in range(3):
            rows = score_case(tumour(shift), tumour(), SPACING, REGIONS, regions=True)
            report.add(f"case{number}", f"p{number}", rows)
        report.write(tmp_path / name)
        again = SegmentationReport.read(tmp_path / name)
        assert again.regions
        np.testing.assert_equal(again.summary(), report.summary())
    text, result = compare(tmp_path / "a", tmp_path / "b", "from scratch", "MAE")
    assert list(result["organs"]) == REGIONS[1:]
    assert result["organs"]["ET"]["dice"]["difference"]["mean"] > 0.2
    for words in ("mean over cases, 3 regions", "Regions missed: 0 (from scratch), 0 (MAE).", "WT: whole tumour"):
        assert words in text
    assert "organ" not in text
    as_organs = SegmentationReport(REGIONS)
    as_organs.add("case0", "p0", rows)
    as_organs.write(tmp_path / "organs")
    with pytest.raises(InputError, match="differ in regions"):
        compare(tmp_path / "a", tmp_path / "organs", "a", "b")
