"""The loss of organs, some of which a case may leave undrawn: a mean over samples, so a batch may be split."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn


def merge_unlabelled(logits: Tensor, unlabelled: Tensor) -> Tensor:
    """Add the probability of classes that a case does not draw to its background (marginal loss, arXiv 2007.03868).

    Where an annotator left a structure out, its voxels carry the background label, so the network may call them either.

    Args:
        logits: (B, C, *S), channel 0 is background.
        unlabelled: (B, C) bool, True where the class is not drawn in that case.

    Returns:
        (B, C, *S): the background logit holds the log-sum of background and unlabelled logits, which become -inf.
    """
    shape = list(unlabelled.shape) + [1] * (logits.ndim - 2)
    absent = unlabelled.view(shape)
    pooled = absent.clone()
    pooled[:, 0] = True
    background = logits.masked_fill(~pooled, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(absent[:, 1:], -torch.inf)], dim=1)


class PartialDiceCELoss(nn.Module):
    """Soft Dice on softmax (squared denominator, background included) plus cross-entropy, per sample, then the mean.

    The form of SelfMedMAE's BTCV fine-tuning, able to leave a class out case by case.

    Args:
        partial: some cases have unlabelled classes. When False the target's "unlabelled" entry is ignored, which saves
            a copy of the logits.
        smooth_nr: added to Dice's numerator. 0 as in the paper: a class absent from a crop then gives Dice no gradient,
            and cross-entropy alone pushes false positives down.
        smooth_dr: added to Dice's denominator.
        lambda_dice: weight of the Dice term.
        lambda_ce: weight of the cross-entropy term.

    Attributes:
        unlearnt: classes that no training label shows; every case counts as one that does not draw them.
    """

    unlearnt: Sequence[int] = ()

    def __init__(
        self,
        partial: bool = False,
        smooth_nr: float = 0.0,
        smooth_dr: float = 1e-6,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
    ) -> None:
        super().__init__()
        self.partial, self.lambda_dice, self.lambda_ce = partial, lambda_dice, lambda_ce
        self.dice = DiceLoss(
            to_onehot_y=True, squared_pred=True, smooth_nr=smooth_nr, smooth_dr=smooth_dr, reduction="none"
        )

    def forward(self, logits: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Logits (B, C, *S); target "label" (B, 1, *S) integers and "unlabelled" (B, C) bool -> scalar.

        Float32 whatever the logits: sums over a volume overflow fp16.
        """
        logits, label = logits.float(), target["label"]
        partial, unlabelled = self.partial or bool(self.unlearnt), target["unlabelled"]
        if self.unlearnt:
            unlabelled = also_unlabelled(unlabelled, self.unlearnt)
        if partial:
            # Voxels of a class that the case is said not to draw count as background, which that class is merged into.
            stray = unlabelled.gather(1, label.flatten(1).long()).view_as(label)
            label = label.masked_fill(stray, 0)
            logits = merge_unlabelled(logits, unlabelled)
        dice = self.dice(logits.softmax(dim=1), label).flatten(1)  # (B, C)
        if partial:
            drawn = (~unlabelled).float()
            dice = (dice * drawn).sum(dim=1) / drawn.sum(dim=1)
        cross_entropy = F.cross_entropy(logits, label[:, 0].long())
        return self.lambda_dice * dice.mean() + self.lambda_ce * cross_entropy


def also_unlabelled(unlabelled: Tensor, unlearnt: Sequence[int]) -> Tensor:
    """(B, C) bool, with further classes in every row; nothing is copied from the host."""
    result = unlabelled.clone()
    for index in unlearnt:
        result[:, index] = True
    return result
