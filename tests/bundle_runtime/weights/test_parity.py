"""Equal outputs before and after weights change houses: MONAI, timm / Facebook-MAE and SelfMedMAE."""

import pytest
import torch
from bundle_runtime.weights.adapt import adapt
from encoders import DEPTH, HEADS, MLP, WIDTH, our_vit, selfmedmae_state, set_eps, shaken, timm_forward, timm_state
from mae_tools.weights.export import to_monai_vit_state
from monai.networks.nets import UNETR as MonaiUNETR
from monai.networks.nets import ViT as MonaiViT

TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}


def monai_vit() -> MonaiViT:
    sizes = {"hidden_size": WIDTH, "mlp_dim": MLP, "num_layers": DEPTH, "num_heads": HEADS}
    net = MonaiViT(1, 8, 4, **sizes, classification=True, post_activation="x", qkv_bias=True)
    return shaken(net)


def monai_unetr() -> MonaiUNETR:
    net = MonaiUNETR(1, 2, 32, feature_size=4, hidden_size=WIDTH, mlp_dim=MLP, num_heads=HEADS, qkv_bias=True)
    return shaken(net)


def unetr_like_vit(**changes):
    return our_vit(img_size=32, patch_size=16, num_layers=12, class_token=False, **changes)


def load(vit, state, **options):
    tensors, report = adapt(state, vit, **options)
    assert report.complete
    vit.load_state_dict(tensors)
    return report


def test_monai_vit_with_class_token_gives_the_same_hidden_states():
    stock, vit = monai_vit(), our_vit(norm_eps=1e-5)
    report = load(vit, stock.state_dict())
    image = torch.randn(2, 1, 8, 8, 8)
    ours = vit(image, hidden_states=list(range(DEPTH)))
    logits, states = stock(image)
    for mine, theirs in zip(ours.hidden_states, states, strict=True):
        torch.testing.assert_close(mine, theirs, **TOLERANCE)
    torch.testing.assert_close(stock.classification_head(ours.tokens[:, 0]), logits, **TOLERANCE)
    assert not any("eps" in note for note in report.notes)


def test_monai_unetr_without_class_token_gives_the_same_tokens():
    stock, vit = monai_unetr(), unetr_like_vit(norm_eps=1e-5)
    report = load(vit, stock.state_dict())
    assert report.layout == "monai-unetr"
    image = torch.randn(1, 1, 32, 32, 32)
    torch.testing.assert_close(vit(image).tokens, stock.vit(image)[0], **TOLERANCE)


def test_our_encoder_gives_the_same_hidden_states_in_stock_monai_vit():
    vit, stock = our_vit(), monai_vit()
    result = stock.load_state_dict(to_monai_vit_state(vit.state_dict()), strict=False)
    assert result.missing_keys == ["classification_head.weight", "classification_head.bias"]
    assert not result.unexpected_keys
    set_eps(stock, 1e-6)
    image = torch.randn(1, 1, 8, 8, 8)
    ours = vit(image, hidden_states=[0, DEPTH - 1]).hidden_states
    theirs = stock(image)[1]
    torch.testing.assert_close(theirs[0], ours[0], **TOLERANCE)
    torch.testing.assert_close(theirs[-1], ours[1], **TOLERANCE)


def test_our_encoder_gives_the_same_tokens_in_stock_monai_unetr():
    vit, stock = unetr_like_vit(), monai_unetr()
    stock.vit.load_state_dict(to_monai_vit_state(vit.state_dict(), class_token=False), strict=True)
    set_eps(stock, 1e-6)
    image = torch.randn(1, 1, 32, 32, 32)
    torch.testing.assert_close(stock.vit(image)[0], vit(image).tokens, **TOLERANCE)


def test_eps_difference_is_reported():
    report = load(our_vit(norm_eps=1e-6), monai_vit().state_dict())
    assert any("eps 1e-05 in the file, 1e-06 in the network" in note for note in report.notes)


