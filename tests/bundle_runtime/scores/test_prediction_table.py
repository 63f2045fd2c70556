"""The table of predictions and the attention pictures of an evaluator."""

import csv
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bundle_runtime.data.inference import InferenceInputs
from bundle_runtime.scores.classification import at_threshold, to_probabilities
from bundle_runtime.scores.prediction_table import PredictionTable
from bundle_runtime.scores.thresholds import read_thresholds, write_thresholds
from custom_components.errors import InputError
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn

NAMES = ["mass", "nodule, small"]
ITEMS = [{"file": f"/x/{number}.png", "case": f"case {number}", "patient_id": f"p{number // 2}"} for number in range(3)]
LOGITS = torch.tensor([[-2.0, 0.1], [3.0, -0.2], [0.0, 0.0]])


def chosen(*values: float) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": value, "rule": "youden", "reliable": True} for name, value in zip(NAMES, values, strict=True)
    }


class Lookup(nn.Module):
    """Gives logits by the first pixel."""

    def forward(self, image: Tensor) -> Tensor:
        return LOGITS[image[:, 0, 0, 0].long()]


def batches(order: tuple[int, ...] = (2, 0, 1)) -> list[dict[str, Tensor]]:
    batch = []
    for part in (order[:2], order[2:]):
        index = torch.tensor(part)
        batch.append({"image": index.float()[:, None, None, None].expand(-1, 1, 16, 16), "index": index})
    return batch


class Batches(list[dict[str, Tensor]]):
    """Batches as a loader over `ITEMS` gives them."""

    dataset = SimpleNamespace(data=ITEMS)


def evaluate(
    handlers: list[Any], network: nn.Module | None = None, data: Any = None, inputs: InferenceInputs | None = None
) -> SupervisedEvaluator:
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=Batches(batches() if data is None else data),
        network=Lookup() if network is None else network,
        prepare_batch=lambda batch, *_, **__: (batch["image"], None),
        val_handlers=handlers,
        decollate=False,
        iteration_update=None if inputs is None else inputs.iteration,
    )
    evaluator.run()
    return evaluator


def read(folder: Path) -> tuple[list[str], list[dict[str, str]]]:
    lines = (folder / "predictions.csv").read_text().splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    assert lines[: len(comments)] == comments
    return comments, list(csv.DictReader(lines[len(comments) :]))


def test_findings_with_thresholds(tmp_path: Path) -> None:
    thresholds, model = tmp_path / "thresholds.json", tmp_path / "model.pt"
    model.write_bytes(b"weights")
    write_thresholds(thresholds, chosen(0.1, 0.51), model)
    header = {"model": str(model), "note": "two\nlines"}
    evaluate([PredictionTable(NAMES, "multi_label", ITEMS, tmp_path, thresholds, header)])
    comments, rows = read(tmp_path)
    assert f"# model: {model}" in comments
    assert f"# sha256: {hashlib.sha256(b'weights').hexdigest()}" in comments
    assert "# note: two lines" in comments
    assert f"# thresholds: {thresholds}" in comments
    assert "# values: mass 0.1, nodule, small 0.51" in comments
    assert list(rows[0]) == ["file", "case", "patient_id", "warning", *NAMES, "mass (yes/no)", "nodule, small (yes/no)"]
    assert [row["file"] for row in rows] == ["/x/0.png", "/x/1.png", "/x/2.png"]  # in the order of the items
    assert rows[2]["patient_id"] == "p1"
    found = np.array([[float(row[name]) for name in NAMES] for row in rows])
    np.testing.assert_allclose(found, LOGITS.sigmoid().numpy(), atol=1e-6)
    assert [row["mass (yes/no)"] for row in rows] == ["yes", "yes", "yes"]
    assert [row["nodule, small (yes/no)"] for row in rows] == ["yes", "no", "no"]


def test_warnings_stand_in_the_table_and_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [{**item, "warning": text} for item, text in zip(ITEMS, ("", "its view is LL", ""), strict=True)]
    evaluate([PredictionTable(NAMES, "multi_label", items, tmp_path)])
    assert [row["warning"] for row in read(tmp_path)[1]] == ["", "its view is LL", ""]
    assert capsys.readouterr().out.endswith("1 of them with a warning (column warning), the first: its view is LL\n")
    evaluate([PredictionTable(NAMES, "multi_label", ITEMS, tmp_path)])
    assert "with a warning" not in capsys.readouterr().out


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_no_row_says_no_where_the_network_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    monkeypatch.setattr(
        Lookup,
        "forward",
        lambda self, image: LOGITS.index_fill(0, torch.tensor(1), torch.nan)[image[:, 0, 0, 0].long()],
    )
    inputs = InferenceInputs(tmp_path)
    evaluate([PredictionTable(NAMES, task, ITEMS, tmp_path)], inputs=inputs)
    assert [row["case"] for row in read(tmp_path)[1]] == ["case 0", "case 2"]
    with pytest.raises(InputError, match=r"/x/1\.png: .*the network's output is not finite; check the weights"):
        inputs.finish()


