import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_components.networks.patches import gather_rows, patch_statistics, patchify, unpatchify

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


def test_patch_statistics_are_of_the_population_and_safe_on_air() -> None:
    patches = torch.randn(2, 3, 50)
    mean, std = patch_statistics(patches)
    assert torch.allclose(mean, patches.mean(-1, keepdim=True), atol=1e-6)
    assert torch.allclose(std**2, patches.var(-1, correction=0, keepdim=True) + 1e-6, atol=1e-5)
    mean, std = patch_statistics(torch.full((1, 1, 8), 0.3))
    assert ((0.3 - mean) / std).abs().max() < 1e-3
