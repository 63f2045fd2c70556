"""A training with self-distillation: its centre, the parts of its loss, its checkpoint."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_runtime.data.dataset import PreparedDataset
from bundle_runtime.data.loading import EpochSampler, loader
from bundle_runtime.engine.checkpoint import Checkpoint
from bundle_runtime.engine.collapse import METRICS, CollapseWatch
from bundle_runtime.engine.distillation import LossParts, UpdateCentre
from bundle_runtime.engine.history import History
from bundle_runtime.engine.validation import ValidationStep
from custom_components.losses.distillation import PARTS, SelfDistillationLoss
from custom_components.training.optim import param_groups
from custom_components.training.step import TrainingStep
from encoders import small_sd_mae as network
from ignite.engine import Events
from monai.engines import SupervisedTrainer

K = 12


def test_validation_leaves_the_centre_alone() -> None:
    loss, net = SelfDistillationLoss(prototypes=K), network()

    class Engine:
        network, non_blocking = net, False
        state = type("State", (), {"device": torch.device("cpu"), "iteration": 1})
        prepare_batch = staticmethod(lambda batch, *_: (batch["image"], None))

    value = ValidationStep(loss)(Engine(), {"image": torch.rand(2, 3, 16, 16)})["loss"]
    loss.update_centre()
    assert value.isfinite()
    assert not loss.centre.any()


class Run:
    """A few epochs of pre-training through the real trainer, step and handlers."""

    def __init__(
        self, folder: Path, resume: bool = False, stop_at: int = 0, micro_batch: int | None = None, weight: float = 0.2
    ) -> None:
        draw = torch.Generator().manual_seed(3)
        items = [{"image": image} for image in torch.rand(10, 3, 16, 16, generator=draw)]
        dataset = PreparedDataset(items, lambda item: item, seed=0, progress=False)
        batches = loader(dataset, 4, EpochSampler(dataset, seed=0))
        self.network, self.loss = network(distil=weight > 0), SelfDistillationLoss(weight, prototypes=K)
        optimizer = torch.optim.AdamW(param_groups(self.network, 1e-3, 0.05))
        step = TrainingStep(seed=0, micro_batch=micro_batch)
        handlers = [
            UpdateCentre(self.loss),
            CollapseWatch(self.loss, iterations=2),
            LossParts(self.loss),
            History(folder / "history.csv", metrics=PARTS + METRICS),
            Checkpoint(folder / "state.pt", resume=resume, step=step),
        ]
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"), max_epochs=3, train_data_loader=batches, network=self.network,
            optimizer=optimizer, loss_function=self.loss, iteration_update=step, decollate=False,
            prepare_batch=lambda batch, *_, **__: (batch["image"], None), train_handlers=handlers,
        )  # fmt: skip
        if stop_at:
            checkpoint = handlers[-1]

            def stop(engine: Any) -> None:
                checkpoint.save(engine)
                engine.terminate(skip_completed=True)

            self.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=stop_at), stop)
        self.folder = folder

    def run(self) -> dict[str, Any]:
        self.trainer.run()
        weights = {name: tensor.tolist() for name, tensor in self.network.state_dict().items()}
        return {"weights": weights, "centre": self.loss.centre.tolist(), "history": self._history()}

    def _history(self) -> str:
        path = self.folder / "history.csv"
        return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("stop_at", [4, 5])
def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path: Path, stop_at: int) -> None:
    """The released code does not save the centre. Bitwise, before and inside the watched iterations."""
    whole = Run(tmp_path / "whole").run()
    Run(tmp_path / "cut", stop_at=stop_at).run()
    assert Run(tmp_path / "cut", resume=True).run() == whole
    assert any(whole["centre"])


def test_one_step_of_the_centre_per_update_whatever_the_micro_batch(tmp_path: Path) -> None:
    """Masks are drawn chunk by chunk, so only the number of steps can be compared: the first moves by a tenth."""
    steps = {None: 0, 2: 0}
    for micro_batch in steps:
        run = Run(tmp_path / str(micro_batch), micro_batch=micro_batch)
        update = run.loss.update_centre

        def counted(update: Callable[[], None] = update, key: int | None = micro_batch) -> None:
            steps[key] += 1
            update()

        run.loss.update_centre = counted
        run.run()
    assert steps == {None: 9, 2: 9}


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_the_history_shows_both_parts_of_the_loss(tmp_path: Path, micro_batch: int | None) -> None:
    """Their weighted sum is the loss, also where the last batch is smaller and where batches are cut up."""
    run = Run(tmp_path, micro_batch=micro_batch)
    run.run()
    with (tmp_path / "history.csv").open() as stream:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    assert len(rows) == 3
    for row in rows:
        assert 0.2 * row["distillation"] + 0.8 * row["reconstruction"] == pytest.approx(row["train_loss"], rel=1e-5)
        assert min(row["distillation"], row["reconstruction"]) > 0
    assert rows[0]["reconstruction"] != rows[1]["reconstruction"]


def test_plain_mae_has_no_distillation_to_show(tmp_path: Path) -> None:
    Run(tmp_path, weight=0.0).run()
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert "distillation" not in rows[0]
    for row in rows:
        assert float(row["reconstruction"]) == pytest.approx(float(row["train_loss"]), rel=1e-6)