def test_weights_enter_stock_monai_through_adapt():
    """A network of MONAI's is as good a target as ours; its unused norms and its head are not the encoder's."""
    stock = monai_vit()
    tensors, report = adapt(our_vit().state_dict(), stock)
    assert report.complete
    stock.load_state_dict(tensors, strict=False)
    set_eps(stock, 1e-6)
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(stock(image)[1][-1], our_vit()(image, hidden_states=[2]).hidden_states[0], **TOLERANCE)


def test_facebook_mae_layout_matches_a_handwritten_forward():
    state = timm_state((3, 4, 4), positions=1 + 9)
    full = {**state, "mask_token": torch.zeros(1, 1, 6), "decoder_blocks.0.norm1.weight": torch.ones(6)}
    vit = our_vit(in_channels=3, img_size=12, spatial_dims=2)
    report = load(vit, full)
    image = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(vit(image).tokens, timm_forward(state, image), **TOLERANCE)
    assert report.layout == "timm"
    assert report.unused == ["mask_token", "decoder_blocks.0.norm1.weight"]
    assert any("class slot" in note and "exactly equivalent" in note for note in report.notes)


def test_timm_layer_scale_and_missing_qkv_bias_are_equivalent():
    state = timm_state((3, 4, 4), positions=1 + 9)
    image = torch.randn(1, 3, 12, 12)
    scaled, plain = dict(state), dict(state)
    for i in range(DEPTH):
        for branch, last in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            gamma = torch.randn(WIDTH)
            scaled[f"blocks.{i}.{branch}.gamma"] = gamma
            plain[f"blocks.{i}.{last}.weight"] = gamma[:, None] * state[f"blocks.{i}.{last}.weight"]
            plain[f"blocks.{i}.{last}.bias"] = gamma * state[f"blocks.{i}.{last}.bias"]
        plain[f"blocks.{i}.attn.qkv.bias"] = torch.zeros(3 * WIDTH)
        del scaled[f"blocks.{i}.attn.qkv.bias"]
    vit = our_vit(in_channels=3, img_size=12, spatial_dims=2)
    report = load(vit, scaled)
    torch.testing.assert_close(vit(image).tokens, timm_forward(plain, image), **TOLERANCE)
    assert any("LayerScale" in note for note in report.notes)
    assert any("no qkv bias" in note for note in report.notes)


@pytest.mark.parametrize("linear", [False, True])
def test_selfmedmae_layout_matches_a_handwritten_forward(linear):
    """A defect of SelfMedMAE's code: patch values in another order for pre-training than for fine-tuning.

    A linear embedding of channel-last patch vectors must become the convolution that gives the same tokens.
    """
    state = selfmedmae_state()
    vit = our_vit(in_channels=2)
    report = load(vit, selfmedmae_state(linear))
    plain = {name.removeprefix("encoder."): tensor for name, tensor in state.items() if name.startswith("encoder.")}
    plain["pos_embed"] = torch.cat([torch.zeros(1, 1, WIDTH), state["encoder_pos_embed"]], dim=1)
    image = torch.randn(2, 2, 8, 8, 8)
    torch.testing.assert_close(vit(image).tokens, timm_forward(plain, image), **TOLERANCE)
    assert report.layout == "selfmedmae"
    assert len(report.unused) == 4


def test_selfmedmae_positions_are_loaded():
    """A defect of SelfMedMAE's code: the encoder's table was never loaded, because its name lacks the dot.

    The table is carried as stored: its axes are in another order than ours or MONAI's, so it must not be rebuilt.
    """
    state, vit = selfmedmae_state(), our_vit(in_channels=2)
    report = load(vit, state)
    assert torch.equal(vit.patch_embedding.position_embeddings, state["encoder_pos_embed"])
    assert report.renamed["encoder_pos_embed"] == "patch_embedding.position_embeddings"
