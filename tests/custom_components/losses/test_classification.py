import pytest
import torch
import torch.nn.functional as F
from custom_components.errors import InputError
from custom_components.losses.classification import ClassificationLoss
from hypothesis import given, settings
from hypothesis import strategies as st


def data(task, size=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, 4, generator=generator) * 3
    if task == "multi_class":
        return logits, torch.randint(4, (size,), generator=generator)
    label = torch.bernoulli(torch.full((size, 4), 0.4), generator=generator)
    return logits, label.masked_fill(torch.rand(size, 4, generator=generator) < 0.3, torch.nan)


def test_known_findings_agree_with_pytorch():
    logits, label = data("multi_label")
    label = label.nan_to_num()
    expected = F.binary_cross_entropy_with_logits(logits, label)
    assert torch.allclose(ClassificationLoss("multi_label")(logits, {"label": label}), expected)
    assert torch.allclose(ClassificationLoss("multi_label")(logits, label), expected)
    weights = [0.5, 1.0, 2.0, 8.0]
    expected = F.binary_cross_entropy_with_logits(logits, label, pos_weight=torch.tensor(weights))
    assert torch.allclose(ClassificationLoss("multi_label", weights)(logits, label), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_agree_with_pytorch(smoothing):
    logits, label = data("multi_class")
    loss = ClassificationLoss("multi_class", label_smoothing=smoothing)
    assert torch.allclose(loss(logits, label), F.cross_entropy(logits, label, label_smoothing=smoothing))
    soft = torch.rand(7, 4).softmax(1)
    weights = torch.tensor([0.5, 1.0, 2.0, 8.0])
    loss = ClassificationLoss("multi_class", weights.tolist(), label_smoothing=smoothing)
    expected = F.cross_entropy(logits, soft, weight=weights, label_smoothing=smoothing)
    assert torch.allclose(loss(logits, {"label": soft}), expected)


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_focal_loss_of_hand_made_numbers(task):
    logits = torch.tensor([[1.0, -2.0]])
    p = logits.sigmoid() if task == "multi_label" else logits.softmax(1)
    target = torch.tensor([[1.0, 0.0]]) if task == "multi_label" else torch.tensor([0])
    terms = -((1 - p[0, 0]) ** 2) * p[0, 0].log()
    if task == "multi_label":
        terms = (terms - p[0, 1] ** 2 * (1 - p[0, 1]).log()) / 2
    assert torch.allclose(ClassificationLoss(task, focal_gamma=2)(logits, target), terms)


@settings(max_examples=30, deadline=None)
@given(
    task=st.sampled_from(["multi_label", "multi_class"]),
    seed=st.integers(0, 1000),
    cut=st.integers(1, 6),
    gamma=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_a_batch_may_be_split(task, seed, cut, gamma):
    logits, label = data(task, seed=seed)
    loss = ClassificationLoss(task, [1.0, 2.0, 3.0, 0.5], gamma)
    parts = loss(logits[:cut], label[:cut]) * cut + loss(logits[cut:], label[cut:]) * (7 - cut)
    assert torch.allclose(loss(logits, label), parts / 7, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_unknown_findings_have_no_loss_and_no_gradient(gamma):
    logits, label = data("multi_label")
    label[2] = torch.nan  # a sample of which nothing is known
    logits.requires_grad_()
    loss = ClassificationLoss("multi_label", focal_gamma=gamma)
    value = loss(logits, label)
    value.backward()
    assert torch.isfinite(value)
    assert torch.equal(logits.grad[label.isnan()], torch.zeros(int(label.isnan().sum())))
    assert (logits.grad[~label.isnan()] != 0).all()
    assert loss(logits[2:3], label[2:3]) == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_extreme_logits_stay_finite(task, gamma):
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]) if task == "multi_label" else torch.tensor([0, 0])
    value = ClassificationLoss(task, focal_gamma=gamma)(logits, target)
    value.backward()
    assert value > 100
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("task", ["multi_label", "multi_class"])
def test_float32_whatever_the_logits(task):
    logits, label = data(task)
    value = ClassificationLoss(task)(logits.bfloat16(), label)
    assert value.dtype == torch.float32
    assert torch.equal(value, ClassificationLoss(task)(logits.bfloat16().float(), label))


def test_weights_are_no_part_of_a_checkpoint():
    assert ClassificationLoss("multi_label", [1, 2]).state_dict() == {}


def test_bad_settings():
    with pytest.raises(InputError, match="task of the loss is 'regression'"):
        ClassificationLoss("regression")
    with pytest.raises(InputError, match="focal_gamma of the loss is -1"):
        ClassificationLoss("multi_label", focal_gamma=-1)
    with pytest.raises(InputError, match="label_smoothing of the loss is 1"):
        ClassificationLoss("multi_class", label_smoothing=1)
    with pytest.raises(InputError, match=r"label_smoothing of the loss is 0\.1"):
        ClassificationLoss("multi_label", label_smoothing=0.1)
    with pytest.raises(InputError, match="each must be a number above 0"):
        ClassificationLoss("multi_label", [1.0, 0.0])
    with pytest.raises(InputError, match="has 2 numbers for 4 classes"):
        ClassificationLoss("multi_label", [1.0, 2.0])(*data("multi_label"))
