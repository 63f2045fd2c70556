import math

import pytest
import torch
from custom_components.errors import InputError
from custom_components.networks.patches import (
    gather_rows,
    patch_statistics,
    patchify,
    sincos_table,
    sinusoid_table,
    unpatchify,
)
from custom_components.networks.vit import ViT
from hypothesis import given, settings
from hypothesis import strategies as st

shapes = st.integers(2, 3).flatmap(
    lambda axes: st.tuples(
        st.integers(1, 2),
        st.integers(1, 3),
        st.lists(st.integers(1, 3), min_size=axes, max_size=axes),
        st.lists(st.integers(1, 4), min_size=axes, max_size=axes),
    )
)


@settings(deadline=None)
@given(shapes)
def test_patchify_and_back(shape: tuple[int, int, list[int], list[int]]) -> None:
    batch, channels, grid, patch = shape
    size = [g * p for g, p in zip(grid, patch, strict=True)]
    image = torch.randn(batch, channels, *size)
    patches = patchify(image, patch)
    assert patches.shape == (batch, torch.tensor(grid).prod(), channels * torch.tensor(patch).prod())
    assert torch.equal(unpatchify(patches, patch, grid), image)


def test_order_is_that_of_a_convolution_kernel() -> None:
    """SelfMedMAE's 2D code cut patches channel-first but embedded them channel-last, so its weights meant
    nothing to the convolution that fine-tuning used: correlation 0.01."""
    for axes, conv in ((2, torch.nn.functional.conv2d), (3, torch.nn.functional.conv3d)):
        patch = [4, 2, 3][:axes]
        image = torch.randn(2, 3, *[2 * p for p in patch])
        kernel = torch.randn(5, 3, *patch)
        by_conv = conv(image, kernel, stride=patch).flatten(2).transpose(1, 2)
        by_matrix = patchify(image, patch) @ kernel.flatten(1).T
        assert torch.allclose(by_conv, by_matrix, atol=1e-4)


def test_gather_rows() -> None:
    rows = torch.arange(24).reshape(2, 4, 3)
    picked = gather_rows(rows, torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(picked, torch.stack([rows[0, [3, 0]], rows[1, [1, 1]]]))


@pytest.mark.parametrize(("variance", "correction"), [("population", 0), ("unbiased", 1)])
def test_patch_statistics_are_of_the_variance_named_and_safe_on_air(variance: str, correction: int) -> None:
    patches = torch.randn(2, 3, 50)
    mean, std = patch_statistics(patches, variance)
    assert torch.allclose(mean, patches.mean(-1, keepdim=True), atol=1e-6)
    assert torch.allclose(std**2, patches.var(-1, correction=correction, keepdim=True) + 1e-6, atol=1e-5)
    mean, std = patch_statistics(torch.full((1, 1, 8), 0.3), variance)
    assert ((0.3 - mean) / std).abs().max() < 1e-3


def test_known_row() -> None:
    """SelfMedMAE's table: token 51 of a 6^3 grid is (1, 2, 3)."""
    row = sincos_table([6, 6, 6], 768)[0, 51, [0, 128, 256, 384, 512, 640]]
    assert torch.allclose(row, torch.tensor([0.8415, 0.5403, 0.9093, -0.4161, 0.1411, -0.9900]), atol=1e-4)


def test_any_grid_and_rows_tell_places_apart() -> None:
    """SelfMedMAE's 2D table holds for square grids only."""
    table = sincos_table([3, 5], 64)[0]
    assert table.shape == (15, 64)
    distance = torch.cdist(table, table)
    assert distance.add(torch.eye(15)).min() > 0.1
    # First half encodes the row: tokens of one row share it.
    assert torch.equal(table[0, :32], table[4, :32])
    assert not torch.equal(table[0, :32], table[5, :32])


def test_widths_that_do_not_divide_are_padded() -> None:
    """MONAI refuses 1024 (ViT-L) in 3D."""
    table = sincos_table([2, 2, 2], 1024)
    assert table.shape == (1, 8, 1024)
    assert table[..., 1020:].abs().max() == 0


def test_too_narrow() -> None:
    with pytest.raises(ValueError, match="hidden_size 4"):
        sincos_table([2, 2, 2], 4)


def test_sinusoid_table_is_that_of_the_transformer() -> None:
    """arXiv 1706.03762, section 3.5, entry by entry; the released code of SD-MAE counts patches row-major."""
    table = sinusoid_table([3, 4], 6)
    assert table.shape == (1, 12, 6)
    for place in range(12):
        for column in range(6):
            angle = place / 10000 ** (2 * (column // 2) / 6)
            wave = math.cos(angle) if column % 2 else math.sin(angle)
            assert table[0, place, column].item() == pytest.approx(wave, abs=1e-6)


def test_sinusoid_positions_depend_on_the_width_of_the_grid_alone_as_a_choice() -> None:
    """SD-MAE's released table: along the rows only, so the patch below has other positions in a wider image."""
    narrow, wide = sinusoid_table([4, 4], 8)[0], sinusoid_table([4, 8], 8)[0]
    assert not torch.allclose(narrow[4], wide[8])
    ours = [sincos_table([4, width], 8)[0] for width in (4, 8)]
    assert torch.equal(ours[0][4], ours[1][8])
    vit = ViT(1, 16, 8, 12, 24, 1, 2, spatial_dims=2, pos_embed_type="sinusoid_1d")
    assert torch.equal(vit.patch_embedding.position_embeddings, sinusoid_table([2, 2], 12))
    assert not vit.patch_embedding.position_embeddings.requires_grad
    with pytest.raises(InputError, match="sinusoid_1d"):
        ViT(1, 16, 8, 12, 24, 1, 2, spatial_dims=2, pos_embed_type="fourier")
