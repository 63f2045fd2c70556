import pytest
import torch
from custom_components.losses.reconstruction import ReconstructionLoss


def test_reconstruction_loss_is_the_mean_over_hidden_values() -> None:
    pred, true = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    true[0, 0, 0] = 6.0
    assert ReconstructionLoss()((pred, true, torch.zeros(2, 3))).item() == pytest.approx(36 / 24)


# --- overlapping regions --------------------------------------------------------------------------------------------
