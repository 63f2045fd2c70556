"""The handlers that every training has, as one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_components.distributed import is_main
from custom_components.errors import one_of
from custom_components.training.optim import WarmupCosine
from ignite.engine import Events
from monai.engines import Evaluator, SupervisedTrainer
from monai.engines.workflow import Workflow
from monai.handlers import TensorBoardStatsHandler

from ..config import resolve
from .checkpoint import Checkpoint
from .early_stop import EarlyStop
from .finite import FiniteLoss
from .history import History
from .manifest import RunManifest
from .progress import Progress
from .run import STATE
from .validation import Validation

_SAME_ON_RESUME = ("seed", "batch_size", "max_epochs")


class StandardHandlers:
    """Everything around a training that is the same in every bundle; attach to the trainer.

    - `manifest.json`: what was run (`RunManifest`)
    - learning rates: warm-up to those of the optimizer's groups, then a cosine or a power (`WarmupCosine`)
    - validation every `val_interval` epochs and after the last one (`Validation`)
    - stop on a loss that is NaN or infinite (`FiniteLoss`)
    - `history.csv`: a row per epoch (`History`)
    - `training_state.pt`, and `resume` from it (`Checkpoint`)
    - early stopping (`EarlyStop`)
    - progress bars, and TensorBoard of losses and metrics per epoch

    What a bundle adds stands beside it in the config's list of handlers, in front of it if it has to act before the
    validation of an epoch. Bars and TensorBoard come last, so they show what the others measured. An overlay adds a
    handler with `+train::handlers: [{_target_: ...}]`.

    Args:
        name: What stands before the bar, e.g. "pretrain".
        step: The trainer's `iteration_update`.
        evaluator: The engine that validates; it gets a bar and TensorBoard too.
        output_dir: Folder of all files.
        warmup_epochs: Epochs until the peak of the learning rate.
        val_interval: Epochs between validations and between checkpoints.
        resume: Go on from the checkpoint in `output_dir`.
        early_stop: Epochs without a better key metric until the training stops; 0 never stops.
        early_stop_by: "loss" (the evaluator's key metric, whatever it is) or "probe".
        probe: A `Probe`, run after validation; None where there is none.
        data_fingerprint: Identifies the training list, for the manifest.
        same_on_resume: Settings that a resumed run must share with the interrupted one, besides seed, batch_size,
            max_epochs and the training list.
        min_lr_ratio: Learning rate at the end, as a fraction of the peak.
        power: Of the schedule, see `WarmupCosine`.
        metrics: Entries of `engine.state.metrics` for the history, besides the loss.

    Raises:
        InputError: `early_stop_by` is neither, or is "probe" without one.
    """

    def __init__(
        self,
        name: str,
        step: Any,
        evaluator: Evaluator,
        output_dir: str | os.PathLike[str],
        warmup_epochs: float = 0,
        val_interval: int = 1,
        resume: bool = False,
        early_stop: int | None = 0,
        early_stop_by: str = "loss",
        probe: Any = None,
        data_fingerprint: str | None = None,
        same_on_resume: Sequence[str] = (),
        min_lr_ratio: float = 0.0,
        power: float | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        self.name, self.folder = name, Path(output_dir)
        self.evaluator, self.probe = evaluator, probe
        # Of the whole training: the epochs of a federated client's trainer are those of a round.
        self.schedule: dict[str, Any] = {"max_epochs": resolve("max_epochs"), "warmup_epochs": warmup_epochs}
        self.schedule |= {"min_lr_ratio": min_lr_ratio, "power": power}
        judges = {"loss": evaluator} | ({} if probe is None else {"probe": probe})
        one_of("early_stop_by", early_stop_by, judges)
        self.early_stop = EarlyStop(judges[early_stop_by], early_stop)
        self.manifest = RunManifest(output_dir, data_fingerprint, evaluator)
        self.validation = Validation(val_interval, evaluator)
        self.history = History(self.folder / "history.csv", evaluator, metrics)
        settings = {key: resolve(key) for key in (*_SAME_ON_RESUME, *same_on_resume)}
        settings |= {"data_fingerprint": data_fingerprint} if data_fingerprint else {}
        self.checkpoint = Checkpoint(self.folder / STATE, resume, val_interval, step, evaluator, settings)
        self._complete = False

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        self.manifest.attach(engine)
        engine.add_event_handler(Events.STARTED, self._attach_schedule)
        probe = [] if self.probe is None else [self.probe]
        for handler in (self.validation, *probe, FiniteLoss(), self.history, self.checkpoint):
            handler.attach(engine)
        engine.add_event_handler(Events.STARTED, self._attach_last)

    def _attach_schedule(self, engine: SupervisedTrainer) -> None:
        # Before the checkpoint is restored: the peaks are those of this run.
        if not self._complete:
            WarmupCosine(engine.optimizer, epoch_length=engine.state.epoch_length, **self.schedule).attach(engine)

    def _attach_last(self, engine: Workflow) -> None:
        if self._complete:
            return
        self._complete = True
        self.early_stop.attach(engine)
        Progress(self.name, evaluator=self.evaluator).attach(engine)
        Progress("validate").attach(self.evaluator)
        if is_main():
            for source in (engine, self.evaluator):
                # Not the loss of every iteration: the host would wait for the device.
                log = TensorBoardStatsHandler(log_dir=str(self.folder / "tensorboard"), iteration_log=False)
                log.attach(source)
