import numpy as np
import pytest
from bundle_runtime.scores import classification as scores
from bundle_runtime.scores.resampling import Resamples
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_images import patients, several, single
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve


@pytest.mark.parametrize("ordered", [False, True])
def test_scores_of_the_sample_are_scikit_learns(ordered):
    for probabilities, labels in (several(), single()):
        point = scores.point_scores(probabilities, labels, ordered)
        columns = scores.findings(labels, probabilities.shape[1])
        for column, (values, truth) in enumerate(zip(probabilities.T, columns.T, strict=True)):
            values, truth = values[np.isfinite(truth)], truth[np.isfinite(truth)]
            false, found, _ = oracle.roc_curve(truth, values, drop_intermediate=False)
            assert point["auc"][column] == pytest.approx(oracle.roc_auc_score(truth, values), abs=1e-12)
            expected = oracle.average_precision_score(truth, values)
            assert point["average_precision"][column] == pytest.approx(expected, abs=1e-12)
            assert point["sensitivity_90"][column] == pytest.approx(found[false <= 0.1 + 1e-6].max())
            assert point["sensitivity_95"][column] == pytest.approx(found[false <= 0.05 + 1e-6].max())
        if labels.ndim == 1:
            _agree(point, labels, probabilities.argmax(axis=1), ordered)


def _agree(found, truth, called, ordered):
    """Scores of class indices are those of scikit-learn."""
    expected = {
        "accuracy": oracle.accuracy_score(truth, called),
        "balanced_accuracy": oracle.balanced_accuracy_score(truth, called),
        "macro_f1": oracle.f1_score(truth, called, average="macro"),
        "kappa": oracle.cohen_kappa_score(truth, called, weights="quadratic" if ordered else None),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value), name


@pytest.mark.parametrize("ordered", [False, True])
def test_resampled_class_scores_agree_with_scikit_learn(ordered):
    probabilities, labels = single(60)
    predicted = probabilities.argmax(axis=1)
    resamples = Resamples.draw(patients(60), 6, 1)
    drawn = scores.resampled_scores(probabilities, labels, resamples, ordered)
    for column in range(6):
        rows = np.repeat(np.arange(60), resamples.counts[resamples.member, column].astype(int))
        _agree({name: drawn[name][column] for name in scores.OVERALL}, labels[rows], predicted[rows], ordered)


def test_macro_auc_is_scikit_learns_one_against_the_rest():
    probabilities, labels = single()
    point = scores.point_scores(probabilities, labels)
    expected = oracle.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert scores.macro(point["auc"]) == pytest.approx(expected)


def test_a_class_that_is_not_there_is_left_out_and_not_zero():
    probabilities, labels = single()
    kept = labels < 2
    point = scores.point_scores(probabilities[kept], labels[kept])
    assert np.isnan(point["auc"][2])
    assert scores.macro(point["auc"]) == pytest.approx(point["auc"][:2].mean())
    called = probabilities[kept].argmax(axis=1)
    assert (called == 2).any()
    assert point["macro_f1"] == pytest.approx(oracle.f1_score(labels[kept], called, labels=[0, 1], average="macro"))
    drawn = scores.resampled_scores(probabilities[kept], labels[kept], Resamples.once(kept.sum()))
    assert drawn["macro_f1"][0] == pytest.approx(float(point["macro_f1"]))


def test_kappa_where_there_is_nothing_to_agree_on():
    one = np.array([[0.9, 0.1]] * 4)
    assert np.isnan(scores.point_scores(one, np.zeros(4, int))["kappa"])
    assert scores.point_scores(one, np.array([0, 0, 0, 1]))["kappa"] == 0


def test_macro_counts_as_zero_only_what_it_is_told_to():
    values = np.array([0.8, np.nan, np.nan])
    assert scores.macro(values) == pytest.approx(0.8)
    assert scores.macro(values, np.array([False, True, False])) == pytest.approx(0.4)
    assert np.isnan(scores.macro(np.full(2, np.nan)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), number=st.integers(1, 80))
def test_reliability_agrees_with_scikit_learn(seed, number):
    rng = np.random.default_rng(seed)
    probabilities, outcomes = np.round(rng.random(number), 1), rng.integers(2, size=number).astype(float)
    count, predicted, found = scores.reliability(probabilities, outcomes)
    filled = count > 0
    expected_found, expected_predicted = calibration_curve(outcomes, probabilities, n_bins=15)
    assert found[filled] == pytest.approx(expected_found)
    assert predicted[filled] == pytest.approx(expected_predicted)
    assert count.sum() == number
    gap = (count[filled] * np.abs(expected_found - expected_predicted)).sum() / number
    assert scores.calibration_error(probabilities, outcomes) == pytest.approx(gap)


def test_calibration_error_of_known_cases():
    assert scores.calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    assert scores.calibration_error(np.full(4, 0.9), np.array([1, 0, 1, 0])) == pytest.approx(0.4)
    assert np.isnan(scores.calibration_error(np.array([0.5]), np.array([np.nan])))


def test_scores_at_a_threshold():
    probabilities, labels = several()
    known = np.isfinite(labels[:, 1])
    truth, called = labels[known, 1], probabilities[known, 1] >= 0.4
    result = scores.at_threshold(probabilities[:, 1], labels[:, 1], 0.4)
    assert result["sensitivity"] == pytest.approx(oracle.recall_score(truth, called))
    assert result["specificity"] == pytest.approx(oracle.recall_score(truth, called, pos_label=0))
    assert result["f1"] == pytest.approx(oracle.f1_score(truth, called))
    assert np.isnan(scores.at_threshold(probabilities[:, 1], np.zeros(120), 0.4)["sensitivity"])


def test_large_logits_do_not_tie():
    # Regression, SelfMedMAE: AUC on fp16 scores, in which everything above a logit of 8 is 1.
    logits = np.array([[18.0], [18.5], [19.0]], np.float32)
    assert len(np.unique(scores.to_probabilities(logits, "multi_label"))) == 3
    assert len(np.unique((1 / (1 + np.exp(-logits))).astype(np.float16))) == 1
    extreme = np.array([[-1e4, 1e4]], np.float32)
    assert scores.to_probabilities(extreme, "multi_label").tolist() == [[0, 1]]
    assert scores.to_probabilities(extreme, "multi_class").tolist() == [[0, 1]]
