"""What pre-training minimises: the error of hidden patches."""

import torch.nn.functional as F
from torch import Tensor, nn


class ReconstructionLoss(nn.Module):
    """Mean squared error over hidden patches only (MAE, arXiv 2111.06377, section 3), computed in float32.

    Takes the output of `MaskedAutoencoder`, which already holds the hidden patches' targets. The second argument is
    what a trainer passes as the target and is not used.
    """

    def forward(self, output: tuple[Tensor, Tensor, Tensor], target: object = None) -> Tensor:
        """(pred (B, M, P), target (B, M, P), indices) -> scalar."""
        return F.mse_loss(output[0].float(), output[1].float())
