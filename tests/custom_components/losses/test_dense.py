import pytest
import torch
from custom_components.errors import InputError
from custom_components.losses.dense import DenseLoss
from custom_components.networks.dense_features import DenseOutput
from torch import Tensor
from torch.nn import functional as F


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=generator)
    return logits, torch.randint(2, (3, 1, 8, 8), generator=generator)


def test_two_classes_are_binary_cross_entropy_and_dice_per_image(pair: tuple[Tensor, Tensor]) -> None:
    """The form of MSMAE's segmentation: 0.5 BCE + 1 - Dice."""
    logits, label = pair
    binary = logits[:, 1] - logits[:, 0]
    bce = F.binary_cross_entropy_with_logits(binary, label[:, 0].float())
    p, g = binary.sigmoid().flatten(1), label.flatten(1)
    dice = 1 - ((2 * (p * g).sum(1) + 1e-5) / (p.sum(1) + g.sum(1) + 1e-5)).mean()
    assert DenseLoss(0.5, 1.0)(logits, label).item() == pytest.approx((0.5 * bce + dice).item(), rel=1e-5)


def test_auxiliary_heads_count_with_their_weight(pair: tuple[Tensor, Tensor]) -> None:
    logits, label = pair
    others = [logits.flip(0), logits * 2]
    loss = DenseLoss(auxiliary_weight=0.4)
    wanted = loss(logits, label) + 0.4 * (loss(others[0], label) + loss(others[1], label))
    torch.testing.assert_close(loss(DenseOutput(logits, others), label), wanted)


def test_the_border_weighs_more(pair: tuple[Tensor, Tensor]) -> None:
    logits, label = pair
    border = torch.zeros_like(label)
    border[:, :, :2] = 1
    terms = F.cross_entropy(logits, label[:, 0], reduction="none")
    wanted = (terms * (1 + 3 * border[:, 0])).mean()
    torch.testing.assert_close(DenseLoss(border_weight=3)(logits, {"label": label, "border": border}), wanted)


def test_it_is_a_mean_over_samples(pair: tuple[Tensor, Tensor]) -> None:
    logits, label = pair
    loss = DenseLoss(1.0, 1.0)
    parts = (2 * loss(logits[:2], label[:2]) + loss(logits[2:], label[2:])) / 3
    torch.testing.assert_close(loss(logits, label), parts)


def test_an_image_without_foreground_that_is_rightly_left_empty_costs_nothing() -> None:
    logits = torch.stack([torch.full((1, 8, 8), 30.0), torch.full((1, 8, 8), -30.0)], dim=1)
    assert DenseLoss(1.0, 1.0)(logits, torch.zeros(1, 1, 8, 8)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "settings", [{"lambda_ce": 0.0}, {"lambda_dice": -1.0}, {"auxiliary_weight": float("nan")}, {"border_weight": -1}]
)
def test_weights_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="of the loss"):
        DenseLoss(**settings)
