"""The history of a training is exact."""

import csv

import pytest
import torch
from bundle_runtime.engine.history import HistoryTable
from ignite.engine import Events
from tiny_training import EPOCH_LENGTH, Tiny


def test_history_has_a_row_per_epoch_with_the_exact_mean(tmp_path):
    losses = []

    class Collect:
        def attach(self, engine):
            engine.add_event_handler(
                Events.ITERATION_COMPLETED, lambda e: losses.append(e.state.output[0]["loss"].item())
            )

    tiny = Tiny(tmp_path, handlers=lambda tiny: [Collect()]).run()
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [int(row["iteration"]) for row in rows] == [4, 8, 12]
    for epoch, row in enumerate(rows):
        part = losses[epoch * EPOCH_LENGTH : (epoch + 1) * EPOCH_LENGTH]
        assert float(row["train_loss"]) == sum(part) / len(part)
    assert float(rows[-1]["mse"]) == pytest.approx(float(tiny.evaluator.state.metrics["mse"]))
    assert float(rows[-1]["learning_rate"]) == tiny.optimizer.param_groups[-1]["lr"]
    assert tiny.trainer.state.metrics["train_loss"] == float(rows[-1]["train_loss"])


def test_history_keeps_the_rows_of_the_resumed_epochs_only(tmp_path):
    path = tmp_path / "history.csv"
    history = HistoryTable(path)
    history.start(0)
    for epoch in (1, 2, 3):
        metrics = {"dice": 0.5} if epoch >= 2 else {}
        history.append({"epoch": epoch, "iteration": epoch, "learning_rate": 0.1, "train_loss": 1 / epoch, **metrics})
    whole = path.read_text()
    assert whole.splitlines()[:2] == ["epoch,iteration,learning_rate,train_loss,dice", "1,1,0.1,1.0,"]
    with path.open("a") as stream:
        stream.write("4,4,0.1")  # killed while it wrote
    again = HistoryTable(path)
    again.start(3)
    assert path.read_text() == whole
    again.start(1)
    assert path.read_text() == "epoch,iteration,learning_rate,train_loss\n1,1,0.1,1.0\n"
    again.append({"epoch": 2, "iteration": 2, "learning_rate": 0.1, "train_loss": 0.5, "dice": 0.5})
    again.append({"epoch": 3, "iteration": 3, "learning_rate": 0.1, "train_loss": 1 / 3, "dice": 0.5})
    assert path.read_text() == whole
    again.start(0)
    assert path.read_text() == "epoch,iteration,learning_rate,train_loss\n"


def test_history_takes_further_metrics_of_the_trainer_where_they_are_there(tmp_path):
    class Measure:
        def attach(self, engine):
            engine.add_event_handler(
                Events.EPOCH_COMPLETED(every=2), lambda e: e.state.metrics.update(width=torch.tensor(2.5), other=1.0)
            )

    tiny = Tiny(tmp_path, handlers=lambda tiny: [Measure()])
    tiny.history.metrics = ["width", "absent"]
    tiny.run()
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert [row["width"] for row in rows] == ["", "2.5", "2.5"]
    assert not {"other", "absent"} & set(rows[0])
