import pytest
import torch
from custom_components.errors import InputError
from custom_components.losses.regions import RegionDiceLoss
from custom_components.tumour_labels import TISSUES, region_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

REGIONS = ["background", "TC", "WT", "ET"]
ET = TISSUES.index("enhancing tumour")


def target(label: Tensor, classes: int, missing: dict[int, list[int]] | None = None) -> dict[str, Tensor]:
    mask = torch.zeros(label.shape[0], classes, dtype=torch.bool)
    for sample, numbers in (missing or {}).items():
        mask[sample, numbers] = True
    return {"label": label, "unlabelled": mask}


def heads(batch: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, tissue codes and the region masks that belong to them."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, 3, 5, 6, 7, generator=generator)
    codes = torch.randint(0, 4, (batch, 1, 5, 6, 7), generator=generator, dtype=torch.uint8)
    return logits, codes, torch.stack([region_masks(sample, REGIONS) for sample in codes])


def drawn(codes: Tensor, missing: dict[int, list[int]] | None = None) -> dict[str, Tensor]:
    return target(codes, 4, missing)


@pytest.mark.parametrize(("smooth", "nr", "dr"), [(0.0, 0.0, 1e-6), (7.0, 7.0, 7.0)])
@pytest.mark.parametrize("lambda_bce", [0.0, 0.5])
def test_regions_equal_monai_dice_and_torch_cross_entropy(
    smooth: float, nr: float, dr: float, lambda_bce: float
) -> None:
    logits, codes, masks = heads()
    dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=nr, smooth_dr=dr)(logits, masks.float())
    expected = dice + lambda_bce * binary_cross_entropy_with_logits(logits, masks.float())
    loss = RegionDiceLoss(REGIONS, smooth, lambda_bce)(logits, drawn(codes))
    assert torch.allclose(loss, expected, atol=1e-6)


def test_masks_of_truth_values_are_fine() -> None:
    """monai.md finding 13: DiceLoss(squared_pred=True) squares the target, which torch 2.13 refuses for bool.

    MONAI's own conversion to BraTS regions returns bool, so the zoo's BraTS bundle no longer trains.
    """
    logits, codes, masks = heads()
    with pytest.raises(RuntimeError):  # the defect; if this fails, it has been mended
        DiceLoss(sigmoid=True, squared_pred=True)(logits, masks)
    assert RegionDiceLoss(REGIONS)(logits, drawn(codes)).isfinite()


def test_unlabelled_regions_are_left_out_of_both_terms() -> None:
    logits, codes, _ = heads()
    loss = RegionDiceLoss(REGIONS, 5.0, 0.7)
    alone = RegionDiceLoss(["background", "TC", "ET"], 5.0, 0.7)
    parts = [loss(logits[i : i + 1], drawn(codes[i : i + 1])) for i in range(3)]
    parts[1] = alone(logits[1:2, [0, 2]], target(codes[1:2], 3))
    logits.requires_grad_()
    mean = loss(logits, drawn(codes, {1: [2]}))
    assert torch.allclose(mean, sum(parts) / 3, atol=1e-6)
    mean.backward()
    assert logits.grad is not None
    assert logits.grad[1, 1].abs().max() == 0
    assert all(logits.grad[i, r].abs().max() > 0 for i in range(3) for r in range(3) if (i, r) != (1, 1))


def test_a_case_that_draws_nothing_costs_nothing() -> None:
    logits, codes, _ = heads(2)
    logits.requires_grad_()
    loss = RegionDiceLoss(REGIONS, 0.0, 1.0)
    value = loss(logits, drawn(codes, {0: [1, 2, 3]}))
    assert torch.allclose(value, loss(logits[1:], drawn(codes[1:])) / 2)
    value.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().max() == 0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 100), st.integers(1, 3), st.sampled_from([0.0, 0.3]))
def test_split_batches_of_regions_add_up(seed: int, first: int, lambda_bce: float) -> None:
    """The promise that micro-batches rest on: every sample weighs the same, however many regions it draws."""
    logits, codes, _ = heads(4, seed)
    full = drawn(codes, {0: [1], 2: [2, 3], 3: [1, 2, 3]})
    loss = RegionDiceLoss(REGIONS, lambda_bce=lambda_bce)
    parts = [
        loss(logits[rows], {key: value[rows] for key, value in full.items()}) * logits[rows].shape[0] / 4
        for rows in (slice(0, first), slice(first, 4))
    ]
    assert torch.allclose(sum(parts), loss(logits, full), atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.floats(1.0, 1000.0), st.floats(-4.0, 2.0))
