"""Best weights, NaN metrics, the pre-trained encoder."""

import json
import os
import signal

import pytest
import torch
from bundle_runtime.engine.best import BestModel, SaveEncoder
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from custom_components.networks.vit import ViT
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from tiny_training import EPOCH_LENGTH, At, Tiny, TinyNet, items
from torch import nn

NAN = float("nan")


class Scripted:
    """A key metric that gives the next of a list of values."""

    def __init__(self, values):
        self.values = iter(values)

    def attach(self, engine, name):
        def give(engine):
            engine.state.metrics[name] = next(self.values)

        engine.add_event_handler(Events.EPOCH_COMPLETED, give)


def evaluator(values):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": torch.zeros(1, 8), "label": torch.zeros(1, 1)}],
        network=TinyNet(),
        key_val_metric={"dice": Scripted(values)},
    )


def train(validator, best, epochs):
    """A training of so many epochs that validates after each."""
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: validator.run(engine.state.epoch))
    best.attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return validator.state.best_metric, validator.state.best_metric_epoch


def run(engine, epochs):
    for epoch in range(1, epochs + 1):
        engine.run(epoch)
    return engine.state.best_metric, engine.state.best_metric_epoch


def test_monai_alone_keeps_a_nan_for_ever():
    best, epoch = run(evaluator([NAN, 0.5]), 2)
    assert epoch == 1
    assert best != best


@pytest.mark.parametrize("nan", [NAN, torch.tensor(NAN)])
def test_a_nan_is_never_the_best(nan, capsys, tmp_path):
    engine = evaluator([nan, 0.25, nan, 0.5, 0.5])
    assert train(engine, BestModel(engine, tmp_path / "model.pt"), 5) == (0.5, 4)
    assert json.loads((tmp_path / "model.json").read_text())["epoch"] == 4
    assert "The validation metric dice is NaN in epoch 1: not taken as the best." in capsys.readouterr().out


def test_the_best_weights_are_written_with_epoch_and_metric(tmp_path):
    engine = evaluator([0.5, 0.25, 0.75])
    written = []

    def look(engine):
        written.append(torch.load(tmp_path / "model.pt", weights_only=True)["1.weight"].any().item())
        with torch.no_grad():
            engine.network[1].weight.zero_()

    best = BestModel(engine, tmp_path / "model.pt", sidecar={"seed": 3})
    engine.add_event_handler(Events.EPOCH_COMPLETED, look)
    train(engine, best, 3)
    assert written == [True, True, False]
    assert (tmp_path / "model.safetensors").exists()
    sidecar = json.loads((tmp_path / "model.json").read_text())
    assert (sidecar["epoch"], sidecar["validation"], sidecar["seed"]) == (3, {"dice": 0.75}, 3)


def test_a_validation_outside_of_the_training_writes_nothing(tmp_path):
    engine = evaluator([0.5, 0.9, 0.9])
    best = BestModel(engine, tmp_path / "model.pt")
    engine.run(1)
    assert not (tmp_path / "model.pt").exists()
    train(engine, best, 1)
    before = sha256_of(tmp_path / "model.pt")
    with torch.no_grad():
        engine.network[1].weight.zero_()
    engine.state.best_metric = -1
    engine.run(2)
    assert engine.state.best_metric == 0.9
    assert sha256_of(tmp_path / "model.pt") == before


def test_best_model_needs_a_metric(tmp_path):
    engine = evaluator([0.5])
    engine.state.key_metric_name = None
    with pytest.raises(InputError, match="key_val_metric"):
        train(engine, BestModel(engine, tmp_path / "model.pt"), 1)


class WithEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = ViT(1, (8, 8), (4, 4), hidden_size=16, mlp_dim=16, num_layers=1, num_heads=2, spatial_dims=2)


def test_the_encoder_is_written_at_the_interval_and_at_the_end(tmp_path):
    network, path = WithEncoder(), tmp_path / "encoder.safetensors"
    epochs = []

    class Watch:
        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_STARTED, self.look)

        def look(self, engine):
            sidecar = path.with_suffix(".json")
            epochs.append(json.loads(sidecar.read_text())["epoch"] if sidecar.exists() else 0)

    save = SaveEncoder(network, path, {"seed": 1}, interval=2)
    Tiny(tmp_path / "run", handlers=lambda tiny: [save, Watch()], data=items()).run()
    assert epochs == [0, 0, 2]
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert (sidecar["epoch"], sidecar["seed"]) == (3, 1)


def test_an_interrupted_run_leaves_the_end_to_the_resumed_one(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save = SaveEncoder(WithEncoder(), path)
    interrupt = At(Events.ITERATION_STARTED, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    Tiny(tmp_path / "run", handlers=lambda tiny: [save, interrupt]).run()
    assert not path.exists()
    Tiny(tmp_path / "run", resume=True, handlers=lambda tiny: [save]).run()
    assert json.loads(path.with_suffix(".json").read_text())["epoch"] == 3


def test_the_sidecar_tells_whether_the_training_has_ended(tmp_path):
    def finished():
        return json.loads((tmp_path / "model.json").read_text())["finished"]

    def train(*handlers, resume=False):
        return Tiny(tmp_path, resume=resume, handlers=lambda tiny: handlers).run()

    train(At(Events.ITERATION_STARTED, EPOCH_LENGTH + 2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert finished() is False
    train(resume=True)
    assert finished() is True
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["sha256_pt"] == sha256_of(tmp_path / "model.pt")  # still that of the weights


def test_the_end_of_a_training_without_weights_marks_nothing(tmp_path):
    engine = evaluator([NAN])
    train(engine, BestModel(engine, tmp_path / "none.pt"), 1)
    assert not (tmp_path / "none.json").exists()
