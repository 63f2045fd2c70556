import time

import numpy as np
import pytest
from bundle_runtime.scores.resampling import Ranking, Resamples, ranking_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_images import patients, several
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def oracle(scores, labels, weights):
    """scikit-learn's answers with weights in place of repeated cases."""
    false, found, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    return {
        "auc": roc_auc_score(labels, scores, sample_weight=weights),
        "average_precision": average_precision_score(labels, scores, sample_weight=weights),
        "sensitivity_90": found[false <= 0.1 + 1e-6].max(),
        "sensitivity_95": found[false <= 0.05 + 1e-6].max(),
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), digits=st.integers(0, 2))
def test_every_resample_agrees_with_scikit_learn(seed, digits):
    rng = np.random.default_rng(seed)
    labels = (rng.random(60) < 0.3).astype(float)
    scores = np.round(rng.normal(size=60) + labels, digits)  # 0 digits: mostly ties
    resamples = Resamples.draw(patients(60), 5, seed)
    result = ranking_scores(scores, labels, resamples)
    for column in range(5):
        weights = resamples.counts[resamples.member, column]
        drawn = weights > 0
        if len(set(labels[drawn])) < 2:
            assert np.isnan(result["auc"][column])
            continue
        for name, value in oracle(scores[drawn], labels[drawn], weights[drawn]).items():
            assert result[name][column] == pytest.approx(value, abs=1e-9), name


def test_unknown_labels_take_no_part():
    probabilities, labels = several()
    known = np.isfinite(labels[:, 0])
    result = ranking_scores(probabilities[:, 0], labels[:, 0], Resamples.once(len(labels)))
    assert known.sum() < len(labels)
    assert result["auc"][0] == pytest.approx(roc_auc_score(labels[known, 0], probabilities[known, 0]))


@pytest.mark.parametrize("labels", [np.zeros(6), np.ones(6), np.full(6, np.nan)])
def test_a_finding_of_one_kind_has_no_score_instead_of_zero(labels):
    # Regression, SelfMedMAE: a column with one kind of label counted as AUC 0.
    result = ranking_scores(np.arange(6.0), labels, Resamples.draw(list("aabbcc"), 4))
    assert all(np.isnan(values).all() for values in result.values())


def test_patients_are_drawn_whole():
    resamples = Resamples.draw(["a", "b", "a", "c"], 50, seed=3)
    assert resamples.patients == 3
    assert (resamples.counts.sum(axis=0) == 3).all()
    weights = resamples.counts[resamples.member]
    assert np.array_equal(weights[0], weights[2])
    assert len(np.unique(resamples.counts, axis=1).T) > 5


def test_cut_is_a_threshold_that_parts_the_runs():
    scores, labels = np.array([0.9, 0.8, 0.8, 0.3, 0.2, 0.1]), np.array([1, 0, 1, 0, 0, 1.0])
    ranking = Ranking.of(scores, labels)
    found, false = ranking.curve(Resamples.once(6))
    for cut, hits, misses in zip(ranking.cut, found[:, 0], false[:, 0], strict=True):
        assert hits == labels[scores >= cut].sum()
        assert misses == (1 - labels)[scores >= cut].sum()
    assert len(ranking.cut) == 4  # 0.3 and 0.2 are one run


def test_interval_needs_two_patients():
    assert np.isnan(Resamples.draw(["a", "a"], 9).interval(np.ones(9))).all()
    low, high = Resamples.draw(["a", "b"], 101).interval(np.arange(101.0), 0.9)
    assert (low, high) == pytest.approx((5, 95))


@pytest.mark.slow
def test_the_nih_test_list_takes_less_than_a_minute():
    rng = np.random.default_rng(0)
    labels = (rng.random((25_596, 14)) < np.linspace(0.003, 0.24, 14)).astype(float)
    scores = rng.normal(size=labels.shape) + labels
    start = time.monotonic()
    resamples = Resamples.draw(rng.integers(2797, size=25_596).astype(str), 1000)
    for column in range(14):
        ranking_scores(scores[:, column], labels[:, column], resamples)
    assert time.monotonic() - start < 60  # 4 s when measured
