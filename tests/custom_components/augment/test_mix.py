"""Mixup and CutMix."""

import numpy as np
import pytest
import torch
from custom_components.augment import Mix
from custom_components.errors import InputError
from custom_components.seeding import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

MIXUP, CUTMIX = 0.9, 0.1  # the number that decides between the two


def numbers(count: int) -> Tensor:
    return torch.from_numpy(uniform(0, np.zeros(count, np.int64), np.arange(count), Mix.draws))


def row(kind: float, share: float = 0.3, centre: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    return torch.tensor([[0.0, kind, share, *centre]])


def timm_target(target: Tensor, classes: int, share: float, smoothing: float) -> Tensor:
    """The targets of timm's `Mixup`, written out."""
    off = smoothing / classes
    on = 1 - smoothing + off
    first, second = (torch.full((len(target), classes), off) for _ in range(2))
    first[torch.arange(len(target)), target] = on
    second[torch.arange(len(target)), target.flip(0)] = on
    return share * first + (1 - share) * second


def test_mixup_averages_images_and_labels() -> None:
    mix, images, target = Mix(5), torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 4])
    before = images.clone()
    mixed, soft = mix(images, target, row(MIXUP))
    share = stats.beta(0.8, 0.8).ppf(0.3)
    torch.testing.assert_close(mixed, share * images + (1 - share) * images.flip(0))
    torch.testing.assert_close(soft, timm_target(target, 5, share, 0.1))
    assert torch.equal(images, before)


def test_cutmix_cuts_a_rectangle_of_the_counterpart_in() -> None:
    mix, images, target = Mix(3), torch.rand(4, 1, 20, 30), torch.tensor([0, 1, 2, 0])
    before = images.clone()
    mixed, soft = mix(images, target, row(CUTMIX, 0.3, (0.5, 0.5)))
    # The share is uniform (alpha 1): 0.3 stays, so the sides are sqrt(0.7) of the image's, halved and rounded down.
    inside = torch.zeros(20, 30, dtype=torch.bool)
    inside[10 - 8 : 10 + 8, 15 - 12 : 15 + 12] = True
    torch.testing.assert_close(mixed, torch.where(inside, images.flip(0), images))
    torch.testing.assert_close(soft, timm_target(target, 3, 1 - 16 * 24 / 600, 0.1))
    assert torch.equal(images, before)


@settings(deadline=None)
@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_labels_weigh_what_is_really_seen(share: float, y: float, x: float, height: int, width: int) -> None:
    # A rectangle at the border is cut off, and the labels must follow.
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, height, width)
    mixed, soft = Mix(4, label_smoothing=0.0)(images, torch.arange(4), row(CUTMIX, share, (y, x)))
    for number, (image, label) in enumerate(zip(mixed, soft, strict=True)):
        seen = (image == number).double().mean().item()
        assert label[number].item() == pytest.approx(seen, abs=1e-5)
        assert label[3 - number].item() == pytest.approx(1 - seen, abs=1e-5)


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([(0.8, 1.0), (0.8, 0.0), (0.0, 1.0), (0.1, 5.0)]),
    st.floats(0, 0.9),
)
def test_soft_labels_sum_to_one_and_images_stay_in_range(seed: int, size: int, alphas: tuple, smoothing: float) -> None:
    mix = Mix(3, *alphas, probability=0.8, label_smoothing=smoothing)
    random = torch.from_numpy(uniform(seed, [0] * size, range(size), mix.draws))
    images, target = torch.rand(size, 1, 9, 9), torch.randint(0, 3, (size,))
    mixed, soft = mix(images, target, random)
    torch.testing.assert_close(soft.sum(1), torch.ones(size))
    assert soft.min() >= 0
    assert mixed.min() >= 0
    assert mixed.max() <= 1
    again, _ = mix(images, target, torch.cat([random[:1], torch.rand(size - 1, mix.draws)]))
    assert torch.equal(mixed, again)  # only the first image's numbers count


def test_the_choices_are_distributed_as_promised() -> None:
    mix = Mix(2, 0.8, 1.0, probability=0.6, switch_probability=0.3)
    chosen = [mix.decide(one[None], (1000, 1000)) for one in numbers(6000)]
    mixed = [mixture for mixture in chosen if mixture.share != 1]
    assert len(mixed) / len(chosen) == pytest.approx(0.6, abs=0.02)
    shares = [mixture.share for mixture in mixed if mixture.box is None]
    assert 1 - len(shares) / len(mixed) == pytest.approx(0.3, abs=0.02)
    assert stats.kstest(shares, stats.beta(0.8, 0.8).cdf).pvalue > 1e-3
    for only, has_box in ((Mix(2, 0.8, 0.0), False), (Mix(2, 0.0, 1.0), True)):
        assert {only.decide(one[None], (64, 64)).box is not None for one in numbers(50)} == {has_box}


def test_findings_are_mixed_and_unknown_ones_stay_unknown() -> None:
    target = torch.tensor([[1.0, 0.0, float("nan")], [0.0, 0.0, 1.0]])
    mixed = Mix(3, label_smoothing=0.0)(torch.rand(2, 1, 4, 4), target, row(MIXUP))[1]
    share = float(stats.beta(0.8, 0.8).ppf(0.3))
    nan = float("nan")
    torch.testing.assert_close(mixed, torch.tensor([[share, 0.0, nan], [1 - share, 0.0, nan]]), equal_nan=True)
    unmixed = Mix(3, probability=0.0, label_smoothing=0.2)(torch.rand(2, 1, 4, 4), target, row(MIXUP))[1]
    torch.testing.assert_close(unmixed, torch.tensor([[0.9, 0.1, nan], [0.1, 0.1, 0.9]]), equal_nan=True)


def test_nothing_is_read_back_from_the_device() -> None:
    images, target = torch.empty(4, 1, 8, 8, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
    for kind in (MIXUP, CUTMIX):
        mixed, soft = Mix(3)(images, target, row(kind))
        assert mixed.device.type == soft.device.type == "meta"


def test_wrong_settings_get_a_sentence() -> None:
    for wrong, message in (
        ({"mixup_alpha": 0, "cutmix_alpha": 0}, "not both 0: leave Mix out"),
        ({"mixup_alpha": -1}, "mixup_alpha is -1"),
        ({"probability": 2}, "probability is 2"),
        ({"switch_probability": -1}, "switch_probability is -1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"num_classes": 0}, "num_classes is 0"),
    ):
        with pytest.raises(InputError, match=message):
            Mix(**{"num_classes": 3, **wrong})
