"""Scoring of a classifier, and `key_metric`, which chooses its best epoch."""

import csv
import json
from types import SimpleNamespace

import launch
import numpy as np
import pytest
import torch
from bundle_runtime.data.inference import EvaluatedCases, InferenceInputs
from bundle_runtime.scores.classification_handler import ScoreClassification
from bundle_runtime.scores.classification_report import ClassificationReport
from bundle_runtime.scores.collect import Predictions
from bundle_runtime.scores.key_metric import ClassificationScore
from custom_components.errors import InputError
from monai.engines import SupervisedEvaluator
from scored_images import FINDINGS, GRADES
from sklearn.metrics import accuracy_score, roc_auc_score
from torch import distributed as dist

NUMBER = 60


def data(task, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if task == "multi_class":
        label = torch.randint(3, (NUMBER,), generator=generator)
        truth = torch.nn.functional.one_hot(label, 3).float()
    else:
        label = truth = torch.bernoulli(torch.full((NUMBER, 3), 0.4), generator=generator)
        label = label.masked_fill(torch.rand(NUMBER, 3, generator=generator) < 0.1, torch.nan)
    return torch.randn(NUMBER, 3, generator=generator) + truth, label


def items():
    return [
        {"image": f"/d/{i}.png", "file": f"/d/{i}.png", "case": f"c{i}", "patient_id": f"p{i // 2}"}
        for i in range(NUMBER)
    ]


class Batches(list):
    """Batches as a loader over `items()` gives them."""

    @property
    def dataset(self):
        return SimpleNamespace(data=items())


def evaluate(logits, label, handlers=(), metric=None, wrap=False, index=None, inputs=None):
    """Run MONAI's evaluator with a network that knows the logits."""
    order = torch.arange(NUMBER) if index is None else index

    def prepare(batch, device=None, non_blocking=False, **kwargs):
        return batch["image"], {"label": batch["label"]} if wrap else batch["label"]

    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=Batches(
            {"image": logits[part], "label": label[part], "index": part} for part in order.split(16)
        ),
        network=torch.nn.Identity(),
        prepare_batch=prepare,
        key_val_metric=metric,
        val_handlers=list(handlers),
        decollate=False,
        iteration_update=None if inputs is None else inputs.iteration,
    )
    evaluator.run()
    return evaluator.state


def macro_auc(logits, label):
    return np.mean([roc_auc_score(y[~y.isnan()], x[~y.isnan()]) for x, y in zip(logits.T, label.T, strict=True)])


@pytest.mark.parametrize("wrap", [False, True])
def test_findings(tmp_path, capsys, wrap):
    logits, label = data("multi_label")
    handler = ScoreClassification(FINDINGS, "multi_label", tmp_path, items(), header={"seed": 0})
    state = evaluate(logits, label, [handler], {"val_macro_auc": ClassificationScore()}, wrap)
    expected = macro_auc(logits, label)
    assert state.metrics["macro_auc"] == pytest.approx(expected)
    assert state.metrics["val_macro_auc"] == pytest.approx(expected) == pytest.approx(state.best_metric)
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["macro"]["auc"]["mean"] == pytest.approx(expected)
    assert (content["cases"], content["patients"], content["header"]) == (60, 30, {"seed": 0})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"scores.json", "cases.csv", "ranking.json", "roc.png", "calibration.png"}
    out = capsys.readouterr().out
    assert "No picture of 8 case(s), the first: /d/2.png: does not exist" in out
    assert "macro mean, 3 classes" in out


def test_classes(tmp_path):
    logits, label = data("multi_class")
    handler = ScoreClassification(GRADES, "multi_class", tmp_path, items())
    metric = {"val_accuracy": ClassificationScore("multi_class", "accuracy")}
    state = evaluate(logits, label, [handler], metric)
    expected = accuracy_score(label, logits.argmax(1))
    assert state.metrics["accuracy"] == pytest.approx(expected) == pytest.approx(state.metrics["val_accuracy"])
    assert (tmp_path / "confusion.png").exists()


