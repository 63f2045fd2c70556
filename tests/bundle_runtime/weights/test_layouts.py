"""Which code base a state dict comes from."""

import pytest
import torch
from encoders import DEPTH, HEADS, MLP, WIDTH, on_vit, our_vit, selfmedmae_state, shaken, timm_state
from monai.networks.nets import UNETR as MonaiUNETR
from monai.networks.nets import MaskedAutoEncoderViT
from monai.networks.nets import ViT as MonaiViT

from bundle_runtime.weights.adapt import adapt
from bundle_runtime.weights.layouts import recognise
from custom_components.errors import InputError
from custom_components.networks.masked_autoencoder import MaskedAutoencoder

SIZES = {"hidden_size": WIDTH, "mlp_dim": MLP, "num_layers": DEPTH, "num_heads": HEADS}


def monai_mae():
    decoder = {"decoder_hidden_size": 12, "decoder_mlp_dim": 12, "decoder_num_layers": 1, "decoder_num_heads": 2}
    return shaken(MaskedAutoEncoderViT(1, 8, 4, **SIZES, **decoder, qkv_bias=True))


def our_mae():
    return shaken(on_vit(MaskedAutoencoder, 1, 8, 4, **SIZES, decoder_size=6, decoder_layers=1, decoder_heads=1))


def layouts():
    return {
        "monai-vit": our_vit().state_dict(),
        "monai-unetr": MonaiUNETR(1, 2, 16, 4, WIDTH, MLP, HEADS).state_dict(),
        "masked-autoencoder": our_mae().state_dict(),
        "monai-mae": monai_mae().state_dict(),
        "timm": timm_state((3, 4, 4), 10),
        "selfmedmae": selfmedmae_state(),
    }


@pytest.mark.parametrize("layout", list(layouts()))
def test_layout_is_recognised_also_inside_wrappers(layout):
    state = layouts()[layout]
    assert recognise(state).layout == layout
    wrapped = recognise({f"module._orig_mod.{name}": tensor for name, tensor in state.items()})
    assert wrapped.layout == layout
    assert set(wrapped.encoder) == set(recognise(state).encoder)


def test_final_norm_of_monai_mae_is_found():
    """Upstream trap: MONAI's MaskedAutoEncoderViT keeps the final norm at `blocks.{L}`; a transfer by name loses it."""
    state, vit = monai_mae().state_dict(), our_vit()
    tensors, report = adapt(state, vit)
    assert report.complete
    assert torch.equal(tensors["norm.weight"], state[f"blocks.{DEPTH}.weight"])
    assert report.renamed[f"blocks.{DEPTH}.bias"] == "norm.bias"
    assert "mask_tokens" in report.unused
    assert "blocks.0.norm_cross_attn.weight" in report.unused


def test_our_masked_autoencoder_loads_completely():
    mae = our_mae()
    tensors, report = adapt(mae.state_dict(), our_vit())
    assert report.complete
    assert all(torch.equal(tensor, mae.encoder.state_dict()[name]) for name, tensor in tensors.items())


def test_cross_attention_is_dropped_and_listed():
    state = {**MonaiViT(1, 8, 4, **SIZES).state_dict(), "blocks.0.cross_attn.to_q.weight": torch.ones(1)}
    found = recognise(state)
    assert "blocks.0.cross_attn.to_q.weight" in found.unused
    assert not found.unplaced
    assert any("7 cross-attention tensors" in note for note in found.notes)


def test_perceptron_patch_embedding_of_monai_gives_the_same_embedding():
    stock = shaken(MonaiViT(2, 8, 4, **SIZES, proj_type="perceptron", qkv_bias=True))
    vit = our_vit(in_channels=2, class_token=False)
    tensors, report = adapt(stock.state_dict(), vit)
    assert report.complete
    vit.load_state_dict(tensors)
    image = torch.randn(1, 2, 8, 8, 8)
    torch.testing.assert_close(vit.patch_embedding(image), stock.patch_embedding(image), atol=1e-5, rtol=1e-5)


def test_norm_of_averaged_tokens_is_not_taken_for_the_final_norm():
    state = timm_state((3, 4, 4), 10)
    state["fc_norm.weight"], state["fc_norm.bias"] = state.pop("norm.weight"), state.pop("norm.bias")
    _, report = adapt(state, our_vit(in_channels=3, img_size=12, spatial_dims=2))
    assert report.new == ["norm.weight", "norm.bias"]
    assert any("fc_norm" in note for note in report.notes)


def test_encoder_tensors_without_a_place_make_the_load_incomplete():
    state = {
        **timm_state((3, 4, 4), 10),
        "blocks.0.attn.q_norm.weight": torch.ones(4),
        "reg_token": torch.ones(1, 4, 12),
    }
    _, report = adapt(state, our_vit(in_channels=3, img_size=12, spatial_dims=2))
    assert report.encoder_loaded == report.encoder_total
    assert report.unplaced == ["blocks.0.attn.q_norm.weight", "reg_token"]
    assert not report.complete


def test_foreign_file_is_refused_by_name():
    with pytest.raises(InputError, match=r"resnet\.pt: no Vision Transformer encoder found.*begin conv1\.weight"):
        recognise({"conv1.weight": torch.ones(1)}, "resnet.pt")


def test_unknown_attention_names_are_refused():
    with pytest.raises(InputError, match=r"x\.pt: layout not recognised: blocks\.0 has neither attn\.out_proj"):
        recognise({"blocks.0.norm1.weight": torch.ones(1)}, "x.pt")


def test_two_encoders_are_refused():
    state = {f"{side}.{name}": t for side in ("student", "teacher") for name, t in our_vit().state_dict().items()}
    with pytest.raises(InputError, match=r"several encoders \(student\., teacher\.\)"):
        recognise(state)
