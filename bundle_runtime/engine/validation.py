"""Validate during a training, the last epoch included."""

from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

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
