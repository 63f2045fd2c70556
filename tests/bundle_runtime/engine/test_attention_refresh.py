import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from attention_training import Training
from bundle_runtime.engine.attention_refresh import RefreshAttention
from bundle_runtime.engine.signals import exit_if_interrupted
from custom_components.errors import InputError
from ignite.engine import Events
from tiny_training import At


def test_refreshes_fall_before_the_epochs_of_the_paper() -> None:
    """Pre-training after epochs 40, 80, ..., 280 of 300, not after the last; fine-tuning before 0, 20, 40, ..."""
    refresh = RefreshAttention(*[None] * 3, interval=40, first=41)  # type: ignore[list-item]
    assert [epoch for epoch in range(300) if refresh.due(epoch)] == [41, 81, 121, 161, 201, 241, 281]
    refresh = RefreshAttention(*[None] * 3, interval=20)  # type: ignore[list-item]
    assert [epoch for epoch in range(50) if refresh.due(epoch)] == [0, 20, 40]
    with pytest.raises(InputError, match="refresh_interval"):
        RefreshAttention(*[None] * 3, interval=-1)  # type: ignore[list-item]
    uniform = RefreshAttention(*[None] * 3, interval=20, source="uniform")  # type: ignore[list-item]
    assert not any(uniform.due(epoch) for epoch in range(50))
    with pytest.raises(InputError, match="mask_source is 'even'; choose one of attention, uniform"):
        RefreshAttention(*[None] * 3, interval=20, source="even")  # type: ignore[list-item]


@pytest.mark.parametrize(("epochs", "interval", "warned"), [(2, 2, True), (3, 2, False), (2, 0, False)])
def test_a_training_that_ends_in_the_warm_up_says_that_attention_never_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], epochs: int, interval: int, warned: bool
) -> None:
    Training(tmp_path, interval=interval, epochs=epochs).run()
    assert ("attention never decides" in capsys.readouterr().out) is warned


def test_masking_follows_the_schedule_and_the_maps_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = Training(tmp_path).run()
    # 16 patches: 12 masked in the warm-up's 2 epochs of 10 chunks, then 7 masked (and 5 thrown away).
    assert training.lengths == [12] * 20 + [7] * 30
    assert training.maps.epoch == 5
    assert training.maps.values.flatten(1).std(dim=1).min() > 0
    assert training.trainer.state.metrics["attention_map_std"] > 0.05
    with (tmp_path / "attention_maps.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["before_epoch"] for row in rows] == ["3", "5"]
    assert all(0 < float(row["share_of_epoch"]) < 1 for row in rows)
    said = capsys.readouterr().out
    assert said.count("Attention maps refreshed") == 2
    assert "near 0 all patches are alike" in said
    assert "WARNING" not in said


def test_uniform_masking_keeps_the_maps_even(tmp_path: Path) -> None:
    training = Training(tmp_path, interval=0).run()
    assert training.lengths == [12] * 20 + [7] * 30
    assert training.maps.values.eq(1).all()


def test_constant_maps_are_said_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = Training(tmp_path, epochs=3)
    with torch.no_grad():
        for block in training.network.encoder.blocks:
            block.attn.qkv.weight.zero_()  # even attention in every head
    training.network.requires_grad_(False).head.requires_grad_(True)
    training.run()
    assert "attention maps are constant" in capsys.readouterr().out


@pytest.mark.parametrize("stop", [13, 15, 22])
def test_an_interrupted_run_ends_bit_for_bit_where_the_uninterrupted_one_does(tmp_path: Path, stop: int) -> None:
    """Inside an epoch (the maps of its start must come back, not be made anew), and at the end of one."""
    whole = Training(tmp_path / "whole").run()
    stopper = At(Events.ITERATION_COMPLETED, stop, lambda: os.kill(os.getpid(), signal.SIGTERM))
    first = Training(tmp_path / "cut", extra=[stopper]).run()
    assert first.trainer.state.iteration == stop
    with pytest.raises(SystemExit):
        exit_if_interrupted(first.trainer)
    second = Training(tmp_path / "cut", resume=True).run()
    assert second.result() == whole.result()


def test_an_epoch_that_was_interrupted_has_no_share_of_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a resume only its end is timed: the refresh, of another process, would be 100 % of that."""
    stopper = At(Events.ITERATION_COMPLETED, 13, lambda: os.kill(os.getpid(), signal.SIGTERM))
    Training(tmp_path, extra=[stopper]).run()
    assert "of the time of epoch" not in capsys.readouterr().out
    resumed = Training(tmp_path, resume=True).run()
    assert "of the time of epoch 3" not in (said := capsys.readouterr().out)
    assert "of the time of epoch 5" in said
    assert [row.get("share_of_epoch", 0) > 0 for row in resumed.refresh.rows] == [False, True]
    with (tmp_path / "attention_maps.csv").open() as stream:
        assert [bool(row["share_of_epoch"]) for row in csv.DictReader(stream)] == [False, True]
