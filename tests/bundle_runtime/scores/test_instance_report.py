"""Means, pooled scores, intervals and files of segmented pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.scores.instance_report import InstanceReport
from bundle_runtime.scores.instances import Counts, count_pixels, scores
from custom_components.errors import InputError

NAMES = ["background", "nucleus"]


def picture(seed: int, size: int = 20) -> Counts:
    rng = np.random.default_rng(seed)
    return count_pixels(rng.random((size, size)) < 0.4, rng.random((size, size)) < 0.3)


def filled(number: int = 6, **settings: object) -> InstanceReport:
    report = InstanceReport(NAMES, score_objects=False, **settings)
    for seed in range(number):
        report.add(f"case{seed}", f"p{seed // 2}", [picture(seed, size=10 * (seed + 1))])
    return report


def test_per_image_is_a_mean_of_scores_and_pooled_a_score_of_sums() -> None:
    report = filled()
    entry = report.summary()["classes"]["nucleus"]
    rows = [rows[0] for rows in report.cases.values()]
    assert entry["per_image"]["iou"]["mean"] == pytest.approx(np.mean([scores(row)["iou"] for row in rows]))
    overlap = sum(row.overlap for row in rows)
    union = sum(row.reference + row.predicted - row.overlap for row in rows)
    assert entry["pooled"]["iou"]["mean"] == pytest.approx(overlap / union)
    assert abs(entry["per_image"]["iou"]["mean"] - overlap / union) > 1e-4


def test_pooled_interval_is_the_spread_over_resampled_patients() -> None:
    """Against resampling patient by patient."""
    report = filled()
    rng = np.random.default_rng(0)
    cases = list(report.cases.items())
    values = []
    for _ in range(1000):
        drawn = rng.integers(3, size=3)
        rows = [rows[0] for patient in drawn for (name, _), rows in cases if name == f"p{patient}"]
        values.append(float(scores(sum(rows[1:], rows[0]))["dice"]))
    low, high = np.percentile(values, [2.5, 97.5])
    entry = report.summary()["classes"]["nucleus"]["pooled"]["dice"]
    assert (entry["low"], entry["high"]) == (pytest.approx(low, abs=2e-3), pytest.approx(high, abs=2e-3))


def test_images_without_objects_are_left_out_and_counted() -> None:
    report = InstanceReport(NAMES, score_objects=False)
    for number, counts in enumerate([Counts(4, 5, 6), Counts(), Counts(0, 0, 9), Counts(0, 9, 0)]):
        report.add(f"c{number}", "", [counts])
    entry = report.summary()["classes"]["nucleus"]
    assert [entry[word] for word in ("found", "missed", "hallucinated", "absent")] == [1, 1, 1, 1]
    assert entry["per_image"]["dice"]["n"] == 3
    assert entry["per_image"]["dice"]["mean"] == pytest.approx(8 / 11 / 3)
    assert "both lack" in report.policy


def test_the_released_form_pools_batches_in_the_order_of_the_list() -> None:
    """Regression, SD-MAE: IoU and F1 of its released code depend on the batch size; only parity shows them."""
    assert filled().summary()["released"] is None
    by_batch = {size: filled(parity_batch=size).summary()["released"] for size in (2, 4)}
    assert by_batch[2]["iou"] != pytest.approx(by_batch[4]["iou"], abs=1e-6)
    rows = [rows[0] for rows in filled().cases.values()]
    parts = [sum(rows[start + 1 : start + 4], rows[start]) for start in (0, 4)]
    ious = [float(scores(part)["iou"]) for part in parts]
    assert by_batch[4]["iou"] == pytest.approx((4 * ious[0] + 2 * ious[1]) / 6, abs=1e-5)
    f1 = [2 * iou / (1 + iou) for iou in ious]
    assert by_batch[4]["f1"] == pytest.approx((4 * f1[0] + 2 * f1[1]) / 6, abs=1e-5)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    report = InstanceReport(["background", "a", "b"], split="by hand", parity_batch=2)
    for number in range(4):
        counts = Counts(10 + number, 20, 15, 3, number, 1, 2.25, 30, 40)
        report.add(f"c{number}", f"p{number % 2}", [counts, Counts()])
    summary = report.write(tmp_path, {"seed": 1})
    again = InstanceReport.read(tmp_path)
    assert again.cases == report.cases
    assert again.table(again.summary()) == report.table(summary)
    saved = json.loads((tmp_path / "scores.json").read_text())
    assert saved["task"] == "segmentation of pictures"
    assert saved["header"] == {"seed": 1}
    with (tmp_path / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8
    assert float(rows[0]["pq"]) == pytest.approx(2.25 / 3.5)
    assert rows[1]["pq"] == ""
    assert rows[1]["outcome"] == "absent"


def test_the_table_names_every_score() -> None:
    report = InstanceReport(NAMES, split="connected components")
    report.add("c", "p", [Counts(5, 6, 7, 1, 0, 0, 0.9, 5, 6)])
    text = report.table(report.summary())
    for word in ("Dice", "IoU", "AJI", "PQ", "SQ", "object F1", "pooled", "connected components", "Only one patient"):
        assert word in text


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    report = filled()
    with pytest.raises(InputError, match="'case0' of patient 'p0' was scored twice"):
        report.add("case0", "p0", [Counts()])
    with pytest.raises(InputError, match="no case was scored"):
        InstanceReport(NAMES).summary()
    with pytest.raises(InputError, match="cannot be read as scores"):
        InstanceReport.read(tmp_path)
