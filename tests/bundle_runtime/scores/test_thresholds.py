import hashlib
import json

import numpy as np
import pytest
from bundle_runtime.scores.classification import at_threshold
from bundle_runtime.scores.thresholds import choose_thresholds, read_thresholds, write_thresholds
from custom_components.errors import InputError
from scored_images import FINDINGS, several
from sklearn.metrics import roc_curve


@pytest.fixture
def chosen():
    return choose_thresholds(*several(400, skill=3), FINDINGS)


def test_youden_agrees_with_scikit_learn(chosen):
    probabilities, labels = several(400, skill=3)
    for column, name in enumerate(FINDINGS):
        known = np.isfinite(labels[:, column])
        false, found, _ = roc_curve(labels[known, column], probabilities[known, column], drop_intermediate=False)
        reached = at_threshold(probabilities[:, column], labels[:, column], chosen[name]["chosen"])
        assert reached["sensitivity"] + reached["specificity"] - 1 == pytest.approx((found - false).max())


def test_a_reliable_threshold_is_taken(chosen):
    entry = chosen["Effusion"]
    assert entry["reliable"]
    assert entry["reason"] == ""
    assert entry["value"] == entry["chosen"]
    assert entry["spread"] <= 0.2


def test_few_positives_fall_back_to_a_half():
    probabilities = np.linspace(0, 1, 60)[:, None]
    for positives, reliable in ((9, False), (10, True)):
        labels = (np.arange(60) >= 60 - positives).astype(float)[:, None]
        entry = choose_thresholds(probabilities, labels, ["Hernia"])["Hernia"]
        assert (entry["reliable"], entry["positives"]) == (reliable, positives)
        assert (entry["value"] == 0.5) is not reliable
        assert ("9 positives, fewer than 10" in entry["reason"]) is not reliable


def test_a_threshold_that_moves_between_resamples_falls_back_to_a_half():
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 1)) < 0.4).astype(float)
    entry = choose_thresholds(rng.random((60, 1)), labels, ["noise"])["noise"]  # no skill at all
    assert entry["spread"] > 0.2
    assert not entry["reliable"]
    assert entry["value"] == 0.5
    assert "spreads over" in entry["reason"]


@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan])
def test_a_finding_of_one_kind_falls_back_to_a_half(fill):
    entry = choose_thresholds(np.linspace(0, 1, 30)[:, None], np.full((30, 1), fill), ["x"])["x"]
    assert (entry["value"], entry["reliable"]) == (0.5, False)
    assert np.isnan(entry["chosen"])


def test_bad_settings():
    probabilities, labels = several(20)
    with pytest.raises(InputError, match="do not fit 2 findings"):
        choose_thresholds(probabilities, labels, FINDINGS[:2])


def test_written_and_read_back(tmp_path, chosen):
    model = tmp_path / "model.pt"
    model.write_bytes(b"weights")
    path = tmp_path / "thresholds.json"
    content = write_thresholds(path, chosen, model, {"section": "validation"})
    assert content["model_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert json.loads(path.read_text())["header"] == {"section": "validation"}
    again = read_thresholds(path, FINDINGS[::-1], model)
    assert list(again) == FINDINGS[::-1]
    assert {name: entry["value"] for name, entry in again.items()} == {n: chosen[n]["value"] for n in FINDINGS[::-1]}
    assert {name: entry["reliable"] for name, entry in again.items()} == {
        n: chosen[n]["reliable"] for n in FINDINGS[::-1]
    }


def test_thresholds_of_another_model_or_other_findings_are_refused(tmp_path, chosen):
    model, other = tmp_path / "model.pt", tmp_path / "other.pt"
    model.write_bytes(b"weights")
    other.write_bytes(b"other weights")
    path = tmp_path / "thresholds.json"
    write_thresholds(path, chosen, model)
    with pytest.raises(InputError, match="was chosen for another model"):
        read_thresholds(path, FINDINGS, other)
    with pytest.raises(InputError, match="the run's findings are Mass"):
        read_thresholds(path, ["Mass"], model)
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_thresholds(path, FINDINGS, tmp_path / "missing.pt")


def test_files_that_are_no_thresholds(tmp_path, chosen):
    with pytest.raises(InputError, match="cannot be read as thresholds"):
        read_thresholds(tmp_path / "missing.json", FINDINGS)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="cannot be read as thresholds"):
        read_thresholds(tmp_path / "list.json", FINDINGS)
    write_thresholds(tmp_path / "out.json", {**chosen, "Mass": {**chosen["Mass"], "value": 2}})
    with pytest.raises(InputError, match="threshold of Mass is 2"):
        read_thresholds(tmp_path / "out.json", FINDINGS)
