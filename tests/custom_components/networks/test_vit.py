import math

import pytest
import torch
from custom_components.errors import InputError
from custom_components.networks.vit import (
    DropPath,
    ViT,
    gather_rows,
    patch_statistics,
    patchify,
    sincos_table,
    sinusoid_table,
    unpatchify,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets.vit import ViT as MonaiViT

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


def tiny(**kwargs: object) -> ViT:
    options = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 3, "num_heads": 2, **kwargs}
    return ViT(1, options.pop("img_size", 16), options.pop("patch_size", 8), **options).eval()


@pytest.mark.parametrize(("axes", "size", "patch"), [(2, (16, 24), (8, 4)), (3, (16, 8, 24), (8, 4, 8))])
@pytest.mark.parametrize("class_token", [True, False])
def test_shapes_in_2d_and_3d_on_any_grid(axes: int, size: tuple, patch: tuple, class_token: bool) -> None:
    network = tiny(img_size=size, patch_size=patch, spatial_dims=axes, class_token=class_token)
    count = torch.tensor(network.grid).prod().item()
    output = network(torch.randn(2, 1, *size), hidden_states=[0, 2])
    assert output.tokens.shape == (2, count + class_token, 24)
    assert len(output.hidden_states) == 2
    assert torch.allclose(network.norm(output.hidden_states[1]), output.tokens, atol=1e-5)


@pytest.mark.parametrize("class_token", [True, False])
def test_names_layouts_and_outputs_are_those_of_monai_vit(class_token: bool) -> None:
    network = tiny(class_token=class_token, norm_eps=1e-5)
    peer = MonaiViT(1, 16, 8, 24, 48, 3, 2, classification=class_token, post_activation="", qkv_bias=True).eval()
    missing, unexpected = peer.load_state_dict(network.state_dict(), strict=False)
    assert not unexpected
    assert all("norm_cross_attn" in name or "classification_head" in name for name in missing)
    image = torch.randn(2, 1, 16, 16, 16)
    hidden = network(image, hidden_states=[0, 1, 2]).hidden_states
    for ours, theirs in zip(hidden, peer(image)[1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(8)), st.integers(1, 8))
def test_encoding_all_patches_as_a_subset_is_the_same(order: list[int], count: int) -> None:
    """Visible tokens follow their indices: attention does not care about the order."""
    network = tiny()
    image = torch.randn(1, 1, 16, 16, 16)
    full = network(image).tokens
    keep = torch.tensor([order])
    assert torch.allclose(network(image, keep=keep).tokens[:, 1:], full[:, 1:][:, order], atol=1e-5)
    assert network(image, keep=keep[:, :count]).tokens.shape[1] == count + 1


def test_hidden_patches_do_not_reach_the_encoder() -> None:
    network = tiny()
    image = torch.randn(1, 1, 16, 16, 16)
    changed = torch.randn_like(image)
    changed[:, :, :8, :8, :8] = image[:, :, :8, :8, :8]  # patch 0
    changed[:, :, :8, 8:, 8:] = image[:, :, :8, 8:, 8:]  # patch 3
    keep = torch.tensor([[0, 3]])
    assert torch.allclose(network(image, keep=keep).tokens, network(changed, keep=keep).tokens, atol=1e-6)
    assert not torch.allclose(network(image).tokens, network(changed).tokens, atol=1e-2)


def test_class_attention_is_that_of_the_plain_formula() -> None:
    network = tiny()
    image = torch.randn(2, 1, 16, 16, 16)
    output = network(image, hidden_states=[0], attention_block=1)
    assert output.class_attention is not None
    assert output.class_attention.shape == (2, 2, 9)
    block = network.blocks[1]
    q, k, _ = block.attn.qkv(block.norm1(output.hidden_states[0])).reshape(2, 9, 3, 2, 12).permute(2, 0, 3, 1, 4)
    expected = (q @ k.transpose(-2, -1) / 12**0.5).softmax(-1)[:, :, 0]
    assert torch.allclose(output.class_attention, expected, atol=1e-5)
    assert torch.equal(network(image).tokens, output.tokens)


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    layer = DropPath(0.3)
    x = torch.ones(4000, 2, 3)
    assert torch.equal(layer.eval()(x), x)
    dropped = layer.train()(x)
    per_sample = dropped.flatten(1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)


def test_drop_path_rises_to_its_rate() -> None:
    rates = [block.drop_path.rate for block in tiny(num_layers=12, drop_path_rate=0.1).blocks]
    assert rates[0] == 0.0
    assert rates[1] == pytest.approx(0.00909, abs=1e-5)
    assert rates[-1] == pytest.approx(0.1)


def test_checkpointing_changes_memory_and_nothing_else() -> None:
    image = torch.randn(2, 1, 16, 16, 16)
    gradients = []
    for use in (False, True):
        torch.manual_seed(0)
        network = tiny(use_checkpoint=use).train()
        network(image).tokens.square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_every_trainable_parameter_gets_a_gradient() -> None:
    """MONAI's blocks register `norm_cross_attn`, which never gets one and breaks DDP (MONAI#8845)."""
    network = tiny().train()
    network(torch.randn(1, 1, 16, 16, 16)).tokens.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_position_types() -> None:
    assert not tiny(pos_embed_type="sincos").patch_embedding.position_embeddings.requires_grad
    start = tiny(pos_embed_type="sincos_learnable").patch_embedding.position_embeddings
    assert start.requires_grad
    assert torch.equal(start, tiny(pos_embed_type="sincos").patch_embedding.position_embeddings)
    assert not torch.equal(start, tiny(pos_embed_type="learnable").patch_embedding.position_embeddings)
    with pytest.raises(ValueError, match="fourier"):
        tiny(pos_embed_type="fourier")


def test_bf16_autocast_forward_and_backward() -> None:
    """MONAI's masked autoencoder crashes under autocast; the encoder must not, also with a subset of patches."""
    network = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        tokens = network(torch.randn(2, 1, 16, 16, 16), keep=torch.tensor([[1, 2], [3, 4]])).tokens
    tokens.float().mean().backward()
    assert tokens.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"img_size": 20}, "no multiple of 8, 16 or 24 would be"), ({"num_heads": 5}, "not divisible by num_heads")],
)
def test_sizes_that_do_not_fit(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_wrong_image_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"\[16, 16, 16\].*\[8, 16, 16\]"):
        tiny()(torch.randn(1, 1, 8, 16, 16))


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_last_rows_are_those_of_the_whole_block(rows: int) -> None:
    block = tiny().blocks[1]
    tokens = torch.randn(2, 9, 24)
    assert torch.allclose(block.last_rows(tokens, rows), block(tokens)[:, -rows:], atol=1e-5)
