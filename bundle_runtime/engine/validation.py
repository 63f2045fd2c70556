"""Validate during a training, the last epoch included; what a pre-training validates is its loss."""

from typing import Any

import torch
from custom_components.seeding import mix_seed
from custom_components.training.step import autocast
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler
from torch import Tensor, nn

from .common import due


class Validation(ValidationHandler):
    """Runs the evaluator after every `interval` epochs and after the last one; attach to the trainer.

    MONAI's own leaves the last epochs unseen where `interval` does not divide `max_epochs`.

    Args:
        interval: Epochs between validations.
        validator: The MONAI evaluator.
    """

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate if this epoch is one of those."""
        if due(engine, self.interval):
            super().__call__(engine)


def lower_is_better(current: float, best: float) -> bool:
    """MONAI's `metric_cmp_fn` for a loss; its best metric starts at -1, which a loss never reaches."""
    return best == -1 or current < best


class ValidationStep:
    """The `iteration_update` of a `SupervisedEvaluator` whose metric is a loss.

    Random draws (masks) depend on (seed, batch) only, so epochs can be compared, and the training's stream is put back.

    Args:
        loss_function: called as loss_function(network output, target of the batch, or None).
        amp: "off", "bf16" or "fp16", as in training.
        seed: decides the masks.
    """

    def __init__(self, loss_function: nn.Module, amp: str | bool = "off", seed: int = 0) -> None:
        self.loss_function, self.amp, self.seed = loss_function, amp, seed

    def __call__(self, engine: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return {"loss": scalar on the device} for one batch."""
        device = engine.state.device
        image, target = engine.prepare_batch(batch, device, engine.non_blocking)
        engine.network.eval()
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(mix_seed(self.seed, engine.state.iteration))
            with autocast(device, self.amp):
                output = engine.network(image)
            return {"loss": self.loss_function(output, target)}
