"""The last epoch is validated and saved, whatever the interval; the loss of a pre-training is validated alike."""

import csv

import pytest
import torch
from bundle_runtime.engine.checkpoint import Checkpoint
from bundle_runtime.engine.validation import ValidationStep, lower_is_better
from custom_components.networks.masked_autoencoder import MaskedAutoencoder, ReconstructionLoss
from custom_components.training.step import ImageBatch
from encoders import on_vit
from ignite.engine import Engine, Events
from tiny_training import At, Tiny


def validated(folder):
    with (folder / "history.csv").open() as stream:
        return [int(row["epoch"]) for row in csv.DictReader(stream) if row["mse"]]


@pytest.mark.parametrize(
    ("interval", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (3, [3, 5]), (9, [5]), (0, [5])]
)
def test_every_interval_and_the_last_epoch_once(tmp_path, interval, epochs):
    Tiny(tmp_path, epochs=5, validate_every=interval).run()
    assert validated(tmp_path) == epochs


def test_a_run_killed_before_a_last_epoch_off_the_interval_ends_as_the_uninterrupted_one(tmp_path):
    settings = {"epochs": 5, "validate_every": 2, "interval": 2}
    whole = Tiny(tmp_path / "whole", **settings).run().result()

    def kill():
        raise KeyboardInterrupt

    for iteration in (17, 19):  # inside the last epoch; its checkpoint is that of epoch 4
        killed = tmp_path / str(iteration)
        with pytest.raises(KeyboardInterrupt):
            Tiny(
                killed, handlers=lambda tiny, at=iteration: [At(Events.ITERATION_COMPLETED, at, kill)], **settings
            ).run()
        assert validated(killed) == [2, 4]
        assert Tiny(killed, resume=True, **settings).run().result() == whole


def test_the_last_epoch_is_saved_before_the_handlers_of_the_end_run(tmp_path, monkeypatch):
    saves, save = [], Checkpoint.save

    def note(self, engine):
        saves.append((engine.state.epoch, engine.last_event_name))
        save(self, engine)

    monkeypatch.setattr(Checkpoint, "save", note)
    Tiny(tmp_path, epochs=3, interval=2).run()
    assert saves == [(2, Events.EPOCH_COMPLETED), (3, Events.EPOCH_COMPLETED)]


def engine_with(network: torch.nn.Module, step: ValidationStep) -> Engine:
    engine = Engine(step)
    engine.network, engine.prepare_batch, engine.non_blocking = network, ImageBatch(), False
    engine.state.device = torch.device("cpu")
    return engine


def test_same_masks_every_time_and_the_training_stream_is_untouched() -> None:
    network = on_vit(
        MaskedAutoencoder, 1, 16, 8, hidden_size=24, mlp_dim=48, num_layers=1, num_heads=2, decoder_size=18,
        decoder_layers=1, decoder_heads=2, mask_ratio=0.5,
    )  # fmt: skip
    batches = [{"image": torch.rand(2, 1, 16, 16, 16)}]
    for amp in (False, "bf16"):
        step = ValidationStep(ReconstructionLoss(), amp=amp, seed=3)
        torch.manual_seed(5)
        first = engine_with(network, step).run(batches).output["loss"]
        after = torch.rand(1)
        torch.manual_seed(99)
        assert torch.equal(engine_with(network, step).run(batches).output["loss"], first)
        torch.manual_seed(5)
        assert torch.equal(torch.rand(1), after)


def test_lower_is_better() -> None:
    assert lower_is_better(2.0, -1)  # MONAI's starting value
    assert lower_is_better(0.5, 0.6)
    assert not lower_is_better(0.7, 0.6)