def test_images_without_a_finite_output_cost_themselves_alone(tmp_path):
    logits, label = data("multi_class")
    logits[[7, 40], 1] = torch.nan
    with pytest.raises(InputError, match=r"/d/7\.png: the network's output is not finite, as for 1 other"):
        evaluate(logits, label, [ScoreClassification(GRADES, "multi_class", tmp_path, items())])
    inputs = InferenceInputs(tmp_path)
    header = {"failed": inputs.problems}
    handler = ScoreClassification(GRADES, "multi_class", tmp_path, items(), header=header)
    state = evaluate(logits, label, [handler], inputs=inputs)
    kept = [number for number in range(NUMBER) if number not in (7, 40)]
    assert state.metrics["accuracy"] == pytest.approx(accuracy_score(label[kept], logits[kept].argmax(1)))
    content = json.loads((tmp_path / "scores.json").read_text())
    assert [entry.partition(":")[0] for entry in content["header"]["failed"]] == ["/d/7.png", "/d/40.png"]
    assert content["cases"] == 58
    assert "2 of 60 images of the list were not scored." in content["notes"]
    with pytest.raises(InputError, match=r"/d/7\.png: .*the network's output is not finite; check the weights"):
        inputs.finish()


def test_where_every_image_fails_the_run_names_them(tmp_path):
    logits, label = data("multi_class")
    inputs = EvaluatedCases(output_dir=tmp_path)
    handler = ScoreClassification(GRADES, "multi_class", tmp_path, items(), header={"failed": inputs.problems})
    evaluate(logits * torch.nan, label, [handler], inputs=inputs)
    assert not (tmp_path / "scores.json").exists()
    assert [problem.file for problem in inputs.problems] == [f"/d/{number}.png" for number in range(NUMBER)]


def test_what_is_doubtful_about_many_images_is_said_once(tmp_path):
    logits, label = data("multi_class")
    listed = [{**item, "warning": "is grey" if number < 5 else ""} for number, item in enumerate(items())]
    evaluate(logits, label, [ScoreClassification(GRADES, "multi_class", tmp_path, listed, pictures=False)])
    content = json.loads((tmp_path / "scores.json").read_text())
    assert "Warning: c0, c1, c2 and 2 more: is grey." in content["notes"]
    assert content["warnings"] == {f"c{number}": "is grey" for number in range(5)}
    with (tmp_path / "cases.csv").open(newline="") as stream:
        said = {row["case"]: row["warning"] for row in csv.DictReader(stream)}
    assert {case for case, text in said.items() if text == "is grey"} == set(content["warnings"])
    assert ClassificationReport.read(tmp_path).keys == [(item["patient_id"], item["case"]) for item in items()]


def test_thresholds_are_chosen_then_read(tmp_path, capsys):
    logits, label = data("multi_label")
    model, path = tmp_path / "model.pt", tmp_path / "thresholds.json"
    model.write_bytes(b"weights")
    common = {"items": items(), "pictures": False, "model_file": model}
    first = ScoreClassification(
        FINDINGS,
        "multi_label",
        tmp_path / "validation",
        choose_thresholds=path,
        header={"section": "validation", "config": {"dataset_dir": "/home/me/data"}, "data_fingerprint": "abc"},
        title="Validation list",
        **common,
    )
    evaluate(logits, label, [first])
    assert capsys.readouterr().out.startswith("Validation list: 60 images of 30 patients\n")
    # The file travels with the weights: no local path, no config.
    assert json.loads(path.read_text())["header"] == {"section": "validation", "data_fingerprint": "abc", "cases": 60}
    assert "/home" in (tmp_path / "validation" / "scores.json").read_text()
    second = ScoreClassification(FINDINGS, "multi_label", tmp_path / "test", thresholds=path, **common)
    evaluate(*data("multi_label", 1), [second])
    chosen = json.loads(path.read_text())["classes"]
    for folder, said in (("validation", True), ("test", False)):
        content = json.loads((tmp_path / folder / "scores.json").read_text())
        for name in FINDINGS:
            assert content["classes"][name]["threshold"]["value"] == chosen[name]["value"]
        assert any("chosen on these same images" in note for note in content["notes"]) == said
    assert not (tmp_path / "test" / "roc.png").exists()
    model.write_bytes(b"others")
    with pytest.raises(InputError, match="chosen for another model"):
        evaluate(logits, label, [ScoreClassification(FINDINGS, "multi_label", tmp_path, thresholds=path, **common)])


