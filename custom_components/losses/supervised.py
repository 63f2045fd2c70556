"""What the pre-training of MSMAE minimises: the error of masked patches, and with it a class loss."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, one_of, within
from .classification import ClassificationLoss


class SupervisedReconstructionLoss(nn.Module):
    """Mean squared error of the masked patches plus a weighted class loss: MSMAE (arXiv 2305.05871), L_rec + 0.1 L_cls.

    Args:
        task: "multi_label" or "multi_class", see `ClassificationLoss`.
        cls_weight: of the class loss; 0 leaves reconstruction alone, and needs no labels.
        cls_loss: "logits", or "double_softmax": the cross-entropy takes probabilities for logits, as the released code
            does. It then never reaches 0 (0.91 is its least with 5 classes) and hardly pushes.

    Raises:
        InputError: a value is out of range, or "double_softmax" with "multi_label".
    """

    def __init__(self, task: str, cls_weight: float = 0.1, cls_loss: str = "logits") -> None:
        super().__init__()
        self.cls_weight = within("cls_loss_weight", cls_weight, "[0, inf)")
        self.cls_loss = one_of("cls_loss", cls_loss, ("logits", "double_softmax"))
        if cls_loss == "double_softmax" and task != "multi_class":
            raise InputError("cls_loss is double_softmax, which is for multi_class; set cls_loss: logits.")
        self.classification = ClassificationLoss(task)

    def forward(self, output: tuple[Tensor, Tensor, Tensor, Tensor | None], target: Tensor | None = None) -> Tensor:
        """(pred (B, M, P), target (B, M, P), indices, logits (B, K) or None) and labels -> scalar."""
        reconstruction = F.mse_loss(output[0].float(), output[1].float())
        logits = output[3]
        if not self.cls_weight:
            return reconstruction
        if logits is None or target is None:
            raise InputError(
                f"cls_loss_weight is {self.cls_weight}, but the batch has no labels or the network no class head; "
                "label the datalist, or set cls_loss_weight: 0."
            )
        if self.cls_loss == "double_softmax":
            logits = logits.float().softmax(dim=1)
        return reconstruction + self.cls_weight * self.classification(logits, target)
