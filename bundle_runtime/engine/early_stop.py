"""Stop a training whose validation no longer improves."""

from typing import Any

from custom_components.distributed import say
from custom_components.errors import InputError
from ignite.engine import Events
from monai.engines.workflow import Workflow

from .common import epochs_done


class EarlyStop:
    """Ends the training when the best validation lies `patience` epochs back.

    Keeps no count of its own: it compares `evaluator.state.best_metric_epoch`, which `Checkpoint` stores and restores,
    with the number of completed epochs, so a resumed run stops where the uninterrupted one does. It decides only on
    epochs that were validated, and at the start of the next one: by then the checkpoint of the last epoch is written,
    and a resumed run that had already stopped early stops again at once.

    Args:
        evaluator: The MONAI evaluator that `ValidationHandler` runs, with a key metric; or a `Probe`.
        patience: Epochs without a better key metric; None or 0 turns early stopping off.

    Raises:
        InputError: The probe is off, so that there would never be anything to stop by.
    """

    def __init__(self, evaluator: Any, patience: int | None = None) -> None:
        self.evaluator = evaluator
        self.patience = int(patience or 0)
        if self.patience > 0 and getattr(evaluator, "interval", 1) <= 0:  # a `Probe` has one
            raise InputError(
                f"early_stop is {self.patience} by the probe, and probe_interval is 0, so nothing would ever stop the "
                "run; set probe_interval, or early_stop_by: loss."
            )

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        if self.patience > 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._stop_if_stale)

    def _stop_if_stale(self, engine: Workflow) -> None:
        state, done = self.evaluator.state, epochs_done(engine)
        validated = state.epoch == done and engine.state.iteration == done * engine.state.epoch_length
        if validated and 0 < state.best_metric_epoch <= done - self.patience:
            say(
                f"Early stop after epoch {done}: {state.key_metric_name} has not improved on "
                f"{float(state.best_metric):.4f} since epoch {state.best_metric_epoch} (patience {self.patience} "
                "epochs)."
            )
            engine.state.epoch = done  # the epoch that has just been announced does not take place
            engine.terminate()
