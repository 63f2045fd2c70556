"""Points against a hand calculation; intervals against the resampling written out with loops, and against theory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from benchmarks.studies import statistics
from benchmarks.studies.statistics import Sampled, counted, difference, estimate, sample

DICE = {"kind": "segmentation", "names": ["liver", "spleen"], "patients": [0, 1, 2]}
# Three cases, two seeds. Means of the cases over organs: seed 0 gives 0.8, 0.5, 0.6; seed 1 gives 0.9, 0.6, 0.6.
MAE = [
    {**DICE, "dice": [[0.9, 0.7], [0.6, 0.4], [0.6, None]], "hd95": [[1, 3], [4, 6], [5, None]]},
    {**DICE, "dice": [[0.9, 0.9], [0.8, 0.4], [0.6, None]], "hd95": [[1, 1], [2, 4], [5, None]]},
]
# 0.7, 0.5, 0.4 and 0.6, 0.6, 0.5.
SCRATCH = [
    {**DICE, "dice": [[0.8, 0.6], [0.6, 0.4], [0.4, None]], "hd95": [[2, 4], [4, 6], [6, None]]},
    {**DICE, "dice": [[0.7, 0.5], [0.8, 0.4], [0.5, None]], "hd95": [[2, 6], [2, 4], [7, None]]},
]


def test_points_of_dice_and_distance_by_hand() -> None:
    found = sample(MAE, {"headline": ["liver"]})
    assert found["dice"].point == pytest.approx([(0.8 + 0.5 + 0.6) / 3, (0.9 + 0.6 + 0.6) / 3])
    assert found["dice_headline"].point == pytest.approx([0.7, (0.9 + 0.8 + 0.6) / 3])
    assert found["hd95"].point == pytest.approx([(2 + 5 + 5) / 3, (1 + 3 + 5) / 3])
    assert estimate(found["dice"]).mean == pytest.approx(2 / 3)


def test_a_paired_difference_by_hand() -> None:
    found = difference(sample(MAE)["dice"], sample(SCRATCH)["dice"])
    # By case and seed: 0.1, 0.0, 0.2 and 0.3, 0.0, 0.1; each case's mean over seeds: 0.2, 0.0, 0.15.
    assert found.mean == pytest.approx(0.7 / 6)
    assert 0 <= found.low < found.mean < found.high <= 0.45


def test_the_resampling_is_that_of_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patients drawn first, alike for all; then seeds, whose deviations are widened by the root of S / (S - 1) = 2."""
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    values = np.array([[0.1, 0.0, 0.2], [0.3, 0.0, 0.1]])  # seed, case
    patients = np.random.default_rng(0)
    drawn = [values[:, patients.integers(3, size=3)].mean(axis=1) for _ in range(50)]
    seeds = np.random.default_rng(1).integers(2, size=(50, 2))
    expected = [d.mean() + np.sqrt(2) * (d[chosen].mean() - d.mean()) for d, chosen in zip(drawn, seeds, strict=True)]
    found = difference(sample(MAE)["dice"], sample(SCRATCH)["dice"])
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))
    tail = min(sum(value <= 1e-12 for value in expected), sum(value >= -1e-12 for value in expected))
    assert found.p == pytest.approx(min(1.0, 2 * (tail + 1) / 51))


def test_the_spread_is_that_of_patients_and_of_seeds_together() -> None:
    """Variance of a mean over P patients and S seeds: s2_patients / P + s2_seeds / S, with unbiased s2."""
    random = np.random.default_rng(3)
    patients, seeds = random.normal(0, 0.1, 200), np.array([-0.05, 0.0, 0.05])
    runs = [
        {"kind": "segmentation", "names": ["liver"], "patients": list(range(200)),
         "dice": [[value + seed] for value in patients], "hd95": [[1.0]] * 200}
        for seed in seeds
    ]  # fmt: skip
    drawn = statistics._over_seeds(sample(runs)["dice"].drawn)
    expected = patients.var() / 200 + seeds.var(ddof=1) / 3
    assert drawn.var() == pytest.approx(expected, rel=0.1)


def test_macro_auc_is_that_of_scikit_learn_over_the_findings_with_enough_positives() -> None:
    random = np.random.default_rng(5)
    labels = (random.random((60, 3)) < [0.4, 0.3, 0.03]).astype(int)
    labels[:2, 2] = 1
    probabilities = random.random((60, 3)).round(2)
    run = {"kind": "multi_label", "patients": list(range(60)), "labels": labels.tolist(),
           "probabilities": probabilities.tolist()}  # fmt: skip
    assert counted(labels.astype(float), 10).tolist() == [True, True, False]
    expected = np.mean([roc_auc_score(labels[:, k], probabilities[:, k]) for k in range(2)])
    assert sample([run], {"min_positives": 10})["macro_auc"].point == pytest.approx([expected])


def test_distances_that_were_not_measured_are_no_score() -> None:
    run = {
        "kind": "segmentation",
        "names": ["lesion"],
        "patients": [0, 1],
        "dice": [[0.5], [0.7]],
        "hd95": [[None]] * 2,
    }
    assert list(sample([run])) == ["dice"]


def test_unknown_labels_are_left_out() -> None:
    run = {"kind": "multi_label", "patients": [0, 1, 2, 3], "labels": [[1], [0], [None], [0]],
           "probabilities": [[0.8], [0.2], [0.0], [0.9]]}  # fmt: skip
    assert sample([run])["macro_auc"].point == pytest.approx([0.5])


def test_classes_have_an_accuracy() -> None:
    run = {"kind": "multi_class", "patients": [0, 0, 1, 2], "labels": [0, 1, 2, 2],
           "probabilities": [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.5, 0.2, 0.3]]}  # fmt: skip
    found = sample([run])
    assert found["accuracy"].point == pytest.approx([0.75])
    # Per class against the rest; class 2 ranks a 0.1 and a 0.1 behind 0.8 and 0.3.
    assert found["macro_auc"].point == pytest.approx([(1 + 1 + 1) / 3])
    assert np.isin(
        found["accuracy"].drawn.round(6), np.array([a / b for b in range(3, 7) for a in range(b + 1)]).round(6)
    ).all()


@settings(max_examples=20, deadline=None)
@given(shift=st.sampled_from([-0.3, -0.001, 0.0, 0.02, 0.5]), seeds=st.integers(1, 4), seed=st.integers(0, 100))
def test_a_constant_shift_is_the_difference_whatever_is_drawn(shift: float, seeds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    base = Sampled(random.random(seeds), random.random((2000, seeds)))
    found = difference(Sampled(base.point + shift, base.drawn + shift), base)
    assert (found.mean, found.low, found.high) == pytest.approx((shift, shift, shift), abs=1e-9)
    assert found.p == pytest.approx(1.0 if shift == 0.0 else 2 / 2001)
