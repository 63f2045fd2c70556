"""Stop a training on a loss that is NaN or infinite, before it spoils a checkpoint."""

from collections.abc import Mapping
from typing import Any

import torch
from custom_components.distributed import any_rank
from custom_components.errors import InputError
from ignite.engine import Events
from monai.engines.workflow import Workflow

from .common import in_last_iteration, keep, names_of

_LISTED = 8  # files that the sentence names


class FiniteLoss:
    """Stops on a loss that is not finite; attach to the trainer.

    The losses stay on the device; the host looks (and so waits) only every `interval` iterations, at the end of an
    epoch and when a checkpoint is about to be written. So no checkpoint replaces a good one after a NaN.

    Args:
        interval: Iterations between two looks.
    """

    def __init__(self, interval: int = 10) -> None:
        self.interval = max(int(interval), 1)
        self._recent: list[tuple[int, int, torch.Tensor, list[str]]] = []

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        keep(engine, "finite", self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)

    def _iteration_completed(self, engine: Workflow) -> None:
        state, items = engine.state, getattr(getattr(engine.data_loader, "dataset", None), "data", ())
        self._recent.append((state.iteration, state.epoch, state.output[0]["loss"], names_of(state.batch, items)))
        if in_last_iteration(engine) or state.iteration % self.interval == 0:
            self.check()

    def check(self) -> None:
        """Look at the losses since the last look. Collective in a distributed run; waits for the device.

        Raises:
            InputError: One is NaN or infinite; the sentence names the iteration and the files of its batch.
        """
        if not self._recent:
            return
        losses = torch.stack([loss.float() for _, _, loss, _ in self._recent])
        recent, self._recent = self._recent, []
        finite = losses.isfinite()
        if not any_rank(~finite.all(), losses.device):
            return
        good = finite.tolist()
        if all(good):
            raise InputError("The loss of another process is not finite; its message names the files of the batch.")
        iteration, epoch, loss, names = recent[good.index(False)]
        names[_LISTED:] = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
        raise InputError(
            f"The loss is {loss.item()} at iteration {iteration} (epoch {epoch}); the files of that batch: "
            f"{', '.join(names) if names else 'not named by the data set'}. Check them for NaN or extreme values, or "
            "lower learning_rate or set amp to off; the last checkpoint is from before."
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing; asked for before a checkpoint is written, it looks at the losses.

        Raises:
            InputError: A loss since the last look is not finite.
        """
        self.check()
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Forget what was seen before."""
        self._recent = []
