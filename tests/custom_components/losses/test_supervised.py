import pytest
import torch
from custom_components.errors import InputError
from custom_components.losses.classification import ClassificationLoss
from custom_components.losses.supervised import SupervisedReconstructionLoss
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F


def output(classes: int = 5, batch: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    pred, target = torch.randn(2, batch, 6, 12, generator=generator)
    return pred, target, torch.zeros(batch, 6).long(), torch.randn(batch, classes, generator=generator)


@given(st.floats(0.0, 3.0))
def test_reconstruction_plus_weighted_cross_entropy(weight: float) -> None:
    pred, target, index, logits = output()
    labels = torch.tensor([0, 4, 2, 2])
    loss = SupervisedReconstructionLoss("multi_class", weight)((pred, target, index, logits), labels)
    expected = F.mse_loss(pred, target) + weight * F.cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("classes", "least", "most"), [(2, 0.31, 1.31), (5, 0.91, 1.91), (8, 1.27, 2.27)])
def test_the_double_softmax_is_bounded_and_ours_is_not(classes: int, least: float, most: float) -> None:
    """MSMAE's released class loss lies between these numbers however sure the network is."""
    pred = torch.zeros(1, 1, 1)
    for logit, bound in ((60.0, least), (-60.0, most)):
        logits = torch.full((1, classes), 0.0)
        logits[0, 0 if logit > 0 else 1] = 60.0
        args = (pred, pred, pred, logits)
        old = SupervisedReconstructionLoss("multi_class", 1.0, "double_softmax")(args, torch.tensor([0]))
        assert old.item() == pytest.approx(bound, abs=0.006)
        ours = SupervisedReconstructionLoss("multi_class", 1.0)(args, torch.tensor([0]))
        assert ours < 1e-5 if logit > 0 else ours > 50


def test_findings_may_be_unknown() -> None:
    made = output()
    labels = torch.tensor([[1.0, 0, 0, float("nan"), 1]] * 4)
    loss = SupervisedReconstructionLoss("multi_label", 0.1)(made, labels)
    assert loss == F.mse_loss(made[0], made[1]) + 0.1 * ClassificationLoss("multi_label")(made[3], labels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cls_weight": -0.1}, "cls_loss_weight is -0.1"),
        ({"cls_loss": "softmax"}, "logits, double_softmax"),
        ({"task": "multi_label", "cls_loss": "double_softmax"}, "for multi_class"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SupervisedReconstructionLoss(**{"task": "multi_class", **settings})
