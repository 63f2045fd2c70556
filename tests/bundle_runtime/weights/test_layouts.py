"""Which code base a state dict comes from."""

import math

import pytest
import torch
from bundle_runtime.weights.adapt import adapt
from bundle_runtime.weights.layouts import recognise
from custom_components.errors import InputError
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from encoders import DEPTH, HEADS, MLP, WIDTH, on_vit, our_vit, selfmedmae_state, shaken, timm_state
from monai.networks.nets import UNETR as MonaiUNETR
from monai.networks.nets import MaskedAutoEncoderViT
from monai.networks.nets import ViT as MonaiViT

SIZES = {"hidden_size": WIDTH, "mlp_dim": MLP, "num_layers": DEPTH, "num_heads": HEADS}


def monai_mae():
    decoder = {"decoder_hidden_size": 12, "decoder_mlp_dim": 12, "decoder_num_layers": 1, "decoder_num_heads": 2}
    return shaken(MaskedAutoEncoderViT(1, 8, 4, **SIZES, **decoder, qkv_bias=True))


def our_mae():
    return shaken(on_vit(MaskedAutoencoder, 1, 8, 4, **SIZES, decoder_size=6, decoder_layers=1, decoder_heads=1))


def split_bias(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state of timm's names as BEiT's code has it: biases of q and v by themselves, none for k."""
    state = dict(state)
    for i in range(DEPTH):
        q, _, v = state.pop(f"blocks.{i}.attn.qkv.bias").chunk(3)
        state[f"blocks.{i}.attn.q_bias"], state[f"blocks.{i}.attn.v_bias"] = q, v
    return state


def sdmae_state() -> dict[str, torch.Tensor]:
    """A pre-training file of SD-MAE's released code: no class token, no positions, decoder and projectors beside."""
    state = split_bias(timm_state((3, 4, 4), 9))
    del state["cls_token"], state["pos_embed"]
    return {f"encoder.{name}": tensor for name, tensor in state.items()} | {
        "decoder.blocks.0.norm1.weight": torch.ones(6),
        "decoder.blocks.0.attn.q_bias": torch.ones(6),
        "encoder_to_decoder.weight": torch.ones(6, WIDTH),
        "encoder_proj_head.last_layer.weight_v": torch.ones(8, 4),
        "mask_token": torch.ones(1, 1, 6),
    }


def layouts():
    return {
        "monai-vit": our_vit().state_dict(),
        "monai-unetr": MonaiUNETR(1, 2, 16, 4, WIDTH, MLP, HEADS).state_dict(),
        "masked-autoencoder": our_mae().state_dict(),
        "monai-mae": monai_mae().state_dict(),
        "timm": timm_state((3, 4, 4), 10),
        "mae-pytorch": sdmae_state(),
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


def test_separate_biases_of_query_and_value_are_joined():
    """They were listed as without a place, and zeros loaded instead: the output was off by 0.8 of its size."""
    state, vit = sdmae_state(), our_vit(in_channels=3, img_size=12, spatial_dims=2, class_token=False)
    tensors, report = adapt(state, vit)
    assert report.complete
    assert report.new == []
    vit.load_state_dict(tensors)
    x = torch.randn(2, 5, WIDTH)
    weight = state["encoder.blocks.1.attn.qkv.weight"]
    q, k, v = (x @ part.T for part in weight.chunk(3))
    q = q + state["encoder.blocks.1.attn.q_bias"]
    v = v + state["encoder.blocks.1.attn.v_bias"]
    torch.testing.assert_close(vit.blocks[1].attn.qkv(x), torch.cat([q, k, v], -1))


@pytest.mark.parametrize("size", [12, 20])
def test_positions_that_the_code_computes_are_those_of_the_networks_grid(size):
    vit = our_vit(in_channels=3, img_size=size, spatial_dims=2, class_token=False)
    tensors, report = adapt(sdmae_state(), vit)
    table, i = tensors["patch_embedding.position_embeddings"][0], 7
    assert table.shape == ((size // 4) ** 2, WIDTH)
    angles = [i / 10000 ** (2 * (j // 2) / WIDTH) for j in range(WIDTH)]
    expected = [math.sin(angle) if j % 2 == 0 else math.cos(angle) for j, angle in enumerate(angles)]
    torch.testing.assert_close(table[i], torch.tensor(expected))
    assert any("the file has no positions" in note for note in report.notes)


def test_positions_computed_for_another_grid_are_resampled():
    vit = our_vit(in_channels=3, img_size=20, spatial_dims=2, class_token=False)
    _, report = adapt(sdmae_state(), vit, source_grid=(3, 3))
    assert report.resampled["patch_embedding.position_embeddings"] == "3x3 to 5x5 positions"


def test_layer_scale_of_beit_is_folded_and_its_relative_positions_are_not_forgotten():
    state = {
        **split_bias(timm_state((3, 4, 4), 10)),
        "blocks.0.attn.relative_position_bias_table": torch.ones(4, HEADS),
    }
    state |= {f"blocks.{i}.gamma_{j}": torch.full((WIDTH,), 0.5) for i in range(DEPTH) for j in (1, 2)}
    tensors, report = adapt(state, our_vit(in_channels=3, img_size=12, spatial_dims=2))
    assert torch.equal(tensors["blocks.0.attn.out_proj.weight"], 0.5 * state["blocks.0.attn.proj.weight"])
    assert torch.equal(tensors["blocks.2.mlp.linear2.bias"], 0.5 * state["blocks.2.mlp.fc2.bias"])
    assert report.unplaced == ["blocks.0.attn.relative_position_bias_table"]
