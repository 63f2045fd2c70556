import json

import numpy as np
import pytest
from bundle_runtime.scores.classification_report import ClassificationReport
from bundle_runtime.scores.segmentation import Row
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from mae_tools.compare.command import compare
from scipy.stats import binomtest
from scored_images import FINDINGS, cases, report


def write(folder, made):
    made.write(folder)
    return folder


def worse(made, noise, seed=1):
    """The same images and labels, with other probabilities."""
    rng = np.random.default_rng(seed)
    mixed = (1 - noise) * made.probabilities + noise * rng.random(made.probabilities.shape)
    if made.task == "multi_class":
        mixed /= mixed.sum(axis=1, keepdims=True)
    return ClassificationReport(made.class_names, made.task, made.cases, mixed, made.labels)


def test_findings_paired_within_patients(tmp_path):
    good = report(number=240)
    paths = write(tmp_path / "a", worse(good, 0.5)), write(tmp_path / "b", good)
    text, result = compare(*paths, "scratch", "MAE", write=tmp_path / "out")
    for name in FINDINGS:
        entry = result["classes"][name]["auc"]
        assert entry["difference"]["mean"] == pytest.approx(entry["b"]["mean"] - entry["a"]["mean"])
    macro = result["macro"]["auc"]
    assert macro["b"]["mean"] == pytest.approx(good.metrics()["macro_auc"])
    assert 0 < macro["difference"]["low"] < macro["difference"]["mean"] < macro["difference"]["high"]
    widths = {side: entry["high"] - entry["low"] for side, entry in macro.items()}
    assert widths["difference"] < np.hypot(widths["a"], widths["b"])  # as wide if they were not paired
    assert (tmp_path / "out" / "comparison.txt").read_text() == text + "\n"
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["macro"]["auc"] == macro
    assert "difference = MAE - scratch" in text


def test_differences_of_rare_findings_are_marked(tmp_path):
    made = report(number=60, images=1)
    made.labels[:, 1] = np.arange(60) < 2
    paths = write(tmp_path / "a", worse(made, 0.5)), write(tmp_path / "b", made)
    text, result = compare(*paths, "scratch", "MAE")
    (note,) = (note for note in result["notes"] if "too narrow" in note)
    assert "Mass (2)" in note
    assert note in text


def test_a_run_beside_itself_does_not_differ(tmp_path):
    path = write(tmp_path / "a", report("multi_class"))
    result = compare(path, path, "a", "b")[1]
    for entry in (*result["macro"].values(), *result["overall"].values()):
        assert entry["difference"] == {"mean": 0, "low": 0, "high": 0}
    assert result["mcnemar"] == {"only_a_right": 0, "only_b_right": 0, "p_value": 1.0}


def test_classes_with_mcnemars_test(tmp_path):
    good = report("multi_class", number=240)
    bad = worse(good, 0.6)
    text, result = compare(write(tmp_path / "a", bad), write(tmp_path / "b", good), "bad", "good")
    right_a, right_b = (made.probabilities.argmax(1) == made.labels for made in (bad, good))
    only_a, only_b = (right_a & ~right_b).sum(), (right_b & ~right_a).sum()
    test = result["mcnemar"]
    assert (test["only_a_right"], test["only_b_right"]) == (only_a, only_b)
    assert test["p_value"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert result["overall"]["accuracy"]["difference"]["mean"] == pytest.approx((only_b - only_a) / 240)
    assert "McNemar (exact)" in text
    assert any("independent" in note for note in result["notes"])


def test_only_common_images_are_compared(tmp_path):
    good = report()
    part = ClassificationReport(FINDINGS, "multi_label", good.cases[::-1][:90], *(
        values[::-1][:90] for values in (good.probabilities, good.labels)
    ))  # fmt: skip
    result = compare(write(tmp_path / "a", good), write(tmp_path / "b", part), "a", "b")[1]
    assert result["cases"] == 90
    assert result["macro"]["auc"]["difference"]["mean"] == 0
    assert any("30 image(s)" in note for note in result["notes"])


def test_an_absent_finding_is_not_compared(tmp_path):
    good = report()
    good.labels[good.labels[:, 2] == 1, 2] = 0
    path = write(tmp_path / "a", good)
    result = compare(path, path, "a", "b")[1]
    assert np.isnan(result["classes"]["Hernia"]["auc"]["difference"]["mean"])
    assert result["macro"]["auc"]["difference"]["mean"] == 0
    assert any(note.startswith("Hernia: no positive") for note in result["notes"])


def test_what_cannot_be_compared(tmp_path):
    good = report()
    a = write(tmp_path / "a", good)
    changed = report()
    changed.labels[7, 0] = 1 - np.nan_to_num(changed.labels[7, 0])
    with pytest.raises(InputError, match=r"different labels for 1 image\(s\), first 'c7'"):
        compare(a, write(tmp_path / "labels", changed), "a", "b")
    with pytest.raises(InputError, match="differ in parity"):
        compare(a, write(tmp_path / "parity", report(parity=True)), "a", "b")
    others = [case._replace(patient_id="x" + case.patient_id) for case in cases(120)]
    stranger = ClassificationReport(FINDINGS, "multi_label", others, good.probabilities, good.labels)
    with pytest.raises(InputError, match="share no image"):
        compare(a, write(tmp_path / "others", stranger), "a", "b")
    with pytest.raises(InputError, match=r"multi_label and .* of multi_class"):
        compare(a, write(tmp_path / "classes", report("multi_class")), "a", "b")
    segmentation = SegmentationReport(["background", "liver"])
    segmentation.add("c0", "p0", [Row("liver", 0.9, 2.0, "found", 1.0, 1.0)])
    segmentation.write(tmp_path / "organs")
    with pytest.raises(InputError, match="of a segmentation"):
        compare(a, tmp_path / "organs", "a", "b")
    with pytest.raises(InputError, match="cannot be read as scores"):
        compare(a, tmp_path / "nothing", "a", "b")
