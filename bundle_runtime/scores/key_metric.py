"""A cheap metric that chooses the best epoch of a classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError, one_of
from ignite.engine import Engine
from ignite.metrics import Metric

from ..data.schema import TASKS
from .classification import macro, point_scores, to_probabilities
from .collect import Predictions

SCORES = ("macro_auc", "accuracy", "balanced_accuracy", "macro_f1", "kappa")


class ClassificationScore(Metric):
    """Macro ROC AUC, or for class indices another score, for `key_val_metric` of an evaluator with `decollate: false`.

    Takes "pred" (B, K) and "label" from the engine's output and "index" from its batch. Unknown (NaN) labels and
    classes without positives or without negatives are left out; float32 throughout; with several processes all images
    are scored together, each once. NaN where no class can be scored.

    Args:
        task: "multi_label" or "multi_class".
        score: "macro_auc"; with "multi_class" also accuracy, balanced_accuracy, macro_f1 or kappa.
        ordered: the classes are grades; kappa is then quadratic.
        unlearnt: positions of classes that no training label shows: findings count as unknown, images are left out.

    Raises:
        InputError: an unknown task, or a score that it does not have.
    """

    def __init__(
        self, task: str = "multi_label", score: str = "macro_auc", ordered: bool = False, unlearnt: Sequence[int] = ()
    ) -> None:
        allowed = SCORES if one_of("task", task, TASKS) == "multi_class" else SCORES[:1]
        if score not in allowed:
            raise InputError(
                f"score of the key metric is {score!r}; with {task} it must be one of {', '.join(allowed)}."
            )
        self.task, self.score, self.ordered, self.unlearnt = task, score, ordered, list(unlearnt)
        self._predictions = Predictions()
        super().__init__(device=torch.device("cpu"))

    def reset(self) -> None:
        """Forget the images of the last epoch."""
        self._predictions.clear()

    def iteration_completed(self, engine: Engine) -> None:
        """Take in a batch, without waiting for the device."""
        self.update(engine)

    def update(self, output: Any) -> None:
        """Take in what the engine just predicted; `output` is the engine."""
        self._predictions.add(output, keep_on_device=True)

    def compute(self) -> float:
        """The score of the epoch. Collective."""
        _, logits, labels = self._predictions.gather()
        if not len(logits) or not np.isfinite(logits).all():  # a diverged network is never the best one
            return float("nan")
        if self.unlearnt and labels.ndim == 2:
            labels[:, self.unlearnt] = np.nan
        elif self.unlearnt:
            logits, labels = (part[~np.isin(labels, self.unlearnt)] for part in (logits, labels))
        scores = point_scores(to_probabilities(logits, self.task), labels, self.ordered)
        return float(macro(scores["auc"]) if self.score == "macro_auc" else scores[self.score])
