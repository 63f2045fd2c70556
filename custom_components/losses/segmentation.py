"""Losses of segmentation: organs that may be undrawn, overlapping tumour regions, pictures with auxiliary heads.

Each is a mean over samples, so a batch may be split and the parts added up.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from ..errors import InputError
from ..networks.dense_features import DenseOutput
from ..tumour_labels import region_table


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
            unlabelled = _also(unlabelled, self.unlearnt)
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


def _also(unlabelled: Tensor, unlearnt: Sequence[int]) -> Tensor:
    """(B, C) bool, with further classes in every row; nothing is copied from the host."""
    result = unlabelled.clone()
    for index in unlearnt:
        result[:, index] = True
    return result


class RegionDiceLoss(nn.Module):
    """Soft Dice on sigmoid (squared denominator) of overlapping regions, per sample and region, then the mean.

    The form of SelfMedMAE's BraTS fine-tuning, 1 - (2 sum(p g) + s) / (sum(p^2) + sum(g) + s), with its s = 0 replaced:
    a region that a crop does not hold then costs 1 whatever is predicted, and nothing pushes false positives down.

    With s that region costs P / (P + s), P = sum(p^2), and its gradient on p is 2 p s / (P + s)^2: the push that a
    region of which s / 2 voxels are found gives to its own false positives. An s that only avoids 0 / 0 (1e-5) is
    therefore nothing beside the 5e5 that P is at the start in 128^3 voxels; with s = 100 the push is that of a small
    lesion, and strongest once about 100 false positives are left. What s does to a region of G voxels that is there:
    its Dice d is counted as d + (1 - d) s / (P + G + s), so 0.90 as 0.92 for 200 voxels and s = 100, and missing it
    costs G / (G + s), here 0.67. The best prediction stays the best. Where lesions of a few voxels matter, take a small
    s and `lambda_bce`, which needs no s.

    Args:
        class_names: background first, then the regions, one channel of logits each.
        smooth: s, in voxels of the crop; in proportion to the crop's size. 0 is the paper's.
        lambda_bce: weight of a binary cross-entropy (mean over the voxels) beside Dice; 0 is the paper's.

    Attributes:
        unlearnt: classes (0 is the background) that no training label shows; no case counts for them.

    Raises:
        InputError: a name that is no region, or a negative number.
    """

    table: Tensor
    unlearnt: Sequence[int] = ()

    def __init__(self, class_names: Sequence[str], smooth: float = 100.0, lambda_bce: float = 0.0) -> None:
        super().__init__()
        for key, value in (("smooth", smooth), ("lambda_bce", lambda_bce)):
            if not value >= 0:
                raise InputError(f"{key} of the loss is {value}; it must be 0 or more.")
        self.smooth, self.lambda_bce = float(smooth), float(lambda_bce)
        self.register_buffer("table", region_table(class_names), persistent=False)  # tissues R

    def forward(self, logits: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Logits (B, R, *S); target "label" (B, 1, *S) tissue codes and "unlabelled" (B, 1 + R) bool -> scalar.

        A region that a case does not draw is left out of that case's mean over regions; a case that draws none costs
        0. Float32 whatever the logits: sums over a volume overflow fp16.
        """
        logits = logits.float()
        if self.table.device != logits.device:
            self.table = self.table.to(logits.device)  # in the first step only: copying makes the host wait
        codes = target["label"][:, 0].int()
        masks = torch.stack([tissues[codes] for tissues in self.table.T], dim=1)  # B R *S
        space = tuple(range(2, logits.ndim))
        probabilities = logits.sigmoid()
        overlap = (probabilities * masks).sum(space)  # B R
        total = probabilities.square().sum(space) + masks.sum(space)
        # MONAI's DiceLoss squares the target as well, which fails for the bool that masks are (torch 2.13).
        loss = 1 - (2 * overlap + self.smooth) / (total + max(self.smooth, 1e-6))
        if self.lambda_bce:
            entropy = F.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none")
            loss = loss + self.lambda_bce * entropy.mean(space)
        unlabelled = target["unlabelled"]
        drawn = ~(_also(unlabelled, self.unlearnt) if self.unlearnt else unlabelled)[:, 1:]
        return ((loss * drawn).sum(1) / drawn.sum(1).clamp(min=1)).mean()


class DenseLoss(nn.Module):
    """Weighted sum of cross-entropy and soft Dice of pictures, of the network's head and of heads trained beside it.

    The Dice term is 1 - (2 sum(p g) + s) / (sum(p) + sum(g) + s) per image and class without the background, s = 1e-5.
    Cross-entropy of two classes is the binary cross-entropy of the difference of their logits.

    Args:
        lambda_ce: weight of the cross-entropy (SD-MAE's segmentation: 1; MSMAE's: 0.5).
        lambda_dice: weight of the Dice term (0; 1).
        auxiliary_weight: weight of each auxiliary head, which has the same loss (SD-MAE's: 0.4).
        border_weight: pixels of the target's "border" map count 1 + this much in the cross-entropy; 0 is the papers'.

    Attributes:
        unlearnt: classes that no training label shows; Dice is the mean over the others.

    Raises:
        InputError: a weight is negative, or both terms have none.
    """

    unlearnt: Sequence[int] = ()

    def __init__(
        self,
        lambda_ce: float = 1.0,
        lambda_dice: float = 0.0,
        auxiliary_weight: float = 0.4,
        border_weight: float = 0.0,
    ) -> None:
        super().__init__()
        weights = {"lambda_ce": lambda_ce, "lambda_dice": lambda_dice}
        weights |= {"auxiliary_weight": auxiliary_weight, "border_weight": border_weight}
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise InputError(f"{name} of the loss is {weight}; it must be a number of 0 or more.")
        if not lambda_ce + lambda_dice:
            raise InputError("lambda_ce and lambda_dice of the loss are both 0; give at least one of them a weight.")
        self.lambda_ce, self.lambda_dice = lambda_ce, lambda_dice
        self.auxiliary_weight, self.border_weight = auxiliary_weight, border_weight
        self.dice = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5)

    def forward(self, output: Tensor | DenseOutput, target: Tensor | dict[str, Tensor]) -> Tensor:
        """Scalar loss, in float32.

        Args:
            output: logits (B, K, H, W), or a `DenseOutput` of such.
            target: class map (B, 1, H, W), or {"label": that, "border": (B, 1, H, W) of 0 and 1}.
        """
        logits, auxiliary = output if isinstance(output, tuple) else (output, [])
        label, border = (target["label"], target["border"]) if isinstance(target, dict) else (target, None)
        loss = self._one(logits.float(), label, border)
        for other in auxiliary if self.auxiliary_weight else ():
            loss = loss + self.auxiliary_weight * self._one(other.float(), label, border)
        return loss

    def _one(self, logits: Tensor, label: Tensor, border: Tensor | None) -> Tensor:
        total = torch.zeros((), device=logits.device)
        if self.lambda_ce:
            terms = F.cross_entropy(logits, label[:, 0].long(), reduction="none")  # B H W
            if border is not None and self.border_weight:
                terms = terms * (1 + self.border_weight * border[:, 0])
            total = total + self.lambda_ce * terms.mean()
        if self.lambda_dice:
            # Of a class that neither side holds the term is 0, with `leave_out`: the sum is that of the others.
            classes = logits.shape[1] - 1
            share = classes / max(classes - len(self.unlearnt), 1)
            total = total + self.lambda_dice * share * self.dice(logits, label)
        return total
