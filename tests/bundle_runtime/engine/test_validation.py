"""The last epoch is validated and saved, whatever the interval."""

import csv

import pytest
from ignite.engine import Events
from tiny_training import At, Tiny

from bundle_runtime.engine.checkpoint import Checkpoint


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
