import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.files import write_csv
from bundle_runtime.scores.classification_report import Case, ClassificationReport
from bundle_runtime.scores.segmentation import Row
from bundle_runtime.scores.segmentation_report import SegmentationReport

from benchmarks.studies import records


def history(folder: Path, scores: Sequence[float | str], name: str = "val_macro_auc") -> dict[str, object]:
    rows = [f"{epoch},{epoch},0.1,{1 / epoch},{score}" for epoch, score in enumerate(scores, 1)]
    (folder / "history.csv").write_text("\n".join([f"epoch,iteration,learning_rate,train_loss,{name}", *rows]) + "\n")
    return records.history(folder)


def test_the_best_epoch_is_the_highest_score_or_the_lowest_loss(tmp_path: Path) -> None:
    found = history(tmp_path, ["", 0.5, "nan", 0.8, "", 0.7, 0.6, 0.6, 0.6, 0.6])
    assert (found["best"], found["best_epoch"], found["last_epoch"], found["late"]) == (0.8, 4, 10, False)
    assert found["val_epoch"] == [2, 4, 6, 7, 8, 9, 10]
    assert found["epoch"] == list(range(1, 11))
    assert found["train_loss"][3] == 0.25  # type: ignore[index]
    assert history(tmp_path, [0.5, 0.3, 0.4], "val_loss")["best_epoch"] == 2


@pytest.mark.parametrize(("best", "late"), [(9, False), (10, True)])
def test_a_best_epoch_in_the_last_tenth_is_late(tmp_path: Path, best: int, late: bool) -> None:
    assert history(tmp_path, [0.9 if epoch == best else 0.5 for epoch in range(1, 11)])["late"] is late


def test_a_long_history_is_thinned_and_keeps_its_end(tmp_path: Path) -> None:
    found = history(tmp_path, [0.5] * 400)
    for name in ("epoch", "val_epoch"):
        assert records.KEPT_EPOCHS / 2 < len(found[name]) <= records.KEPT_EPOCHS  # type: ignore[arg-type]
        assert found[name][-1] == 400  # type: ignore[index]


def test_cases_of_a_classification_lose_their_names_and_keep_their_order(tmp_path: Path) -> None:
    cases = [Case("b", "p2", "/x/b.png"), Case("a", "p1", "/x/a.png"), Case("c", "p2", "/x/c.png")]
    probabilities = np.array([[0.123456789, 1.0], [0.5, 0.25], [1e-9, 0.75]])
    labels = np.array([[1.0, np.nan], [0.0, 1.0], [0.0, 0.0]])
    ClassificationReport(["mass", "nodule"], "multi_label", cases, probabilities, labels).write(tmp_path)
    found = records.cases(tmp_path)
    assert found["patients"] == [0, 1, 1]
    assert found["labels"] == [[0, 1], [1, None], [0, 0]]
    assert found["probabilities"] == [[0.5, 0.25], [0.1235, 1], [1e-9, 0.75]]
    assert (found["kind"], found["names"]) == ("multi_label", ["mass", "nodule"])
    assert not any(word in json.dumps(found) for word in ("png", "p1", "p2"))


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_a_probe_is_kept_as_an_evaluation_of_the_same_images(tmp_path: Path, task: str) -> None:
    cases = [Case("b", "p2", "/x/b.png"), Case("a", "", "/x/a.png"), Case("c", "p2", "/x/c.png")]
    scores = np.array([[0.125, 1.0], [0.5, 0.25], [0.0, 0.75]])
    labels = np.array([[1.0, np.nan], [0.0, 1.0], [0.0, 0.0]]) if task == "multi_label" else np.array([0, 1, 1])
    names = ["mass", "nodule"]
    ClassificationReport(names, task, cases, scores, labels).write(tmp_path / "evaluation")
    truths = labels.tolist() if task == "multi_label" else [[names[label]] for label in labels]
    told = [
        [case.case, case.patient_id or None, *truth, *row]
        for case, truth, row in zip(cases, truths, scores.tolist(), strict=True)
    ]
    columns = [*(names if task == "multi_label" else ["class"]), "score mass", "score nodule"]
    write_csv(tmp_path / "scores.csv", ["case", "patient_id", *columns], told)
    (tmp_path / "probe.json").write_text(json.dumps({"settings": {"task": task}}))
    assert records.probe(tmp_path) == records.cases(tmp_path / "evaluation")


def test_what_is_rightly_absent_is_perfect_and_what_is_not_drawn_is_not_scored(tmp_path: Path) -> None:
    nan = float("nan")
    report = SegmentationReport(["background", "liver", "gallbladder", "spleen"])
    report.add("a", "p1", [Row("liver", 0.9, 2.5, "found", 1, 1), Row("gallbladder", nan, nan, "absent", 0, 0),
                           Row("spleen", nan, nan, "unlabelled", nan, 1)])  # fmt: skip
    report.write(tmp_path)
    found = records.cases(tmp_path)
    assert (found["dice"], found["hd95"]) == ([[0.9, 1, None]], [[2.5, 0, None]])
    assert found["names"] == ["liver", "gallbladder", "spleen"]


def test_the_list_of_cases_is_told_apart(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        cases = [Case(name, "p1", "file"), Case("c", "p2", "file")]
        report = ClassificationReport(["x"], "multi_label", cases, np.array([[0.5], [0.4]]), np.array([[1.0], [0.0]]))
        report.write(tmp_path)
        found.append(records.cases(tmp_path)["list"])
    assert found[0] != found[1]


def test_surroundings_name_versions_and_commit_and_not_the_computer() -> None:
    import platform

    found = records.surroundings()
    assert {"commit", "torch", "monai", "python", "processor", "threads", "gpu", "changed"} == set(found)
    assert platform.node() not in json.dumps(found)
