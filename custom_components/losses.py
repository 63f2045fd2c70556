"""Losses of pre-training and of segmentation; all are means over samples, so a batch may be split and added up."""

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn


def patch_statistics(patches: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch vector, (B, N, P) -> two (B, N, 1), in float32.

    The variance is that of the population with `eps` inside the root (SelfMedMAE's 3D code); Facebook's MAE divides by
    P - 1, which differs by 2e-4 or less at the sizes used here. A constant patch becomes all zeros.
    """
    patches = patches.float()
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True, correction=0)
    return mean, (variance + eps).sqrt()


class ReconstructionLoss(nn.Module):
    """Mean squared error over hidden patches only (MAE, arXiv 2111.06377, section 3), computed in float32.

    Takes the output of `MaskedAutoencoder`, which already holds the hidden patches' targets. The second argument is
    what a trainer passes as the target and is not used.
    """

    def forward(self, output: tuple[Tensor, Tensor, Tensor], target: object = None) -> Tensor:
        """(pred (B, M, P), target (B, M, P), indices) -> scalar."""
        return F.mse_loss(output[0].float(), output[1].float())


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
    """

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
        if self.partial:
            # Voxels of a class that the case is said not to draw count as background, which that class is merged into.
            stray = target["unlabelled"].gather(1, label.flatten(1).long()).view_as(label)
            label = label.masked_fill(stray, 0)
            logits = merge_unlabelled(logits, target["unlabelled"])
        dice = self.dice(logits.softmax(dim=1), label).flatten(1)  # (B, C)
        if self.partial:
            drawn = (~target["unlabelled"]).float()
            dice = (dice * drawn).sum(dim=1) / drawn.sum(dim=1)
        cross_entropy = F.cross_entropy(logits, label[:, 0].long())
        return self.lambda_dice * dice.mean() + self.lambda_ce * cross_entropy
