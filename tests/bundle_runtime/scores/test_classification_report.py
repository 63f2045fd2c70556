import csv
import json

import numpy as np
import pytest
from bundle_runtime.scores.classification_report import ClassificationReport
from custom_components.errors import InputError
from scored_images import FINDINGS, GRADES, cases, patients, report, several
from sklearn.metrics import confusion_matrix, roc_auc_score


def without_hernia(parity=False):
    probabilities, labels = several()
    labels[labels[:, 2] == 1, 2] = 0
    return ClassificationReport(FINDINGS, "multi_label", cases(120), probabilities, labels, parity=parity)


def test_findings_with_intervals_and_counts():
    made = report()
    summary = made.summary()
    for column, name in enumerate(FINDINGS):
        entry, labels = summary["classes"][name], made.labels[:, column]
        known = np.isfinite(labels)
        auc = roc_auc_score(labels[known], made.probabilities[known, column])
        assert entry["auc"]["mean"] == pytest.approx(auc)
        assert entry["auc"]["low"] < auc < entry["auc"]["high"]
        assert (entry["known"], entry["positives"]) == (known.sum(), np.nansum(labels))
        assert entry["threshold"]["value"] == 0.5
    means = [summary["classes"][name]["auc"]["mean"] for name in FINDINGS]
    assert (
        summary["macro"]["auc"]["mean"] == pytest.approx(np.mean(means)) == pytest.approx(made.metrics()["macro_auc"])
    )
    assert summary["patients"] == 40
    assert summary == report().summary()  # the same seed, the same intervals


def test_an_absent_finding_is_named_and_never_counted_as_zero():
    # Regression, SelfMedMAE: a column with one kind of label counted as AUC 0 and dragged the mean down.
    made = without_hernia()
    summary = made.summary()
    assert list(summary["undefined"]) == ["Hernia"]
    means = [summary["classes"][name]["auc"]["mean"] for name in FINDINGS]
    assert np.isnan(means[2])
    assert summary["macro"]["auc"]["mean"] == pytest.approx(np.mean(means[:2]))
    assert any(note.startswith("Hernia: no positive among") for note in summary["notes"])
    assert "macro mean, 2 classes" in made.table(summary)


def test_parity_counts_it_as_zero_and_says_so():
    made, honest = without_hernia(parity=True), without_hernia().summary()
    summary = made.summary()
    assert summary["macro"]["auc"]["mean"] == pytest.approx(honest["macro"]["auc"]["mean"] * 2 / 3)
    assert summary["macro"]["average_precision"]["mean"] == honest["macro"]["average_precision"]["mean"]
    assert "counts as AUC 0" in summary["policy"]
    assert "macro mean, 3 classes" in made.table(summary)


def test_images_without_patients_are_not_said_to_be_of_as_many_patients():
    """Each image counts as its own patient where the datalist names none: nobody knows how many there were."""
    probabilities, labels = several(60)
    unnamed = [case._replace(patient_id="") for case in cases(60)]
    made = ClassificationReport(FINDINGS, "multi_label", unnamed, probabilities, labels)
    summary = made.summary()
    assert made.table(summary).startswith("60 images, each counted as a patient of its own\n")
    assert "bootstrap resamples of images;" in summary["policy"]
    assert "bootstrap resamples of patients;" in report().summary()["policy"]
    assert report().table(report().summary()).startswith("120 images of 40 patients\n")


def test_images_of_one_patient_widen_the_interval():
    # The same images, each twice: as images of 60 patients they tell no more than 60 images do.
    probabilities, labels = several(60, unknown=0)
    double = np.repeat(probabilities, 2, axis=0), np.repeat(labels, 2, axis=0)
    paired, alone = (
        ClassificationReport(FINDINGS, "multi_label", cases(120, images), *double).summary()["macro"]["auc"]
        for images in (2, 1)
    )
    assert paired["mean"] == alone["mean"]
    assert paired["high"] - paired["low"] > 1.2 * (alone["high"] - alone["low"])


