"""MONAI's own log, TensorBoard and MLflow handlers beside ours: what they make of the step's output and the metrics."""

import logging

import pytest
import torch
from custom_components.training.step import TrainingStep
from ignite.engine import Events
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS
from monai.handlers import MLFlowHandler, StatsHandler, TensorBoardStatsHandler, from_engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import Tiny


class ListStep(TrainingStep):
    """Puts the output into a list of one, the form of a decollated batch."""

    def __call__(self, engine, batch):
        output = super().__call__(engine, batch)
        return output if isinstance(output, list) else [output]


def board(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_gets_the_epoch_means(tmp_path):
    handler = TensorBoardStatsHandler(log_dir=str(tmp_path / "tensorboard"), iteration_log=False)
    tiny = Tiny(tmp_path, handlers=lambda tiny: [handler]).run()
    assert not tiny.trainer.has_event_handler(handler.iteration_completed, Events.ITERATION_COMPLETED)
    scalars = board(tmp_path / "tensorboard").Scalars("train_loss")
    assert [entry.step for entry in scalars] == [1, 2, 3]
    rows = (tmp_path / "history.csv").read_text().splitlines()[1:]
    assert [entry.value for entry in scalars] == pytest.approx([float(row.split(",")[3]) for row in rows])


def test_a_list_of_one_dict_serves_the_defaults_of_log_and_tensorboard(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tiny_training.TrainingStep", ListStep)
    caplog.set_level(logging.INFO)
    handlers = [TensorBoardStatsHandler(log_dir=str(tmp_path), iteration_log=2), StatsHandler(name=None)]
    plain = Tiny(tmp_path / "plain").run().result()
    assert Tiny(tmp_path / "run", handlers=lambda tiny: handlers).run().result() == plain
    assert [entry.step for entry in board(tmp_path).Scalars("loss")] == [2, 4, 6, 8, 10, 12]
    assert "Epoch: 3/3, Iter: 4/4 -- loss: " in caplog.text


def test_mlflow_as_the_bundle_adds_it_logs_the_loss_of_a_list_of_one_dict_only():
    expression = DEFAULT_MLFLOW_SETTINGS["configs"]["trainer"]["output_transform"]
    assert expression == "$monai.handlers.from_engine(['loss'], first=True)"
    logged = {}
    handler = object.__new__(MLFlowHandler)  # mlflow itself need not be installed
    handler.output_transform = from_engine(["loss"], first=True)
    handler.tag_name = DEFAULT_MLFLOW_SETTINGS["configs"]["trainer"]["tag_name"]
    handler._log_metrics = lambda metrics, step: logged.update(metrics)
    engine = type("Engine", (), {"state": type("State", (), {"iteration": 1})()})()
    engine.state.output = [{"loss": torch.tensor(0.5)}]
    handler._default_iteration_log(engine)
    assert logged == {"train_loss": 0.5}
    engine.state.output = {"loss": torch.tensor(0.5)}
    handler._default_iteration_log(engine)
    assert isinstance(logged["train_loss"], tuple)  # not a number: MLflow refuses it
