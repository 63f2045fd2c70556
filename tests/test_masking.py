import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_components.masking import hidden_count, random_masking, shared_rand


@pytest.mark.parametrize(
    ("patches", "ratio", "hidden"),
    [(216, 0.125, 27), (512, 0.125, 64), (196, 0.75, 147), (196, 0.6, 117), (216, 0.25, 54), (216, 0.875, 189)],
)
def test_counts_of_the_papers(patches: int, ratio: float, hidden: int) -> None:
    assert hidden_count(patches, ratio) == hidden


def test_monai_masked_autoencoder_vit_rounding_defect() -> None:
    """MONAI 1.6.1 networks/nets/masked_autoencoder_vit.py:181-187 keeps 0 of 10 patches at 0.9 and 3 of 20 at 0.8."""
    assert hidden_count(10, 0.9) == 9
    assert hidden_count(20, 0.8) == 16
    assert hidden_count(100, 0.29) == 29  # 100 * 0.29 is 28.999... in floating point


@given(st.integers(2, 700), st.floats(0.001, 0.999))
def test_at_least_one_hidden_and_one_visible(patches: int, ratio: float) -> None:
    assert 1 <= hidden_count(patches, ratio) <= patches - 1


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
def test_ratio_out_of_range_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="mask_ratio"):
        hidden_count(10, ratio)


@given(st.integers(1, 5), st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_every_patch_is_visible_or_hidden_exactly_once(batch: int, patches: int, ratio: float, seed: int) -> None:
    noise = torch.rand(batch, patches, generator=torch.Generator().manual_seed(seed))
    visible, hidden = random_masking(noise, ratio)
    assert hidden.shape == (batch, hidden_count(patches, ratio))
    everything = torch.cat([visible, hidden], dim=1).sort(dim=1).values
    assert torch.equal(everything, torch.arange(patches).expand(batch, -1))


def test_masks_are_uniform_and_differ_between_samples() -> None:
    _, hidden = random_masking(torch.rand(4000, 8, generator=torch.Generator().manual_seed(0)), 0.25)
    frequency = torch.bincount(hidden.flatten(), minlength=8) / 4000
    assert torch.allclose(frequency, torch.full((8,), 0.25), atol=0.03)
    assert len({tuple(sorted(row.tolist())) for row in hidden[:50]}) > 10


def test_masks_do_not_come_from_the_cpu_generator_of_another_device() -> None:
    """MONAI draws masks with the CPU generator whatever the device; ours follow the device that is asked for."""
    assert shared_rand(2, 3, torch.device("meta")).device.type == "meta"
