"""Properties of channel folding, inflation and position resampling."""

import pytest
import torch
import torch.nn.functional as F
from bundle_runtime.weights.resample import (
    fold_channels,
    inflate_kernel,
    inflate_positions,
    linear_to_kernel,
    resample_positions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

few = settings(max_examples=20, deadline=None)


@few
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_equal_channels_give_the_same_response_after_folding(before, after, seed):
    generator = torch.Generator().manual_seed(seed)
    kernel, grey = torch.randn(4, before, 2, 2, generator=generator), torch.randn(1, 1, 6, 6, generator=generator)
    expected = F.conv2d(grey.expand(-1, before, -1, -1), kernel, stride=2)
    found = F.conv2d(grey.expand(-1, after, -1, -1), fold_channels(kernel, after), stride=2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_rgb_to_grey_is_the_sum():
    kernel = torch.randn(4, 3, 2, 2)
    torch.testing.assert_close(fold_channels(kernel, 1), kernel.sum(1, keepdim=True))


@few
@given(st.integers(1, 4), st.integers(0, 99))
def test_volume_constant_along_depth_gives_the_response_of_its_slice(depth, seed):
    generator = torch.Generator().manual_seed(seed)
    kernel, image = torch.randn(4, 2, 2, 2, generator=generator), torch.randn(1, 2, 4, 4, generator=generator)
    volume = image[..., None].expand(-1, -1, -1, -1, 2 * depth)
    found = F.conv3d(volume, inflate_kernel(kernel, depth), stride=(2, 2, depth))
    expected = F.conv2d(image, kernel, stride=2)[..., None].expand_as(found)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("patch", [(2, 3), (2, 3, 4)])
def test_linear_embedding_of_channel_last_patches_becomes_the_convolution(patch):
    weight, image = torch.randn(5, 2 * torch.tensor(patch).prod()), torch.randn(1, 2, *patch)
    conv = F.conv2d if len(patch) == 2 else F.conv3d
    found = conv(image, linear_to_kernel(weight, patch)).flatten()
    torch.testing.assert_close(found, weight @ image[0].movedim(0, -1).flatten(), atol=1e-5, rtol=1e-5)


@few
@given(st.lists(st.integers(1, 4), min_size=2, max_size=3))
def test_same_grid_is_the_identity(grid):
    table = torch.randn(1, int(torch.tensor(grid).prod()), 6)
    assert resample_positions(table, grid, grid) is table


@few
@given(st.lists(st.integers(1, 5), min_size=3, max_size=3), st.lists(st.integers(1, 5), min_size=3, max_size=3))
def test_constant_table_stays_constant(source, target):
    row = torch.randn(1, 1, 6)
    table = row.expand(1, int(torch.tensor(source).prod()), 6)
    found = resample_positions(table, source, target)
    torch.testing.assert_close(found, row.expand_as(found))


def test_axes_are_not_mixed_up():
    ramp = torch.arange(4.0).view(4, 1, 1).expand(4, 2, 3).reshape(1, 24, 1)
    found = resample_positions(ramp, (4, 2, 3), (8, 2, 3)).view(8, 2, 3)
    assert (found[1:] > found[:-1])[1:-1].all()
    assert (found == found[:, :1, :1]).all()


@few
@given(st.integers(2, 8), st.integers(0, 99))
def test_inflated_positions_tell_depth_apart_and_keep_the_table_as_their_mean(depth, seed):
    """Repeated rows left the encoder blind to depth: a volume and its reversal gave the same tokens, reversed."""
    table = 0.2 * torch.randn(1, 6, 24, generator=torch.Generator().manual_seed(seed))
    found = inflate_positions(table, (2, 3), depth).view(6, depth, 24)
    torch.testing.assert_close(found.mean(1), table[0])
    assert torch.cdist(found[0], found[0]).add(torch.eye(depth)).min() > 0.01
    # along depth as much variance as along one of the two axes of the table
    torch.testing.assert_close(found[2].var(0, correction=0).mean(), table.var(1, correction=0).mean() / 2)


def test_inflated_positions_of_one_slice_are_the_table():
    table = torch.randn(1, 6, 24)
    assert torch.equal(inflate_positions(table, (2, 3), 1), table)
    with pytest.raises(ValueError, match="6 positions"):
        inflate_positions(table, (2, 2), 5)
