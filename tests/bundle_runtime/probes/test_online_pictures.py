"""The probe during pre-training: nothing that it leaves behind in the training, and what it says."""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_runtime.data.image_dataset import ImageDataset
from bundle_runtime.data.loading import EpochSampler
from bundle_runtime.data.loading import loader as batch_loader
from bundle_runtime.engine.checkpoint import Checkpoint
from bundle_runtime.engine.early_stop import EarlyStop
from bundle_runtime.probes.online_pictures import PictureProbe
from custom_components.augment import Normalise, Pipeline
from custom_components.errors import InputError
from custom_components.networks.classifier import ViTClassifier
from encoders import on_vit
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

NAMES = ["mass", "nodule"]
PIPELINE = Pipeline([Normalise(0.5, 0.25)])


class Bright:
    """Noise pictures, half of them brighter on the left."""

    def __init__(self, items: list[dict[str, Any]], seed: int) -> None:
        self.items, count = items, len(items)
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 128, (count, 1, 16, 16), dtype=torch.uint8, generator=generator)
        self.images[::2, :, :, :8] += 100

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, indices: Any) -> torch.Tensor:
        return self.images[torch.as_tensor(np.asarray(indices))]


def dataset(count: int = 24, seed: int = 0, task: str | None = "multi_label") -> ImageDataset:
    items = [
        {"image": f"{number}.png", "label": [1 - number % 2, 0] if task == "multi_label" else number % 2}
        for number in range(count)
    ]
    return ImageDataset(Bright(items, seed), NAMES, task, seed=0)


class Network(nn.Module):
    """A classifier whose forward pass uses the random state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        sizes = {"hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 2, "drop_path_rate": 0.3}
        self.inner = on_vit(ViTClassifier, 1, 16, 8, num_classes=2, spatial_dims=2, **sizes)
        self.vit, self.dropout = self.inner.vit, nn.Dropout(0.2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.inner(image))


class Training:
    """A training of two iterations an epoch."""

    def __init__(
        self, folder: Path, epochs: int, probe: bool = True, resume: bool = False, patience: int = 0, **options: Any
    ) -> None:
        self.network = Network()
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        data = dataset(8)
        loader = batch_loader(data, 4, EpochSampler(data, seed=1))
        settings = {"task": "multi_label", "interval": 2, "batch_size": 5, "history_path": folder / "probe.csv"}
        self.probe = PictureProbe(
            self.network, dataset().cache, dataset(12, 1).cache, PIPELINE, class_names=NAMES, **{**settings, **options}
        )
        self.checkpoint = Checkpoint(folder / "checkpoint.pt", resume)
        self.seen: list[float | None] = []
        handlers = [self.probe, EarlyStop(self.probe, patience)] if probe else []
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=loader,
            network=self.network,
            optimizer=optimizer,
            loss_function=nn.BCEWithLogitsLoss(),
            prepare_batch=lambda batch, *_, **__: (PIPELINE(batch["image"]), batch["label"]),
            train_handlers=[*handlers, self.checkpoint],
            decollate=False,
        )
        self.trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda engine: self.seen.append(engine.state.metrics.get("probe_macro_auc"))
        )

    def run(self) -> "Training":
        self.trainer.run()
        return self


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "probe.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("options", [{"method": "knn"}, {"method": "logistic", "pool": "cls"}])
def test_the_training_does_not_notice(tmp_path: Path, options: dict[str, Any]) -> None:
    states = []
    for probe in (False, True):
        torch.manual_seed(9)
        np.random.seed(9)  # noqa: NPY002
        random.seed(9)
        training = Training(tmp_path / str(probe), 3, probe, **options).run()
        assert training.network.training
        weights = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
        states.append((weights, torch.random.get_rng_state(), np.random.get_state()[1], random.getstate()))  # noqa: NPY002
    (first, torch_state, numpy_state, python_state), (second, *others) = states
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert torch.equal(torch_state, others[0])
    assert (numpy_state == others[1]).all()
    assert python_state == others[2]


def test_what_is_written_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = Training(tmp_path, 3).run()
    rows = table(tmp_path)
    assert [row["epoch"] for row in rows] == ["2", "3"]  # every second, and the last
    assert list(rows[0]) == ["epoch", "macro_auc", *NAMES]
    assert rows[0]["nodule"] == ""  # never present: no score, not 0
    assert rows[0]["macro_auc"] == rows[0]["mass"]
    assert float(rows[0]["mass"]) > 0.9
    shown = capsys.readouterr().out
    assert "Probe (knn) after epoch 2: macro AUC" in shown
    assert "without nodule" in shown
    assert training.seen[0] is None  # of an epoch without a probe there is no score
    assert training.seen[1] == pytest.approx(float(rows[0]["macro_auc"]))
    assert training.probe.best_epoch == training.probe.state.best_metric_epoch == 2


def test_a_resumed_run_goes_on_with_the_rows(tmp_path: Path) -> None:
    Training(tmp_path / "whole", 5).run()
    first = Training(tmp_path / "parts", 5)
    first.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=3), lambda engine: engine.terminate())
    first.run()
    (tmp_path / "parts" / "probe.csv").write_text("lost\n")
    second = Training(tmp_path / "parts", 5, resume=True).run()
    assert table(tmp_path / "parts") == table(tmp_path / "whole")
    assert [row["epoch"] for row in table(tmp_path / "parts")] == ["2", "4", "5"]
    assert second.probe.state.epoch == 5


def test_early_stop_by_the_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A probe that is perfect from the start does not get better, so the run ends after `patience` epochs."""
    training = Training(tmp_path, 9, interval=1, patience=3).run()
    assert training.probe.state.best_metric == pytest.approx(1.0)
    assert training.trainer.state.epoch == training.probe.best_epoch + 3 < 9
    assert "Early stop after epoch" in capsys.readouterr().out
    again = Training(tmp_path, 9, interval=1, patience=3, resume=True).run()
    assert again.trainer.state.epoch == training.trainer.state.epoch


def test_only_some_training_images(tmp_path: Path) -> None:
    training = Training(tmp_path, 1, max_train=6)
    reads: list[int] = []
    cache = training.probe.datasets[0].cache
    original = cache.rows
    cache.rows = lambda indices: reads.extend(indices) or original(indices)  # type: ignore[func-returns-value, method-assign]
    training.run()
    assert [int(number) for number in reads] == [0, 5, 9, 14, 18, 23]


def test_several_classes(tmp_path: Path) -> None:
    training = Training(tmp_path, 1)
    training.probe.task = "multi_class"
    training.probe.datasets = (dataset(task="multi_class"), dataset(12, 1, "multi_class"))
    training.run()
    assert list(table(tmp_path)[0]) == ["epoch", "macro_auc", "accuracy", *NAMES]
    assert float(table(tmp_path)[0]["accuracy"]) > 0.8


def test_off_and_wrong_settings(tmp_path: Path) -> None:
    training = Training(tmp_path, 2, interval=0).run()
    assert not (tmp_path / "probe.csv").exists()
    assert training.probe.best_epoch == -1
    with pytest.raises(InputError, match="method of the probe is 'svm'"):
        Training(tmp_path, 1, method="svm")
    with pytest.raises(InputError, match="early_stop is 3 by the probe, and probe_interval is 0"):
        Training(tmp_path, 2, interval=0, patience=3)
    with pytest.raises(InputError, match=r"^0\.png: its label is 0, expected"):
        PictureProbe(Network(), dataset(task="multi_class").cache, dataset().cache, PIPELINE, "multi_label", NAMES)
