import torch
from custom_components.losses.segmentation import PartialDiceCELoss, merge_unlabelled
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceCELoss
from torch import Tensor


def case(batch: int = 3, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, 5, 6, 7, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (batch, 1, 5, 6, 7), generator=generator)


def target(label: Tensor, classes: int, missing: dict[int, list[int]] | None = None) -> dict[str, Tensor]:
    mask = torch.zeros(label.shape[0], classes, dtype=torch.bool)
    for sample, numbers in (missing or {}).items():
        mask[sample, numbers] = True
    return {"label": label, "unlabelled": mask}


def test_equals_monai_dice_ce_when_everything_is_labelled() -> None:
    logits, label = case()
    monai = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=0.0, smooth_dr=1e-6)
    expected = monai(logits.float(), label)
    for partial in (False, True):
        assert torch.allclose(PartialDiceCELoss(partial=partial)(logits, target(label, 4)), expected, atol=1e-5)


def test_unlabelled_class_is_not_punished_on_background() -> None:
    """A voxel that carries 'background' only because spleen was not drawn may be called spleen at no cost."""
    label = torch.zeros(1, 1, 4, 4, 4, dtype=torch.long)
    spleen = torch.full((1, 3, 4, 4, 4), -20.0)
    spleen[:, 1] = 20.0
    partial = PartialDiceCELoss(partial=True)
    assert partial(spleen, target(label, 3, {0: [1]})) < partial(spleen, target(label, 3)) / 10


def test_gradients_are_finite_with_unlabelled_classes() -> None:
    logits, label = case()
    label[label == 2] = 0
    logits = logits.float().requires_grad_()
    PartialDiceCELoss(partial=True)(logits, target(label, 4, {0: [2], 1: [1, 2, 3]})).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 2].abs().sum() > 0  # through the background it belongs to


def test_voxels_of_a_class_that_is_said_not_to_be_drawn_are_background() -> None:
    """Otherwise cross-entropy asks for a class of probability zero and the loss is infinite."""
    logits, label = case()
    mask = {0: [2], 1: [1, 3]}
    loss = PartialDiceCELoss(partial=True)
    cleaned = label.clone()
    for sample, numbers in mask.items():
        for number in numbers:
            cleaned[sample][label[sample] == number] = 0
    assert loss(logits, target(label, 4, mask)).isfinite()
    assert torch.equal(loss(logits, target(label, 4, mask)), loss(logits, target(cleaned, 4, mask)))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 100), st.integers(1, 3))
def test_split_batches_add_up(seed: int, first: int) -> None:
    """The promise that micro-batches rest on: the loss is a mean over samples, partly labelled or not."""
    logits, label = case(4, 4, seed)
    full = target(label, 4, {0: [1], 2: [2, 3]})
    loss = PartialDiceCELoss(partial=True)
    parts = [
        loss(logits[rows], {key: value[rows] for key, value in full.items()}) * logits[rows].shape[0] / 4
        for rows in (slice(0, first), slice(first, 4))
    ]
    assert torch.allclose(sum(parts), loss(logits, full), atol=1e-5)


@given(st.integers(0, 100))
def test_merging_keeps_the_total_probability(seed: int) -> None:
    logits, _ = case(2, 4, seed)
    merged = merge_unlabelled(
        logits, torch.tensor([[False, True, False, False], [False, False, False, False]])
    ).softmax(1)
    plain = logits.softmax(1)
    assert torch.allclose(merged[0, 0], plain[0, 0] + plain[0, 1])
    assert torch.allclose(merged[0, 2:], plain[0, 2:])
    assert merged[0, 1].abs().max() == 0
    assert torch.allclose(merged[1], plain[1])


def test_half_precision_logits_do_not_overflow() -> None:
    """fp16 logits make MONAI's DiceLoss(squared_pred) NaN on a large volume; ours counts in float32."""
    logits = torch.randn(1, 2, 64, 64, 64).half() * 4
    label = torch.randint(0, 2, (1, 1, 64, 64, 64))
    loss = PartialDiceCELoss()
    assert torch.allclose(loss(logits, target(label, 2)), loss(logits.float(), target(label, 2)))
