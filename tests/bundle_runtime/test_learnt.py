"""A class that was not learnt gets no gradient, no probability, and its loss is that of a network without it."""

from typing import NamedTuple

import pytest
import torch
from bundle_runtime.learnt import classes_from_engine, leave_out, masks_from_engine, not_selected
from custom_components.errors import InputError
from custom_components.losses.classification import ClassificationLoss, only_learnt
from custom_components.losses.dense import DenseLoss
from custom_components.losses.regions import RegionDiceLoss
from custom_components.losses.segmentation import PartialDiceCELoss
from custom_components.networks.dense_features import DenseOutput
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import DiceMetric
from torch import Tensor, nn

CLASSES = 5
unlearnt_classes = st.sets(st.integers(1, CLASSES - 1), min_size=1, max_size=CLASSES - 2).map(sorted)


class Auxiliary(nn.Module):
    """Logits and those of a head beside it, as dense networks give them in training."""

    def forward(self, values: Tensor) -> DenseOutput:
        return DenseOutput(values, [values * 2])


class Pair(NamedTuple):
    loss: nn.Module
    other: nn.Module


def labels_of(kept: list[int], *shape: int) -> tuple[Tensor, Tensor]:
    """Class maps that show learnt classes alone, and the same by the numbers of a network without the others."""
    places = torch.randint(0, len(kept), shape)
    return torch.tensor(kept)[places], places


