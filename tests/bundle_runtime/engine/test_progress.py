"""The progress bar of a run."""

import io

import pytest
from bundle_runtime.engine.progress import Progress
from ignite.engine import Events
from tiny_training import At, Tiny


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_runs_over_the_whole_run_and_starts_at_the_resumed_iteration(tmp_path):
    stream = Terminal()
    Tiny(tmp_path, epochs=2, handlers=lambda tiny: [Progress("train", evaluator=tiny.evaluator, stream=stream)]).run()
    text = stream.getvalue()
    assert "8/8" in text
    assert "epoch 2/2" in text
    assert "train_loss" in text
    assert "best mse" in text
    stream = Terminal()
    Tiny(tmp_path, epochs=3, resume=True, handlers=lambda tiny: [Progress("train", stream=stream)]).run()
    assert "8/12" in stream.getvalue()
    assert "12/12" in stream.getvalue()
    assert "0/12" not in stream.getvalue()


def test_a_log_file_gets_plain_lines(tmp_path):
    stream = io.StringIO()
    Tiny(tmp_path, epochs=2, handlers=lambda tiny: [Progress("train", stream=stream)]).run()
    assert "\r" not in stream.getvalue()
    lines = stream.getvalue().splitlines()
    assert 1 <= len(lines) <= 4
    assert lines[-1].startswith("train: 100% 8/8 [")


@pytest.mark.parametrize(("stream", "bars"), [(Terminal(), 2), (io.StringIO(), 0)])
def test_an_evaluator_has_a_bar_over_its_cases_but_no_line_in_a_log_for_a_short_one(tmp_path, stream, bars):
    tiny = Tiny(tmp_path)
    Progress("validate", metrics=["mse"], stream=stream).attach(tiny.evaluator)
    for epoch in (1, 5):
        tiny.evaluator.run(epoch)
    assert stream.getvalue().count("0/9") == bars


def test_the_bar_is_closed_when_the_run_fails(tmp_path):
    progress = Progress("train", stream=io.StringIO())
    with pytest.raises(ZeroDivisionError):
        Tiny(tmp_path, handlers=lambda tiny: [progress, At(Events.ITERATION_STARTED, 3, lambda: 1 / 0)]).run()
    assert progress._bar is None
