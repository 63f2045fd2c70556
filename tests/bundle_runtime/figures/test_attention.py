"""Attention maps against the plain formula softmax(Q K^T / sqrt(d))."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.figures.attention import attention_figure, attention_rollout, class_attention_map
from custom_components.errors import InputError
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.vit import ViT
from encoders import on_vit
from PIL import Image
from shown_panels import shown, words_stand_apart
from torch import Tensor


def tiny(class_token: bool = True, drop_path_rate: float = 0.0) -> ViT:
    torch.manual_seed(0)
    network = ViT(
        1, (16, 24), 8, 24, 32, 3, 2, spatial_dims=2, class_token=class_token, drop_path_rate=drop_path_rate
    )  # fmt: skip
    for parameter in network.parameters():  # far from the start, where all attention is nearly even
        torch.nn.init.normal_(parameter, std=0.4)
    return network.eval()


def plain(network: ViT, image: Tensor) -> list[Tensor]:
    """All attention matrices (B, heads, N, N), token by token and head by head, without the package's blocks."""
    x = network.patch_embedding(image)
    if network.class_token:
        x = torch.cat([network.cls_token.expand(len(x), -1, -1), x], dim=1)
    matrices = []
    for block in network.blocks:
        normed = torch.nn.functional.layer_norm(x, x.shape[-1:], block.norm1.weight, block.norm1.bias, 1e-6)
        qkv = normed @ block.attn.qkv.weight.T + block.attn.qkv.bias
        heads, mixed = [], []
        for head in range(2):
            q, k, v = (qkv[..., 24 * part + 12 * head : 24 * part + 12 * head + 12] for part in range(3))
            scores = torch.exp(torch.einsum("bid,bjd->bij", q, k) / 12**0.5)
            heads.append(scores / scores.sum(-1, keepdim=True))
            mixed.append(heads[-1] @ v)
        matrices.append(torch.stack(heads, dim=1))
        x = x + block.attn.out_proj(torch.cat(mixed, dim=-1))
        x = x + block.mlp(block.norm2(x))
    return matrices


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 1, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("class_token", [True, False])
@torch.no_grad()
def test_the_map_of_the_last_block_is_that_of_the_plain_formula(image: Tensor, class_token: bool) -> None:
    network = tiny(class_token)
    weights = plain(network, image)[-1].mean(dim=1)
    expected = weights[:, 0, 1:] if class_token else weights.mean(dim=1)
    found = class_attention_map(network, image)
    assert found.shape == (2, 2, 3)
    torch.testing.assert_close(found.flatten(1), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_head_counts_alike_after_min_max(image: Tensor) -> None:
    network = tiny()
    rows = plain(network, image)[-1][:, :, 0, 1:]
    low, high = rows.amin(-1, keepdim=True), rows.amax(-1, keepdim=True)
    expected = ((rows - low) / (high - low)).mean(dim=1)
    found = class_attention_map(network, image, head_fusion="minmax").flatten(1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_last_block_agrees_with_the_network_itself(image: Tensor) -> None:
    network = tiny()
    own = network(image, attention_block=2).class_attention
    assert own is not None
    torch.testing.assert_close(class_attention_map(network, image).flatten(1), own.mean(1)[:, 1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("class_token", [True, False])
@torch.no_grad()
def test_rollout_is_the_product_of_all_blocks(image: Tensor, class_token: bool) -> None:
    network = tiny(class_token)
    total = torch.eye(6 + class_token)
    for weights in plain(network, image):
        mixed = 0.5 * weights.mean(1) + 0.5 * torch.eye(6 + class_token)
        total = (mixed / mixed.sum(-1, keepdim=True)) @ total
    expected = total[:, 0, 1:] if class_token else total.mean(dim=1)
    found = attention_rollout(network, image)
    torch.testing.assert_close(found.flatten(1), expected, atol=1e-5, rtol=1e-4)


def test_mode_and_gradients_are_left_alone(image: Tensor) -> None:
    """With DropPath on, a map of a network in training mode would be random."""
    network = tiny(drop_path_rate=0.9).train()
    network.blocks[0].eval()
    before = torch.random.get_rng_state()
    first = class_attention_map(network, image)
    torch.testing.assert_close(class_attention_map(network, image), first, atol=0, rtol=0)
    assert not first.requires_grad
    assert not attention_rollout(network, image).requires_grad
    assert network.training
    assert network.blocks[1].training
    assert not network.blocks[0].training
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_classifier_holds_the_encoder(image: Tensor) -> None:
    sizes = {"hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 2, "spatial_dims": 2}
    network = on_vit(ViTClassifier, 1, (16, 24), 8, num_classes=3, **sizes).eval()
    torch.testing.assert_close(class_attention_map(network, image), class_attention_map(network.vit, image))


def test_settings_out_of_range(image: Tensor) -> None:
    with pytest.raises(InputError, match="head_fusion is 'sum'"):
        class_attention_map(tiny(), image, head_fusion="sum")
    with pytest.raises(InputError, match="no Vision Transformer"):
        class_attention_map(torch.nn.Linear(1, 1), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure(tmp_path: Path, channels: int) -> None:
    picture = np.random.default_rng(0).normal(size=(channels, 32, 48)).astype(np.float32)
    spot = torch.zeros(2, 3)
    spot[1, 2] = 1
    figure = attention_figure(picture, [spot, torch.zeros(2, 3)], tmp_path / "a.png", ["case", "last", "rollout"])
    panels = shown(figure)
    assert [panel.title for panel in panels] == ["case", "last", "rollout", "attention:\nmost"]  # and the colour bar
    assert [panel.note for panel in panels] == ["", "", "", "least"]
    assert panels[3].pixels()[0] == 1
    overlay = panels[1].pixels(1)
    assert overlay.shape == (32, 48)
    row, column = np.unravel_index(np.argmax(overlay), overlay.shape)
    assert row >= 24  # the patch at the bottom right, not transposed
    assert column >= 40
    with Image.open(tmp_path / "a.png") as png:
        assert png.width > png.height


def test_a_figure_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a title more than maps"):
        attention_figure(torch.zeros(1, 4, 4), [], tmp_path / "a.png", ["a", "b"])
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure_has_the_colours_of_the_picture(tmp_path: Path, channels: int) -> None:
    colours = torch.rand(channels, 32, 48, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:channels], torch.tensor([0.229, 0.224, 0.225])[:channels]
    image = (colours - mean[:, None, None]) / std[:, None, None]
    pixels = {"mean": mean.tolist(), "std": std.tolist()}
    figure = attention_figure(image, [torch.eye(2)], tmp_path / "a.png", ["case", "map"], pixels)
    for panel in shown(figure)[:2]:
        np.testing.assert_allclose(panel.pixels(), colours.expand(3, -1, -1).permute(1, 2, 0), atol=1e-6)


def test_patches_that_were_not_used_are_grey(tmp_path: Path) -> None:
    image = torch.zeros(3, 32, 48)
    image[0] = 1
    kept = torch.tensor([[1, 0, 0], [0, 0, 1]])
    titles = ["case", "map"]
    figure = attention_figure(image, [torch.ones(2, 3)], tmp_path / "a.png", titles, {"mean": 0, "std": 1}, kept)
    assert shown(figure)[1].title == "the 2 of 6 patches that were used"
    used = (shown(figure)[1].pixels() == [1, 0, 0]).all(axis=-1)
    assert used[:16, :16].all()
    assert used[16:, 32:].all()
    assert used.sum() == 2 * 16 * 16


def test_no_title_is_cut_off(tmp_path: Path) -> None:
    long = "a_name_without_a_space_" * 4
    titles = [f"{long}\nmelanoma 0.91, melanocytic naevus 0.05, basal cell carcinoma 0.02", "last", "x " * 60]
    figure = attention_figure(torch.rand(3, 32, 32), [torch.eye(2)] * 2, tmp_path / "a.png", titles)
    assert words_stand_apart(figure)
