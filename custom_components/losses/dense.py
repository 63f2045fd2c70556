"""The loss of segmented pictures with auxiliary heads: a mean over samples, so a batch may be split."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from ..errors import InputError, within
from ..networks.dense_features import DenseOutput


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
        self.lambda_ce = within("lambda_ce of the loss", lambda_ce, "[0, inf)")
        self.lambda_dice = within("lambda_dice of the loss", lambda_dice, "[0, inf)")
        self.auxiliary_weight = within("auxiliary_weight of the loss", auxiliary_weight, "[0, inf)")
        self.border_weight = within("border_weight of the loss", border_weight, "[0, inf)")
        if not lambda_ce + lambda_dice:
            raise InputError("lambda_ce and lambda_dice of the loss are both 0; give at least one of them a weight.")
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