def test_classes(tmp_path: Path) -> None:
    evaluate([PredictionTable(NAMES, "multi_class", ITEMS, tmp_path)])
    comments, rows = read(tmp_path)
    assert [row["predicted"] for row in rows] == ["nodule, small", "mass", "mass"]
    assert not any("threshold" in line for line in comments)
    assert all(float(row[NAMES[0]]) + float(row[NAMES[1]]) == pytest.approx(1, abs=2e-6) for row in rows)


def test_without_thresholds_one_half_is_taken_and_said(tmp_path: Path) -> None:
    evaluate([PredictionTable(NAMES, "multi_label", ITEMS, tmp_path)])
    comments, rows = read(tmp_path)
    assert "# thresholds: none given, 0.5 for every finding" in comments
    assert [row["mass (yes/no)"] for row in rows] == ["no", "yes", "yes"]
    evaluate([PredictionTable(NAMES, "multi_label", ITEMS, tmp_path, tmp_path / "none.json")])
    assert any("none.json does not exist, 0.5 for every finding" in line for line in read(tmp_path)[0])
    assert "# values: mass 0.5, nodule, small 0.5" in read(tmp_path)[0]
    entries = chosen(0.9, 0.5)
    entries[NAMES[1]]["reliable"] = False
    write_thresholds(tmp_path / "some.json", entries)
    evaluate([PredictionTable(NAMES, "multi_label", ITEMS, tmp_path, tmp_path / "some.json")])
    assert "# not reliable on the validation list, so 0.5: nodule, small" in read(tmp_path)[0]


def test_thresholds_of_other_findings_or_another_model(tmp_path: Path) -> None:
    path, model = tmp_path / "thresholds.json", tmp_path / "model.pt"
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read as thresholds"):
        PredictionTable(NAMES, "multi_label", ITEMS, tmp_path, path)
    model.write_bytes(b"first")
    write_thresholds(path, chosen(0.1, 0.2), model)
    with pytest.raises(InputError, match="the run's findings are mass"):
        PredictionTable(NAMES[:1], "multi_label", ITEMS, tmp_path, path)
    model.write_bytes(b"second")
    with pytest.raises(InputError, match="was chosen for another model"):
        PredictionTable(NAMES, "multi_label", ITEMS, tmp_path, path, {"model": str(model)})


def test_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="task is 'segmentation'"):
        PredictionTable(NAMES, "segmentation", ITEMS, tmp_path)
    with pytest.raises(InputError, match=r"gives \[2\] numbers an image and there are 3"):
        evaluate([PredictionTable([*NAMES, "hernia"], "multi_label", ITEMS, tmp_path)])
    assert not (tmp_path / "predictions.csv").exists()
    without = [{"image": batch["image"]} for batch in batches()]
    with pytest.raises(TypeError, match="no tensor 'index'"):
        evaluate([PredictionTable(NAMES, "multi_label", ITEMS, tmp_path)], data=without)


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    handler = PredictionTable(NAMES, "multi_label", ITEMS, tmp_path)
    evaluate([handler])
    evaluate([handler], data=batches((0, 1))[:1])
    assert [row["case"] for row in read(tmp_path)[1]] == ["case 0", "case 1"]


def test_what_is_not_set_is_not_in_the_header(tmp_path: Path) -> None:
    evaluate(
        [PredictionTable(NAMES, "multi_class", ITEMS, tmp_path, header={"eval_tokens": "all", "keep_ratio": None})]
    )
    comments, _ = read(tmp_path)
    assert "# eval_tokens: all" in comments
    assert not any("keep_ratio" in line for line in comments)


def test_a_probability_that_equals_its_threshold_means_yes_in_evaluation_and_inference(tmp_path: Path) -> None:
    # Regression: thresholds were chosen on float64 probabilities and applied to float32 ones, which half the time lie
    # below.
    names = [f"finding {number}" for number in range(60)]
    logits = torch.randn(1, 60, generator=torch.Generator().manual_seed(0)) * 4
    exact = to_probabilities(logits.numpy(), "multi_label")[0]
    assert 10 < sum(float(value) < limit for value, limit in zip(logits.sigmoid()[0], exact, strict=True)) < 50
    batch = {"image": torch.zeros(1, 1, 16, 16), "index": torch.tensor([0])}
    network = nn.Module()
    network.forward = lambda image: logits  # type: ignore[method-assign]
    for said, limits in (("yes", exact), ("no", np.nextafter(exact, 1))):
        pairs = zip(names, limits.tolist(), strict=True)
        values = {name: {"value": value, "rule": "youden", "reliable": True} for name, value in pairs}
        write_thresholds(tmp_path / "thresholds.json", values)
        evaluate(
            [PredictionTable(names, "multi_label", ITEMS, tmp_path, tmp_path / "thresholds.json")], network, [batch]
        )
        entries = read_thresholds(tmp_path / "thresholds.json", names)
        for name, value in zip(names, exact, strict=True):
            found = at_threshold(np.array([value]), np.array([1.0]), entries[name]["value"])["sensitivity"]
            assert found == (said == "yes")
        assert {read(tmp_path)[1][0][f"{name} (yes/no)"] for name in names} == {said}