def test_gradient_on_false_positives_of_an_absent_region(smooth: float, logit: float) -> None:
    """The arithmetic of the docstring: 2 p s / (P + s)^2 on p, hence times p (1 - p) on the logit; none for s = 0."""
    size = 12**3
    for value in (smooth, 0.0):
        logits = torch.full((1, 1, 12, 12, 12), logit, requires_grad=True)
        absent = target(torch.zeros(1, 1, 12, 12, 12, dtype=torch.uint8), 2)
        RegionDiceLoss(["background", "ET"], value)(logits, absent).backward()
        p = torch.tensor(logit).sigmoid().item()
        expected = 2 * p * value / (size * p * p + max(value, 1e-6)) ** 2 * p * (1 - p)
        assert logits.grad is not None
        assert logits.grad[0, 0, 0, 0, 0].item() == pytest.approx(expected, rel=1e-3, abs=1e-15)


@given(st.integers(0, 100), st.floats(0.0, 200.0))
def test_smoothing_shifts_dice_as_documented(seed: int, smooth: float) -> None:
    logits, codes, masks = heads(1, seed)
    p, g = logits.sigmoid()[0], masks[0].float()
    total = ((p * p).sum((1, 2, 3)) + g.sum((1, 2, 3))).double()
    dice = 2 * (p * g).sum((1, 2, 3)) / total
    counted = 1 - RegionDiceLoss(REGIONS, smooth)(logits, drawn(codes))
    assert counted.item() == pytest.approx((dice + (1 - dice) * smooth / (total + smooth)).mean().item(), abs=1e-5)


def lesion_and_bleeding() -> tuple[Tensor, Tensor]:
    """Two noisy features of 24^3 voxels, one of a lesion of 200 voxels, one of a bleeding of 2,000; and tissue codes.

    The lesion is non-enhancing core: the crop holds TC and no ET.
    """
    features = 0.2 * torch.randn(1, 2, 24**3, generator=torch.Generator().manual_seed(0))
    codes = torch.zeros(1, 1, 24**3, dtype=torch.uint8)
    features[:, 0, :200] += 1
    features[:, 1, 200:2200] += 1
    codes[..., :200] = TISSUES.index("non-enhancing core")
    return features, codes


def train(smooth: float, weight: Tensor, bias: Tensor, steps: int = 60) -> Tensor:
    """What classifiers of TC and ET, linear in the features and sharing no weight, then predict: (2, voxels)."""
    features, codes = lesion_and_bleeding()
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], 0.05)
    criterion = RegionDiceLoss(["background", "TC", "ET"], smooth)
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(weight @ features + bias, target(codes, 3)).backward()
        optimizer.step()
    return (weight @ features + bias >= 0)[0]


def hard_dice(found: Tensor) -> float:
    lesion = lesion_and_bleeding()[1][0, 0] > 0
    return float(2 * (found & lesion).sum() / (found.sum() + lesion.sum()))


def test_false_positives_of_an_absent_region_are_unlearnt() -> None:
    """With the paper's smoothing of 0, Dice alone never takes back what is predicted where nothing is."""
    start = {"weight": 6 * torch.eye(2), "bias": torch.full((2, 1), -3.0)}  # the bleeding is called ET
    before, paper = train(0.0, **start, steps=0), train(0.0, **start)
    assert before[1].sum() > 1900
    assert torch.equal(paper[1], before[1])
    ours = train(RegionDiceLoss(REGIONS).smooth, **start)
    assert ours[1].sum() == 0
    assert hard_dice(ours[0]) == pytest.approx(hard_dice(paper[0]), abs=0.01)


def test_the_default_smoothing_hardly_biases_a_lesion_of_200_voxels() -> None:
    """From nothing, and with features in which lesion and surroundings overlap: the same Dice as without smoothing."""
    start = {"weight": torch.zeros(2, 2), "bias": torch.zeros(2, 1)}
    scores = [hard_dice(train(smooth, **start, steps=150)[0]) for smooth in (0.0, RegionDiceLoss(REGIONS).smooth)]
    assert 0.8 < scores[0] < 0.999
    assert scores[1] == pytest.approx(scores[0], abs=0.02)


def test_half_precision_and_bad_settings_of_the_region_loss() -> None:
    logits = 4 * torch.randn(1, 3, 64, 64, 64).half()
    codes = torch.randint(0, 4, (1, 1, 64, 64, 64), dtype=torch.uint8)
    loss = RegionDiceLoss(REGIONS, lambda_bce=1.0)
    assert torch.equal(loss(logits, drawn(codes)), loss(logits.float(), drawn(codes)))
    for wrong in ({"smooth": -1.0}, {"lambda_bce": float("nan")}):
        with pytest.raises(InputError, match=r"of the loss is .* must be at least 0"):
            RegionDiceLoss(REGIONS, **wrong)
    with pytest.raises(InputError, match="'oedema', which is no region"):
        RegionDiceLoss(["background", "oedema"])
    assert list(loss.state_dict()) == []  # the table is no weight
