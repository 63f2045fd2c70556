"""A training that no longer improves is stopped."""

import json

import pytest
from bundle_runtime.engine.early_stop import EarlyStop
from ignite.engine import Events
from tiny_training import EPOCH_LENGTH, At, Tiny


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
