"""SETR-PUP: sizes, which heads exist and are trained, strict loading of encoders."""

from pathlib import Path

import pytest
import torch
from bundle_runtime.weights.load import load_encoder
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from custom_components.losses.dense import DenseLoss
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from custom_components.networks.setr import SETRPUP, ProgressiveUpsampling
from custom_components.networks.vit import ViT
from encoders import on_vit
from torch import nn

ENCODER = {"hidden_size": 16, "mlp_dim": 32, "num_layers": 4, "num_heads": 2, "spatial_dims": 2}


def setr(**changes: object) -> SETRPUP:
    settings = {"img_size": 32, "patch_size": 8, "num_classes": 2, "head_channels": 8, **ENCODER, **changes}
    return on_vit(SETRPUP, 3, **settings)


@pytest.mark.parametrize(("patch_size", "stages"), [(4, 2), (8, 3), (16, 4)])
def test_every_doubling_is_a_stage(patch_size: int, stages: int) -> None:
    network = setr(patch_size=patch_size).eval()
    assert [len(head.stages) for head in network.heads] == [stages]
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 2, 32, 32)


@pytest.mark.parametrize("aligned", [False, True])
def test_corners_are_aligned_in_every_doubling_on_request(aligned: bool) -> None:
    """The released code doubles with aligned corners."""
    head = ProgressiveUpsampling(1, 1, 1, 2, 0.0, aligned)
    head.stages, head.out = nn.ModuleList([nn.Identity()] * 2), nn.Identity()
    doubled = head(torch.arange(3.0).expand(1, 1, 3, 3))[0, 0, 0]
    by_hand = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=aligned)
    assert torch.equal(doubled, by_hand(by_hand(torch.arange(3.0).expand(1, 1, 3, 3)))[0, 0, 0])


def test_channels_are_those_of_the_paper() -> None:
    head = ProgressiveUpsampling(768, 1, 256, 4, 0.0)
    assert [tuple(stage[0].weight.shape) for stage in head.stages] == [(256, 768, 3, 3)] + [(256, 256, 3, 3)] * 3
    assert tuple(head.out[1].weight.shape) == (1, 256, 3, 3)


@pytest.mark.parametrize("auxiliary_heads", [False, True])
@pytest.mark.parametrize("final_norm", [False, True])
def test_no_head_is_left_untrained(auxiliary_heads: bool, final_norm: bool) -> None:
    """Three of the four heads of the released code never get a gradient."""
    network = setr(auxiliary_heads=auxiliary_heads, final_norm=final_norm)
    output = network(torch.randn(2, 3, 32, 32))
    assert len(network.heads) == len(output.auxiliary) + 1 == (4 if auxiliary_heads else 1)
    DenseLoss(0.5, 1.0)(output, torch.randint(2, (2, 1, 32, 32))).backward()
    lacking = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert lacking == []


def test_auxiliary_heads_do_not_change_the_result() -> None:
    network = setr(auxiliary_heads=True).eval()
    image = torch.randn(1, 3, 32, 32)
    before = network(image)
    for head in network.heads[:-1]:
        torch.nn.init.zeros_(head.out[1].weight)
    assert torch.equal(network(image), before)


@pytest.mark.parametrize("class_token", [True, False])
def test_the_encoder_loads_completely_with_its_query_key_and_value_biases(tmp_path: Path, class_token: bool) -> None:
    """MSMAE's released network has none, and drops those of the file without a word."""
    mae = on_vit(
        MaskedAutoencoder,
        3,
        32,
        8,
        class_token=class_token,
        decoder_size=8,
        decoder_layers=1,
        decoder_heads=1,
        **ENCODER,
    )
    for block in mae.encoder.blocks:
        torch.nn.init.normal_(block.attn.qkv.bias)
    path = save_encoder(tmp_path / "encoder.safetensors", mae, {})
    network = setr(class_token=class_token, img_size=48)
    report = load_encoder(network, path)
    assert report.complete
    assert report.encoder_loaded == report.encoder_total == len(mae.encoder.state_dict())
    for mine, theirs in zip(network.vit.blocks, mae.encoder.blocks, strict=True):
        assert torch.equal(mine.attn.qkv.bias, theirs.attn.qkv.bias)


def test_biases_without_a_place_in_the_network_are_refused(tmp_path: Path) -> None:
    """Seen from the file: what its encoder has and the network cannot take stops the run."""
    mae = on_vit(
        MaskedAutoencoder, 3, 32, 8, class_token=True, decoder_size=8, decoder_layers=1, decoder_heads=1, **ENCODER
    )
    for block in mae.encoder.blocks:
        torch.nn.init.normal_(block.attn.qkv.bias)
    path = save_encoder(tmp_path / "encoder.safetensors", mae, {})
    network = setr()
    network.vit = ViT(3, 32, 8, **ENCODER, qkv_bias=False)
    with pytest.raises(InputError, match=r"without a place in the network: blocks\.0\.attn\.qkv\.bias"):
        load_encoder(network, path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [({"patch_size": 12, "img_size": 24}, "needs a power of 2"), ({"taps": [0, 2]}, "end at the last block, 3")],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        setr(**changes)
