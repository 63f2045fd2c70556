"""What a training with self-distillation does besides its loss: the centre moves, the parts are told apart."""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.engines.workflow import Workflow
from torch import Tensor

from custom_components.distributed import distributed, is_main
from custom_components.losses.distillation import PARTS, SelfDistillationLoss

from .common import in_last_iteration, keep


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
    `History` to have them in the history. With a weight of 0 there is no distillation to name. As `History` does
    with the loss, the means of the iterations are summed on the device, read once an epoch, and averaged over the
    processes; the sums are part of the checkpoint. So p * distillation + (1 - p) * reconstruction is `train_loss`.

    Args:
        loss: the trainer's loss.
    """

    def __init__(self, loss: SelfDistillationLoss) -> None:
        self.loss = loss
        self._step: Tensor | None = None  # of the iteration: sums over its samples, and their number
        self._epoch: Tensor | None = None  # sums of the iterations' means, and their number

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        keep(engine, "loss_parts", self)
        self.loss.part_observers.append(self._observe)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)

    def _observe(self, sums: Tensor) -> None:
        self._step = sums if self._step is None else self._step + sums  # micro-batches of one batch

    def _iteration_completed(self, engine: Workflow) -> None:
        if self._step is not None:
            sums = self._step if self._step.device.type == "mps" else self._step.double()
            means = sums / sums[-1]
            # A state that was restored is on the CPU.
            self._epoch = means if self._epoch is None else self._epoch.to(means.device) + means
            self._step = None
        if in_last_iteration(engine) and self._epoch is not None:
            *totals, count = self._over_processes(self._epoch).tolist()
            engine.state.metrics.update({name: total / count for name, total in zip(PARTS, totals, strict=False)})
            self._epoch = None

    @staticmethod
    def _over_processes(sums: Tensor) -> Tensor:
        if distributed():
            sums = sums.clone()
            dist.all_reduce(sums)
        return sums

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the epoch, over all processes (collective)."""
        return {"sums": None if self._epoch is None else self._over_processes(self._epoch)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on summing from `state`; in a distributed run the main process takes it all."""
        self._step, self._epoch = None, state["sums"] if is_main() else None
