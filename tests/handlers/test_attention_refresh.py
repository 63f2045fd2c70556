import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from custom_components.attention_maps import AttentionMaps
from custom_components.augment import Normalise, Pipeline, RandomFlip, RandomResizedCrop, Resize
from custom_components.batches import MappedPictureBatch
from custom_components.data.dataset import EpochSampler
from custom_components.data.image_dataset import ImageDataset, image_loader
from custom_components.errors import InputError
from custom_components.handlers import Checkpoint, RefreshAttention, exit_if_interrupted
from custom_components.losses import SupervisedReconstructionLoss
from custom_components.networks.ms_mae import MSMAE
from custom_components.training_step import TrainingStep

from .tiny_training import At

COUNT = 10


class Pixels:
    def __init__(self) -> None:
        self.images = torch.randint(0, 256, (COUNT, 3, 40, 40), generator=torch.Generator().manual_seed(0)).byte()

    def __len__(self) -> int:
        return COUNT

    def rows(self, indices: Any) -> torch.Tensor:
        return self.images[torch.as_tensor(indices)]


class Training:
    """MSMAE in miniature: 5 epochs of 5 iterations, masking by maps from the third on, refreshed every second."""

    def __init__(self, folder: Path, resume: bool = False, interval: int = 2, extra: Any = (), epochs: int = 5) -> None:
        torch.manual_seed(0)
        self.network = MSMAE(3, 32, 8, hidden_size=32, mlp_dim=64, num_layers=2, num_heads=2, num_classes=2,
                             decoder_size=32, decoder_layers=1, decoder_heads=2)  # fmt: skip
        items = [{"image": f"{i}.png", "file": f"{i}.png", "case": str(i), "label": i % 2} for i in range(COUNT)]
        augmentation = Pipeline([RandomResizedCrop(32, (0.2, 1.0)), RandomFlip(), Normalise(0.5, 0.25)])
        data = ImageDataset(items, Pixels(), ["a", "b"], "multi_class", draws=augmentation.draws)
        self.maps = AttentionMaps(items, self.network.grid)
        self.refresh = RefreshAttention(
            self.maps, self.network, data, Pipeline([Resize(32), Normalise(0.5, 0.25)]), interval, first=2,
            history_path=folder / "attention_maps.csv",
        )  # fmt: skip
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        step = TrainingStep(micro_batch=1)
        self.lengths: list[int] = []
        self.network.decoder_norm.register_forward_hook(
            lambda module, args, result: self.lengths.append(result.shape[1])
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"), max_epochs=epochs, network=self.network, optimizer=optimizer, decollate=False,
            train_data_loader=image_loader(data, 2, EpochSampler(data)), iteration_update=step,
            loss_function=SupervisedReconstructionLoss("multi_class"),
            prepare_batch=MappedPictureBatch(augmentation, self.maps),
            train_handlers=[self.refresh, Checkpoint(folder / "state.pt", self.network, optimizer, resume, step=step),
                            *extra],
        )  # fmt: skip

    def run(self) -> "Training":
        self.trainer.run()
        return self

    def result(self) -> tuple[dict[str, Any], Any, int]:
        return {k: v.tolist() for k, v in self.network.state_dict().items()}, self.maps.values.tolist(), self.maps.epoch


def test_refreshes_fall_before_the_epochs_of_the_paper() -> None:
    """Pre-training after epochs 40, 80, ..., 280 of 300, not after the last; fine-tuning before 0, 20, 40, ..."""
    refresh = RefreshAttention(*[None] * 4, interval=40, first=41)  # type: ignore[list-item]
    assert [epoch for epoch in range(300) if refresh.due(epoch)] == [41, 81, 121, 161, 201, 241, 281]
    refresh = RefreshAttention(*[None] * 4, interval=20)  # type: ignore[list-item]
    assert [epoch for epoch in range(50) if refresh.due(epoch)] == [0, 20, 40]
    with pytest.raises(InputError, match="refresh_interval"):
        RefreshAttention(*[None] * 4, interval=-1)  # type: ignore[list-item]


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
    assert training.maps.values.flatten(1).std(dim=1).min() > 0  # B1
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


def test_b1_constant_maps_are_said_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