def test_classes():
    made = report("multi_class", ordered=True)
    summary = made.summary()
    assert made.metrics().keys() == {"macro_auc", "mean_ap", "accuracy", "balanced_accuracy", "macro_f1", "kappa"}
    expected = confusion_matrix(made.labels, made.probabilities.argmax(axis=1))
    assert summary["confusion_matrix"] == expected.tolist()
    assert summary["overall"]["accuracy"]["mean"] == pytest.approx(np.trace(expected) / 120)
    assert summary["classes"]["mild"]["recall"] == pytest.approx(expected[1, 1] / expected[1].sum())
    assert "quadratic" in summary["policy"]
    text = made.table(summary)
    assert all(word in text for word in (*GRADES, "balanced accuracy", "kappa", "macro mean, 3 classes"))


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_written_and_read_back_without_loss(tmp_path, task):
    made = report(task, seed=3)
    made.write(tmp_path, {"model_file": "model.pt"})
    again = ClassificationReport.read(tmp_path)
    assert np.array_equal(again.probabilities, made.probabilities)
    assert np.array_equal(again.labels, made.labels, equal_nan=True)
    assert again.cases == made.cases
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["header"] == {"model_file": "model.pt"}
    assert content["macro"] == again.summary()["macro"]
    with (tmp_path / "cases.csv").open() as stream:
        line = next(csv.DictReader(stream))
    assert (line["case"], line["patient_id"], line["file"]) == made.cases[0]


def test_bad_input(tmp_path):
    probabilities, labels = several(6)
    with pytest.raises(InputError, match="no image was scored"):
        ClassificationReport(FINDINGS, "multi_label", [], np.empty((0, 3)), np.empty((0, 3)))
    with pytest.raises(InputError, match="do not fit 6 images and 2 classes"):
        ClassificationReport(FINDINGS[:2], "multi_label", cases(6), probabilities, labels)
    with pytest.raises(InputError, match="is there twice"):
        ClassificationReport(FINDINGS, "multi_label", cases(1) * 6, probabilities, labels)
    probabilities[4, 1] = np.nan
    with pytest.raises(InputError, match=r"/data/c4.png: the network's output is not finite"):
        ClassificationReport(FINDINGS, "multi_label", cases(6), probabilities, labels)
    with pytest.raises(InputError, match="cannot be read as scores"):
        ClassificationReport.read(tmp_path)


@pytest.mark.parametrize(("images", "words"), [(120, "Only one patient"), (30, "Only 4 patients")])
def test_few_patients_are_said(images, words):
    summary = report(images=images).summary()
    assert any(note.startswith(words) for note in summary["notes"])
    assert np.isnan(summary["macro"]["auc"]["low"]) == (images == 120)


def test_intervals_of_rare_findings_are_not_to_be_trusted():
    # Two positive patients: their resamples hardly differ, and the interval looks narrow.
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(60) % 2, np.arange(60) < 4, np.zeros(60)], 1).astype(float)
    labels[-6:, 1] = np.nan
    made = ClassificationReport(FINDINGS, "multi_label", cases(60, images=2), rng.random((60, 3)), labels)
    assert [note for note in made.summary()["notes"] if "too narrow" in note] == [
        "Bootstrap intervals of Mass (2) are too narrow: with the finding or without it, whichever is rarer, there are "
        "fewer than 10 patients (their number)."
    ]
    assert report(number=240).scarce == []
    few = report(images=30)  # said of all findings at once
    assert few.scarce == []


def test_a_patient_without_a_name_is_one_of_its_own():
    probabilities, labels = several()
    nameless = [case._replace(patient_id="") for case in cases(120)]
    made = ClassificationReport(FINDINGS, "multi_label", nameless, probabilities, labels)
    assert made.summary()["patients"] == 120
    assert len(set(patients(120))) == 40
