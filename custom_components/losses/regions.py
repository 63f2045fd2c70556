"""The loss of overlapping tumour regions: a mean over samples, so a batch may be split and the parts added up."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import within
from ..tumour_labels import region_table
from .segmentation import also_unlabelled


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
        self.smooth = within("smooth of the loss", smooth, "[0, inf)")
        self.lambda_bce = within("lambda_bce of the loss", lambda_bce, "[0, inf)")
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
        drawn = ~(also_unlabelled(unlabelled, self.unlearnt) if self.unlearnt else unlabelled)[:, 1:]
        return ((loss * drawn).sum(1) / drawn.sum(1).clamp(min=1)).mean()
