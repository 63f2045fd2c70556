"""The loss of SD-MAE (arXiv 2203.16983): reconstruction, and a centred teacher's view distilled into a student."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import distributed
from ..errors import InputError, one_of, within

if TYPE_CHECKING:  # networks import losses
    from ..networks.sd_mae import SDMAEOutput

CENTRES = ("logits", "probabilities")
PARTS = ("reconstruction", "distillation")
Observer = Callable[[Tensor], None]


class SelfDistillationLoss(nn.Module):
    """L = p * L_distill + (1 - p) * L_rec, a mean over samples, in float32.

    L_distill is the cross-entropy of the student's softmax(z_s / temperature) under the teacher's
    softmax((z_t - centre) / temperature), averaged over samples (and, at patch level, over tokens); L_rec is that of
    `ReconstructionLoss`.

    The centre is a running mean over batches: c <- m c + (1 - m) mean(z_t) as in DINO (arXiv 2104.14294, equation 4),
    or of the teacher's probabilities in place of z_t, as in SD-MAE's released code. That form cannot hold a constant
    teacher back: the centre ends at 1, logits span 2, so the winning prototype keeps its lead.

    The centre moves once per optimiser step, by the whole batch: `forward` collects (also over micro-batches), and
    `update_centre` moves it, over all processes. With a trainer, the handler `UpdateCentre` calls it; in a loop of your
    own call it behind each step. In evaluation mode or without gradients nothing is collected.

    Args:
        weight: p, from 0 (plain MAE: the projectors' output is not looked at) to 1.
        student_temperature: divides the student's logits.
        teacher_temperature: divides the teacher's logits.
        centre_momentum: m, from 0 to below 1.
        centre_on: "logits" or "probabilities".
        teacher_grad: let gradients through the teacher's logits (the released form, which collapses).
        prototypes: K, as the network's.

    Attributes:
        observers: called with the teacher's probabilities of each forward pass in training, (rows, K), detached.
        part_observers: called with the sums over the samples of such a pass, float32 and detached: those of `PARTS` (of
            the first alone with a weight of 0), and behind them the number of samples.

    Raises:
        InputError: a value is out of range.
    """

    centre: Tensor

    def __init__(
        self,
        weight: float = 0.2,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
        centre_on: str = "logits",
        teacher_grad: bool = False,
        prototypes: int = 4096,
    ) -> None:
        super().__init__()
        self.weight = within("distillation_weight (p)", weight, "[0, 1]")
        self.student_temperature = within("student_temperature", student_temperature, "(0, inf)")
        self.teacher_temperature = within("teacher_temperature", teacher_temperature, "(0, inf)")
        self.centre_momentum = within("centre_momentum", centre_momentum, "[0, 1)")
        self.centre_on, self.teacher_grad = one_of("centre_on", centre_on, CENTRES), teacher_grad
        self.register_buffer("centre", torch.zeros(prototypes))
        self.observers: list[Observer] = []
        self.part_observers: list[Observer] = []
        self._sum: Tensor | None = None  # K + 1: of what the centre follows, and the number of rows

    def forward(self, output: SDMAEOutput, target: object = None) -> Tensor:
        """Output of `SelfDistillationMAE` -> scalar; the second argument is a trainer's target and is not used.

        Raises:
            InputError: p is above 0 and the network has no projectors, other prototypes, or a detached teacher that
                should have gradients.
        """
        reconstruction = F.mse_loss(output.pred.float(), output.target.float())
        parts = [reconstruction] if self.weight == 0 else [reconstruction, self.distillation(output)]
        if self.training and torch.is_grad_enabled() and self.part_observers:
            means = torch.stack([part.detach() for part in (*parts, torch.ones_like(reconstruction))])
            for observe in self.part_observers:
                observe(means * len(output.pred))
        if self.weight == 0:
            return reconstruction
        return self.weight * parts[1] + (1 - self.weight) * reconstruction

    def distillation(self, output: SDMAEOutput) -> Tensor:
        """L_distill alone; in training the centre's next step and the observers take note of the teacher."""
        student, teacher = self._logits(output)
        training = self.training and torch.is_grad_enabled()
        if self.centre.device != teacher.device:
            self.centre = self.centre.to(teacher.device)  # in the first step only: copying makes the host wait
        probabilities = ((teacher - self.centre) / self.teacher_temperature).softmax(dim=-1)
        if training:
            self._collect(teacher.detach(), probabilities.detach())
        return -(probabilities * (student / self.student_temperature).log_softmax(dim=-1)).sum(dim=-1).mean()

    def _logits(self, output: SDMAEOutput) -> tuple[Tensor, Tensor]:
        """Student and teacher as (rows, K) float32."""
        if output.student is None or output.teacher is None:
            raise InputError(
                f"distillation_weight is {self.weight}, but the network has no projectors; build it with distil: true."
            )
        prototypes = self.centre.shape[0]
        if output.teacher.shape[-1] != prototypes:
            raise InputError(
                f"prototypes of the loss is {prototypes}, that of the network {output.teacher.shape[-1]}; "
                "give both the same number."
            )
        student, teacher = output.student.float().flatten(0, -2), output.teacher.float().flatten(0, -2)
        if not self.teacher_grad:
            return student, teacher.detach()
        if student.requires_grad and not teacher.requires_grad:
            raise InputError("teacher_grad is true for the loss and false for the network; give both the same value.")
        return student, teacher

    def _collect(self, teacher: Tensor, probabilities: Tensor) -> None:
        followed = teacher if self.centre_on == "logits" else probabilities
        sums = torch.cat([followed.sum(dim=0), followed.new_full((1,), len(followed))])
        self._sum = sums if self._sum is None else self._sum + sums
        for observe in self.observers:
            observe(probabilities)

    @torch.no_grad()
    def update_centre(self) -> None:
        """Move the centre by what was collected since the last call. Collective in a distributed run."""
        if self._sum is None:
            return
        sums, self._sum = self._sum, None
        if distributed():
            dist.all_reduce(sums)
        self.centre.lerp_(sums[:-1] / sums[-1], 1 - self.centre_momentum)