@given(unlearnt_classes, st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_no_probability_and_no_gradient(unlearnt: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    network = leave_out(nn.Conv3d(1, CLASSES, 1), unlearnt)
    logits = network(torch.randn(2, 1, 3, 3, 3))
    assert float(logits.softmax(1)[:, unlearnt].sum()) == float(logits.sigmoid()[:, unlearnt].sum()) == 0
    logits.softmax(1).square().sum().backward()
    assert float(network.weight.grad[unlearnt].abs().sum()) == 0
    assert float(network.weight.grad.abs().sum()) > 0


def test_it_holds_for_heads_beside_it_and_in_half_precision() -> None:
    output = leave_out(Auxiliary(), [1])(torch.randn(2, 3, 4, 4))
    assert isinstance(output, DenseOutput)
    for logits in (output.logits, output.auxiliary[0]):
        assert float(logits.half().softmax(1)[:, 1].sum()) == 0
        assert float(logits.half().softmax(1)[:, 0].sum()) > 0


def test_nothing_to_leave_out_is_no_hook() -> None:
    assert not leave_out(nn.Identity(), ())._forward_hooks


@given(unlearnt_classes, st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_organs(unlearnt: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    kept = [index for index in range(CLASSES) if index not in unlearnt]
    logits = leave_out(nn.Identity(), unlearnt)(torch.randn(2, CLASSES, 4, 4, 4))
    label, renumbered = labels_of(kept, 2, 1, 4, 4, 4)
    loss, other = PartialDiceCELoss(), PartialDiceCELoss()
    loss.unlearnt = unlearnt
    nothing = torch.zeros(2, CLASSES, dtype=torch.bool)
    found = loss(logits, {"label": label, "unlabelled": nothing})
    target = {"label": renumbered, "unlabelled": nothing[:, : len(kept)]}
    assert torch.allclose(found, other(only_learnt(logits, unlearnt), target), atol=1e-5)


@given(st.sampled_from(["TC", "WT", "ET"]), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_regions(name: str, lambda_bce: float, seed: int) -> None:
    torch.manual_seed(seed)
    names = ["background", "TC", "WT", "ET"]
    left = [one for one in names if one != name]
    loss, other = RegionDiceLoss(names, lambda_bce=lambda_bce), RegionDiceLoss(left, lambda_bce=lambda_bce)
    loss.unlearnt = [names.index(name)]
    logits = torch.randn(2, 3, 4, 4, 4)
    codes, nothing = torch.randint(0, 6, (2, 1, 4, 4, 4)), torch.zeros(2, 4, dtype=torch.bool)
    found = loss(logits, {"label": codes, "unlabelled": nothing})
    kept = only_learnt(logits, [names.index(name) - 1])
    assert torch.allclose(found, other(kept, {"label": codes, "unlabelled": nothing[:, :3]}), atol=1e-5)


@given(unlearnt_classes, st.sampled_from([(1.0, 0.0), (0.5, 1.0), (0.0, 1.0)]), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_dense(unlearnt: list[int], weights: tuple[float, float], seed: int) -> None:
    torch.manual_seed(seed)
    kept = [index for index in range(CLASSES) if index not in unlearnt]
    logits = leave_out(nn.Identity(), unlearnt)(torch.randn(2, CLASSES, 6, 6))
    label, renumbered = labels_of(kept, 2, 1, 6, 6)
    loss, other = DenseLoss(*weights), DenseLoss(*weights)
    loss.unlearnt = unlearnt
    assert torch.allclose(loss(logits, label), other(only_learnt(logits, unlearnt), renumbered), atol=1e-5)


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
@given(unlearnt=unlearnt_classes, gamma=st.sampled_from([0.0, 2.0]), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_classification(task: str, unlearnt: list[int], gamma: float, seed: int) -> None:
    torch.manual_seed(seed)
    kept = [index for index in range(CLASSES) if index not in unlearnt]
    weights, smoothing = [1.0, 2.0, 3.0, 4.0, 5.0], 0.1 if task == "multi_class" else 0.0
    loss = ClassificationLoss(task, weights, gamma, smoothing)
    other = ClassificationLoss(task, [weights[index] for index in kept], gamma, smoothing)
    loss.unlearnt = unlearnt
    logits = leave_out(nn.Identity(), unlearnt)(torch.randn(6, CLASSES))
    label, renumbered = labels_of(kept, 6)
    if task == "multi_label":
        label = torch.randint(0, 2, (6, CLASSES)).float()
        label[0, 0] = torch.nan
        renumbered = label[:, kept]
    assert torch.allclose(loss(logits, label), other(only_learnt(logits, unlearnt), renumbered), atol=1e-5)


def test_the_score_that_selects_leaves_it_out() -> None:
    label = torch.tensor([0, 1, 1, 2, 2, 3]).view(1, 2, 3)
    pred = torch.tensor([0, 1, 1, 2, 0, 0]).view(1, 2, 3)
    maps = classes_from_engine([3])([{"pred": pred, "label": label}])
    metric = DiceMetric(include_background=False, num_classes=4)
    metric(*maps)
    assert metric.aggregate().item() == pytest.approx((1 + 2 / 3) / 2)
    planes = [torch.nn.functional.one_hot(one[0], 4).movedim(-1, 0) for one in (pred, label)]
    one_hot = classes_from_engine([3])([{"pred": planes[0], "label": planes[1]}])
    assert [int(part[0][3].sum()) for part in one_hot] == [0, 0]
    assert torch.equal(one_hot[1][0][:3], planes[1][:3])
    regions = masks_from_engine(["background", "TC", "WT", "ET"], [3])([{"pred": pred, "label": label}])
    assert [int(part[0][2].sum()) for part in regions] == [0, 0]
    assert int(regions[1][0][1].sum()) > 0


def test_classes_that_choose_no_epoch() -> None:
    assert not_selected(["background", "liver", "left kidney"], ["left kidney"]) == [1]
    assert not_selected(["background", "liver"], ["liver"]) == []


@pytest.mark.parametrize(
    ("selected", "said"),
    [
        ("liver left", r"select_organs is 'liver left', expected a list"),
        (["livre"], r"names 'livre', which is none of the classes of this run: liver, left kidney\."),
        (["background"], "names 'background'"),
        ([], "is empty"),
    ],
)
def test_a_choice_of_classes_that_cannot_be_is_refused(selected: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        not_selected(["background", "liver", "left kidney"], selected)
