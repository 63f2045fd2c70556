"""What a training with self-distillation does besides its loss: the centre moves, the parts are told apart."""

from custom_components.losses.distillation import PARTS, SelfDistillationLoss
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from torch import Tensor

from .common import in_last_iteration, keep
from .epoch_mean import EpochMean, wide


class UpdateCentre:
    """Moves the centre of a `SelfDistillationLoss` once per iteration and gives it to the training checkpoint.

    Attach to the trainer. It comes behind the optimiser's step, so micro-batches of one batch see the same centre.

    Args:
        loss: the trainer's loss.
    """

    def __init__(self, loss: SelfDistillationLoss) -> None:
        self.loss = loss

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        if self.loss.weight > 0:
            keep(engine, "distillation", self.loss)
            engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._step_completed)

    def _step_completed(self, engine: Workflow) -> None:
        self.loss.update_centre()


class LossParts:
    """Tells the two parts of a `SelfDistillationLoss` apart: their means over each epoch.

    In `engine.state.metrics` from the last iteration of each epoch on, under the names of `PARTS`; give those to
    `History` to have them in the history. With a weight of 0 there is no distillation to name. They are the `EpochMean`
    of the iterations, as the loss is: so p * distillation + (1 - p) * reconstruction is `train_loss`.

    Args:
        loss: the trainer's loss.
    """

    def __init__(self, loss: SelfDistillationLoss) -> None:
        self.loss = loss
        self._step: Tensor | None = None  # of the iteration: sums over its samples, and their number
        self.means = EpochMean()

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        keep(engine, "loss_parts", self.means)
        self.loss.part_observers.append(self._observe)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)

    def _observe(self, sums: Tensor) -> None:
        self._step = sums if self._step is None else self._step + sums  # micro-batches of one batch

    def _iteration_completed(self, engine: Workflow) -> None:
        if self._step is not None:
            sums = wide(self._step)
            self.means.add(sums[:-1] / sums[-1])
            self._step = None
        if in_last_iteration(engine) and (means := self.means.result()):
            engine.state.metrics.update(zip(PARTS, means, strict=False))
