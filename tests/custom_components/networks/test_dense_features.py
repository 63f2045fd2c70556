"""Taps, group norm, and a ViT's blocks as feature maps."""

import pytest
import torch
from custom_components.errors import InputError
from custom_components.networks.dense_features import (
    DenseViT,
    check_taps,
    conv_norm_relu,
    default_taps,
    group_norm,
    resize,
)
from custom_components.networks.vit import ViT
from encoders import on_vit
from hypothesis import given
from hypothesis import strategies as st

SMALL = {"patch_size": 8, "hidden_size": 16, "mlp_dim": 32, "num_layers": 4, "num_heads": 2, "spatial_dims": 2}


@given(st.integers(4, 48))
def test_default_taps_rise_and_end_at_the_last_block(depth: int) -> None:
    assert check_taps(default_taps(depth), depth) == default_taps(depth)


def test_default_taps_are_those_of_the_papers() -> None:
    assert default_taps(12) == [3, 5, 7, 11]
    assert default_taps(24) == [7, 11, 15, 23]


@pytest.mark.parametrize("taps", [[], [0, 0, 3], [2, 1, 3], [0, 1, 2], [-1, 3], [0, 4]])
def test_other_taps_are_refused(taps: list[int]) -> None:
    with pytest.raises(InputError, match="end at the last block, 3"):
        check_taps(taps, 4)


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(InputError, match="num_layers is 3"):
        default_taps(3)


@given(st.integers(1, 600))
def test_groups_divide_the_channels_and_hold_several(channels: int) -> None:
    norm = group_norm(channels)
    assert channels % norm.num_groups == 0
    assert channels // norm.num_groups >= min(channels, 8)


def test_one_sample_of_one_pixel_is_not_normalised_away() -> None:
    """Batch norm refuses it, instance norm makes it zero."""
    x = torch.randn(1, 16, 1, 1)
    assert conv_norm_relu(16, 16, 1).train()(x).abs().sum() > 0


def test_resize_is_torch_s_and_leaves_the_right_size_alone() -> None:
    x = torch.randn(1, 2, 3, 4)
    assert resize(x, [3, 4]) is x
    wanted = torch.nn.functional.interpolate(x, (6, 8), mode="bilinear", align_corners=False)
    assert torch.equal(resize(x, [6, 8]), wanted)


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("final_norm", [False, True])
def test_maps_are_the_blocks_outputs_in_image_order(class_token: bool, final_norm: bool) -> None:
    network = on_vit(DenseViT, 3, (16, 24), taps=[1, 3], class_token=class_token, final_norm=final_norm, **SMALL).eval()
    image = torch.randn(2, 3, 16, 24)
    maps = network.features(image)
    encoded = network.vit(image, hidden_states=[1, 3])
    last = encoded.tokens if final_norm else encoded.hidden_states[1]
    for found, tokens in zip(maps, (encoded.hidden_states[0], last), strict=True):
        assert found.shape == (2, 16, 2, 3)
        assert torch.equal(found[:, :, 1, 2], tokens[:, class_token + 1 * 3 + 2])
    assert network.vit.norm.weight.requires_grad is final_norm


def test_an_encoder_for_volumes_is_refused() -> None:
    with pytest.raises(InputError, match="spatial_dims 3; maps are for pictures, so for 2"):
        on_vit(DenseViT, 3, 16, taps=[1, 3], **{**SMALL, "spatial_dims": 3})


def test_the_encoder_that_is_given_becomes_the_part_vit() -> None:
    encoder = ViT(3, 16, **SMALL)
    network = DenseViT(encoder, [1, 3])
    assert network.vit is encoder
    assert {name.split(".")[0] for name in network.state_dict()} == {"vit"}
