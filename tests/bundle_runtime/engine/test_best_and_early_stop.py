"""Best weights, NaN metrics, the pre-trained encoder, early stopping."""

import json
import os
import signal

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from tiny_training import EPOCH_LENGTH, At, Tiny, TinyNet, items
from torch import nn

from bundle_runtime.engine.best import BestModel, MarkFinished, SaveEncoder
from bundle_runtime.engine.early_stop import EarlyStop
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from custom_components.networks.vit import ViT

NAN = float("nan")


class Scripted:
    """A key metric that gives the next of a list of values."""

    def __init__(self, values):
        self.values = iter(values)

    def attach(self, engine, name):
        def give(engine):
            engine.state.metrics[name] = next(self.values)

        engine.add_event_handler(Events.EPOCH_COMPLETED, give)


def evaluator(values, *handlers):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": torch.zeros(1, 8), "label": torch.zeros(1, 1)}],
        network=TinyNet(),
        key_val_metric={"dice": Scripted(values)},
        val_handlers=list(handlers),
    )


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
    handler = BestModel(TinyNet(), tmp_path / "model.pt")
    assert run(evaluator([nan, 0.25, nan, 0.5, 0.5], handler), 5) == (0.5, 4)
    assert json.loads((tmp_path / "model.json").read_text())["epoch"] == 4
    assert "The validation metric dice is NaN in epoch 1: not taken as the best." in capsys.readouterr().out


def test_the_best_weights_are_written_with_epoch_and_metric(tmp_path):
    network = TinyNet()
    engine = evaluator([0.5, 0.25, 0.75], BestModel(network, tmp_path / "model.pt", sidecar={"seed": 3}))
    run(engine, 2)
    first = torch.load(tmp_path / "model.pt", weights_only=True)
    with torch.no_grad():
        network[1].weight.zero_()
    engine.run(3)
    second = torch.load(tmp_path / "model.pt", weights_only=True)
    assert first["1.weight"].any()
    assert not second["1.weight"].any()
    assert (tmp_path / "model.safetensors").exists()
    sidecar = json.loads((tmp_path / "model.json").read_text())
    assert (sidecar["epoch"], sidecar["validation"], sidecar["seed"]) == (3, {"dice": 0.75}, 3)


def test_best_model_needs_a_metric(tmp_path):
    engine = evaluator([0.5], BestModel(TinyNet(), tmp_path / "model.pt"))
    engine.state.key_metric_name = None
    with pytest.raises(InputError, match="key_val_metric"):
        engine.run(1)


def stopping(folder, values, patience, resume=False, epochs=10, handlers=()):
    """A training whose validation gives `values`."""

    def more(tiny):
        def set_metric(engine):
            value = values[engine.state.epoch - 1]
            engine.state.metrics["mse"] = value
            if value < engine.state.best_metric or engine.state.best_metric_epoch == -1:
                engine.state.best_metric, engine.state.best_metric_epoch = value, engine.state.epoch

        # In place of MONAI's own comparison, which saw the real metric.
        tiny.evaluator.state.key_metric_name = "mse"
        tiny.evaluator._event_handlers[Events.EPOCH_COMPLETED].clear()
        tiny.evaluator.add_event_handler(Events.EPOCH_COMPLETED, set_metric)
        return [EarlyStop(tiny.evaluator, patience), *handlers]

    return Tiny(folder, resume=resume, epochs=epochs, handlers=more).run()


def test_early_stop_counts_epochs_since_the_best(tmp_path, capsys):
    tiny = stopping(tmp_path, [3, 1, 2, 2, 2, 2, 2], 3)
    assert tiny.trainer.state.iteration == 5 * EPOCH_LENGTH
    assert tiny.trainer.state.epoch == 5
    text = "Early stop after epoch 5: mse has not improved on 1.0000 since epoch 2 (patience 3 epochs)."
    assert text in capsys.readouterr().out
    assert json.loads((tmp_path / "manifest.json").read_text())["status"] == "finished"


def test_a_run_that_stopped_early_stays_stopped_when_resumed(tmp_path):
    values = [3, 1, 2, 2, 2, 2, 2, 2, 2, 2]
    stopping(tmp_path, values, 3)
    history = (tmp_path / "history.csv").read_text()
    tiny = stopping(tmp_path, values, 3, resume=True)
    assert tiny.trainer.state.iteration == 5 * EPOCH_LENGTH
    assert (tmp_path / "history.csv").read_text() == history
    tiny = stopping(tmp_path, values, 6, resume=True)  # more patience goes on
    assert tiny.trainer.state.iteration == 8 * EPOCH_LENGTH


def test_a_killed_run_stops_early_where_the_uninterrupted_one_does(tmp_path):
    values = [3, 1, 2, 2, 2, 2, 2]

    def kill():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopping(tmp_path, values, 3, handlers=[At(Events.ITERATION_COMPLETED, 18, kill)])
    assert stopping(tmp_path, values, 3, resume=True).trainer.state.iteration == 5 * EPOCH_LENGTH


@pytest.mark.parametrize("patience", [None, 0])
def test_no_patience_means_no_early_stop(tmp_path, patience):
    assert stopping(tmp_path, [1, 2, 2, 2], patience, epochs=4).trainer.state.iteration == 4 * EPOCH_LENGTH


def test_early_stop_waits_for_a_validation(tmp_path):
    tiny = Tiny(tmp_path, epochs=1)
    handler = EarlyStop(tiny.evaluator, 2)
    tiny.trainer.state.iteration, tiny.trainer.state.epoch = 5 * EPOCH_LENGTH, 6
    tiny.evaluator.state.best_metric_epoch, tiny.evaluator.state.epoch = 2, 4  # validated last in epoch 4
    handler._stop_if_stale(tiny.trainer)
    assert not tiny.trainer.should_terminate


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
        tiny = Tiny(tmp_path, resume=resume, handlers=lambda tiny: [MarkFinished(tmp_path / "model.pt"), *handlers])
        tiny.best.sidecar = {"finished": False}
        return tiny.run()

    train(At(Events.ITERATION_STARTED, EPOCH_LENGTH + 2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert finished() is False
    train(resume=True)
    assert finished() is True
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["sha256_pt"] == sha256_of(tmp_path / "model.pt")  # still that of the weights


def test_the_end_of_a_training_without_weights_marks_nothing(tmp_path):
    Tiny(tmp_path, epochs=1, handlers=lambda tiny: [MarkFinished(tmp_path / "none.pt")]).run()
    assert not (tmp_path / "none.json").exists()
