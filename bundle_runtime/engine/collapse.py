"""Does the teacher of a self-distillation still tell images apart? Four numbers an epoch, and a warning."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from custom_components.distributed import distributed, say
from custom_components.errors import InputError
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import Tensor

from .common import in_last_iteration, keep
from .epoch_mean import EpochMean

METRICS = ("teacher_information", "teacher_entropy", "teacher_prototypes", "teacher_centre", "teacher_constant")
CONSTANT = 0.01  # nats; rounding alone gives less


class TeacherStatistics:
    """How a teacher's probabilities differ within a batch, as means over batches.

    Within, because a teacher moves: pooled over many batches, its drift would count as information.

    Args:
        prototypes: K.
    """

    def __init__(self, prototypes: int) -> None:
        self.prototypes = prototypes
        self.means = EpochMean()  # information, entropy, prototypes in use
        self._batch: Tensor | None = None  # 2 K + 2: probabilities, rows that each prototype wins, entropy, rows

    def add(self, probabilities: Tensor) -> None:
        """Take in (rows, K), a batch or a part of one."""
        first = probabilities[:, 0]
        # Counting with `bincount` would make the host wait.
        wins = torch.zeros_like(probabilities[0]).scatter_add_(0, probabilities.argmax(dim=1), torch.ones_like(first))
        entropy, rows = torch.special.entr(probabilities).sum().view(1), first.new_full((1,), len(first))
        sums = torch.cat([probabilities.sum(dim=0), wins, entropy, rows])
        self._batch = sums if self._batch is None else self._batch + sums

    def end_batch(self) -> None:
        """Close the batch that was added, over all processes (collective)."""
        if self._batch is None:
            return
        sums, self._batch = self._batch, None
        if distributed():
            dist.all_reduce(sums)
        means, entropy = sums[: self.prototypes] / sums[-1], sums[-2] / sums[-1]
        wins = sums[self.prototypes : 2 * self.prototypes]
        information = torch.special.entr(means).sum() - entropy
        self.means.add(torch.stack([information, entropy, (wins > 0).sum().to(entropy.dtype)]))

    def result(self) -> dict[str, float]:
        """Means over the batches since the last call: the first three of `METRICS`; empty where there was no batch.

        The mutual information of image and prototype is the entropy of the batch's mean probabilities minus the mean
        entropy: 0 where every image gets the same probabilities, at most the logarithm of K or of the batch size.
        """
        # Rounding can push an information of 0 below it.
        return {name: max(value, 0.0) for name, value in zip(METRICS, self.means.result(), strict=False)}


class CollapseWatch:
    """Logs whether the teacher of a `SelfDistillationLoss` says something, and warns when it does not.

    In `engine.state.metrics`, from the last iteration of each epoch on: `teacher_information` (mutual information of
    image and prototype within a batch, nats), `teacher_entropy` (mean over images, nats), `teacher_prototypes`
    (prototypes that are the highest of some image of the batch), `teacher_centre` (largest absolute value of the
    centre) and `teacher_constant` (1 where the information is under 0.01 nats, else 0). Give `METRICS` to `History`
    to have them in the history. There are two ways to be constant: all images get the same one prototype, or all get
    the same spread over many (small differences then still decide which is the highest, so the number of prototypes
    does not tell). The first epoch with a constant teacher prints a warning and is named in the manifest; it may come
    to life later, above all before the reconstruction has begun to learn, and the first such epoch is named in the same
    places.

    The numbers are means over the last batches of the epoch. At patch level patches take the place of images.

    Args:
        loss: the `SelfDistillationLoss`; with a weight of 0 there is nothing to watch.
        iterations: so many at the end of each epoch are looked at; each costs a pass over the probabilities.

    Raises:
        InputError: fewer than one iteration.
    """

    def __init__(self, loss: Any, iterations: int = 20) -> None:
        if iterations < 1:
            raise InputError(f"iterations of CollapseWatch is {iterations}; it must be at least 1.")
        self.loss, self.iterations = loss, iterations
        self.statistics = TeacherStatistics(len(loss.centre))
        self.warned = self.recovered = False
        self._looking = False

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        if self.loss.weight > 0:
            keep(engine, "collapse", self)
            self.loss.observers.append(self._observe)
            engine.add_event_handler(Events.ITERATION_STARTED, self._iteration_started)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)

    def _iteration_started(self, engine: Workflow) -> None:
        left = -engine.state.iteration % (engine.state.epoch_length or 1)
        self._looking = left < self.iterations

    def _observe(self, probabilities: Tensor) -> None:
        if self._looking:
            self.statistics.add(probabilities)

    def _iteration_completed(self, engine: Workflow) -> None:
        if self._looking:
            self.statistics.end_batch()
        if not in_last_iteration(engine):
            return
        found = self.statistics.result()
        found["teacher_centre"] = float(self.loss.centre.abs().max())
        constant = found["teacher_information"] < CONSTANT
        found["teacher_constant"] = float(constant)
        engine.state.metrics.update(found)
        if constant and not self.warned:
            self._warn(engine, found)
        elif self.warned and not constant and not self.recovered:
            self.recovered = True
            self._note(engine, f"The teacher tells images apart in epoch {engine.state.epoch}: it is constant no more.")

    def _warn(self, engine: Workflow, found: Mapping[str, float]) -> None:
        self.warned = True
        train = "train until the reconstruction learns (more epochs), or with a larger batch"
        changes = ["teacher_grad: false"] if self.loss.teacher_grad else []
        changes += ["centre_on: logits"] if self.loss.centre_on != "logits" else []
        advice = f"Set {' and '.join(changes)}; if that does not help, {train}" if changes else train.capitalize()
        message = (
            f"The teacher is constant in epoch {engine.state.epoch}: every image gets the same answer (mutual "
            f"information {found['teacher_information']:.4f} nats, entropy {found['teacher_entropy']:.3f} of at most "
            f"{math.log(self.statistics.prototypes):.2f}: 0 is one prototype, the most an even spread over all). While "
            "that lasts, the distillation teaches nothing and training is that of a plain masked autoencoder; see "
            f"teacher_information in the history. {advice}."
        )
        self._note(engine, f"WARNING: {message}")

    @staticmethod
    def _note(engine: Workflow, message: str) -> None:
        say(message)
        vars(engine.state).setdefault("warnings", []).append(message.removeprefix("WARNING: "))

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the epoch and which notes were given. Collective."""
        return {**self.statistics.means.state_dict(), "warned": self.warned, "recovered": self.recovered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on summing from `state`."""
        self.statistics.means.load_state_dict(state)
        self.warned, self.recovered = bool(state["warned"]), bool(state["recovered"])
