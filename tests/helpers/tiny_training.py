"""A whole training in miniature: shuffled, augmented data, dropout, AdamW, warm-up cosine, validation, best model."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from bundle_runtime.data.dataset import PreparedDataset
from bundle_runtime.data.loading import EpochSampler, loader
from bundle_runtime.engine.best import BestModel
from bundle_runtime.engine.checkpoint import Checkpoint
from bundle_runtime.engine.finite import FiniteLoss
from bundle_runtime.engine.history import History
from bundle_runtime.engine.manifest import RunManifest
from bundle_runtime.engine.signals import exit_if_interrupted
from bundle_runtime.engine.validation import Validation
from custom_components.training.optim import WarmupCosine
from custom_components.training.step import TrainingStep
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MeanSquaredError, from_engine
from monai.transforms import Compose, RandGaussianNoised
from torch import nn

ITEMS, BATCH = 9, 2
EPOCH_LENGTH = 4  # one item is left out of each epoch, another one each time


def items(count: int = ITEMS) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 8, generator=generator)
    return [{"image": image, "label": image.sum(dim=-1), "case": f"case_{i}"} for i, image in enumerate(images)]


class TinyNet(nn.Sequential):
    def __init__(self, width: int = 6) -> None:
        torch.manual_seed(5)
        super().__init__(nn.Flatten(), nn.Linear(8, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 1))


class Tiny:
    """The parts of a training; `handlers(tiny)` gives further handlers for the trainer."""

    def __init__(
        self,
        folder: Path,
        resume: bool = False,
        epochs: int = 3,
        handlers: Callable[["Tiny"], Sequence[Any]] = lambda tiny: (),
        width: int = 6,
        data: Sequence[Any] | None = None,
        validate_every: int = 1,
        **checkpoint: Any,
    ) -> None:
        self.folder = folder
        self.network = TinyNet(width)
        groups = [{"params": list(self.network[1].parameters()), "lr": 5e-3, "name": "encoder"}]
        groups.append({"params": list(self.network[4].parameters()), "lr": 1e-2, "name": "head"})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
        dataset = PreparedDataset(
            items() if data is None else data,
            Compose([RandGaussianNoised("image", prob=1.0, std=0.05)]),
            seed=1,
            progress=False,
        )
        self.loader = loader(dataset, BATCH, EpochSampler(dataset, seed=1))
        self.evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=loader(PreparedDataset(items(), Compose([]), progress=False), 1),
            network=self.network,
            key_val_metric={"mse": MeanSquaredError(output_transform=from_engine(["pred", "label"]))},
            metric_cmp_fn=lambda current, best: current < best,
        )
        self.best = BestModel(self.evaluator, folder / "model.pt")
        self.step = TrainingStep(seed=1)
        self.finite = FiniteLoss(interval=3)
        self.history = History(folder / "history.csv", self.evaluator)
        self.resume, self.checkpoint_settings = resume, checkpoint
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=self.loader,
            network=self.network,
            optimizer=self.optimizer,
            loss_function=nn.MSELoss(),
            iteration_update=self.step,
            decollate=False,
            train_handlers=[*self.usual(validate_every), *handlers(self)],
        )

    def usual(self, validate_every: int) -> list[Any]:
        """The handlers of every training."""
        self.checkpoint = Checkpoint(
            self.folder / "checkpoint.pt",
            resume=self.resume,
            step=self.step,
            evaluator=self.evaluator,
            **self.checkpoint_settings,
        )
        return [
            RunManifest(self.folder, evaluator=self.evaluator),
            self.checkpoint,  # before the others on purpose: the order must not matter
            self.finite,
            self.history,
            WarmupCosine(self.optimizer, 2, EPOCH_LENGTH * 3),
            Validation(validate_every, self.evaluator),
            self.best,
        ]

    def run(self) -> "Tiny":
        self.trainer.run()
        return self

    def result(self) -> dict[str, Any]:
        """Everything that must not depend on interruptions, bit by bit."""
        return {
            "weights": {name: tensor.tolist() for name, tensor in self.network.state_dict().items()},
            "optimizer": str(self.optimizer.state_dict()),
            "history": (self.folder / "history.csv").read_text(),
            "best": [float(self.evaluator.state.best_metric), self.evaluator.state.best_metric_epoch],
            "best_weights": str(torch.load(self.folder / "model.pt", weights_only=True)),
        }


class At:
    """Calls `action()` at one event, when the trainer's iteration is `iteration`."""

    def __init__(self, event: Events, iteration: int, action: Callable[[], Any]) -> None:
        self.event, self.iteration, self.action = event, iteration, action

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(self.event, self._call)

    def _call(self, engine: Any) -> None:
        if engine.state.iteration == self.iteration:
            self.action()


def train_in_process(folder: str, epochs: int) -> None:
    """Train (on from where the last process stopped) and note the result; the target of a process that gets killed."""
    torch.set_num_threads(1)
    tiny = Tiny(Path(folder), resume=True, epochs=epochs).run()
    exit_if_interrupted(tiny.trainer)
    (Path(folder) / "result.json").write_text(json.dumps(tiny.result()))