def test_images_that_come_twice_count_once_and_missing_ones_are_said(tmp_path):
    # Regression, SelfMedMAE: a distributed evaluation filled up with repeated images and scored them again.
    logits, label = data("multi_label")
    index = torch.cat([torch.arange(50), torch.arange(7)])
    handler = ScoreClassification(FINDINGS, "multi_label", tmp_path, items(), pictures=False)
    state = evaluate(logits, label, [handler], {"auc": ClassificationScore()}, index=index)
    assert state.metrics["macro_auc"] == pytest.approx(macro_auc(logits[:50], label[:50]))
    assert state.metrics["auc"] == pytest.approx(state.metrics["macro_auc"])
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["cases"] == 50
    assert "10 of 60 images of the list were not scored." in content["notes"]


def test_logits_of_16_bits_are_said(tmp_path):
    # Regression, SelfMedMAE: AUC of fp16 logits, in which many scores tie.
    logits, label = data("multi_label")
    evaluate(logits.half(), label, [ScoreClassification(FINDINGS, "multi_label", tmp_path, items(), pictures=False)])
    assert any("came as float16" in note for note in json.loads((tmp_path / "scores.json").read_text())["notes"])


def test_close_logits_keep_their_order():
    # All 60 are one number in float16.
    logits, label = (5 + torch.arange(60) / 1e5)[:, None].repeat(1, 3), torch.zeros(60, 3)
    label[30:] = 1
    assert len(logits.half().unique()) == 1
    assert evaluate(logits, label, metric={"auc": ClassificationScore()}).metrics["auc"] == 1


def test_key_metric_is_nan_where_nothing_can_be_scored():
    logits, label = data("multi_label")
    assert np.isnan(evaluate(logits, torch.zeros_like(label), metric={"auc": ClassificationScore()}).metrics["auc"])
    logits[3] = torch.nan
    assert np.isnan(evaluate(logits, label, metric={"auc": ClassificationScore()}).metrics["auc"])


def test_key_metric_starts_anew_in_each_epoch():
    logits, label = data("multi_label")
    metric = ClassificationScore()
    assert evaluate(-logits, label, metric={"auc": metric}).metrics["auc"] < 0.5
    assert evaluate(logits, label, metric={"auc": metric}).metrics["auc"] == pytest.approx(macro_auc(logits, label))


def test_bad_settings(tmp_path):
    with pytest.raises(InputError, match="thresholds are for the findings"):
        ScoreClassification(GRADES, "multi_class", tmp_path, items(), choose_thresholds=tmp_path / "t.json")
    with pytest.raises(InputError, match="both set"):
        ScoreClassification(FINDINGS, "multi_label", tmp_path, items(), thresholds="a", choose_thresholds="b")
    with pytest.raises(InputError, match="must be one of macro_auc"):
        ClassificationScore("multi_label", "accuracy")
    engine = SimpleNamespace(state=SimpleNamespace(output=[{}], batch=[{}]))
    with pytest.raises(TypeError, match="set decollate to false"):
        Predictions().add(engine)


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    logits, label = data("multi_label")
    index = torch.arange(rank, NUMBER, 2)
    index = torch.cat([index, index[:3]])  # filled up
    handler = ScoreClassification(FINDINGS, "multi_label", f"{folder}/eval", items(), pictures=False)
    state = evaluate(logits, label, [handler], {"auc": ClassificationScore()}, index=index)
    torch.save(dict(state.metrics), f"{folder}/metrics_{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_score_all_images_once(tmp_path):
    launch.together(work, str(tmp_path))
    expected = macro_auc(*data("multi_label"))
    for rank in (0, 1):
        metrics = torch.load(tmp_path / f"metrics_{rank}.pt", weights_only=False)
        assert metrics["auc"] == pytest.approx(expected) == pytest.approx(metrics["macro_auc"])
    assert json.loads((tmp_path / "eval" / "scores.json").read_text())["cases"] == NUMBER
