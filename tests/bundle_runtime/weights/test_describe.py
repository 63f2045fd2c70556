"""What is found out about a Vision Transformer from its modules and tensors, ours and MONAI's."""

import pytest
import torch
from bundle_runtime.weights.describe import (
    architecture,
    architecture_grid,
    as_text,
    cubic_grid,
    depth_of,
    encoder_sizes,
    network_difference,
)
from custom_components.errors import InputError
from encoders import our_vit
from monai.networks.nets import UNETR as MonaiUNETR
from monai.networks.nets import ViT as MonaiViT
from torch import nn


def test_small_helpers():
    assert as_text((16, 8, 4)) == "16x8x4"
    assert (cubic_grid(196, 2), cubic_grid(216, 3)) == ((14, 14), (6, 6, 6))
    assert (cubic_grid(197, 2), cubic_grid(215, 3)) == (None, None)
    assert depth_of(["norm.bias", "blocks.2.norm1.bias", "blocks.10.norm1.bias"]) == 11


def test_sizes_of_ours_with_a_grid_that_is_not_cubic():
    sizes = encoder_sizes(our_vit(img_size=(16, 8, 4), in_channels=2, class_token=False))
    assert (sizes.in_channels, sizes.patch_size, sizes.spatial_dims) == (2, (4, 4, 4), 3)
    assert (sizes.hidden_size, sizes.mlp_dim, sizes.num_layers, sizes.num_heads) == (12, 24, 3, 3)
    assert (sizes.positions, sizes.grid, sizes.class_token) == (8, (4, 2, 1), False)


def monai_vit(**changes):
    sizes = {"in_channels": 1, "img_size": 16, "patch_size": 4, "hidden_size": 12, "mlp_dim": 24, "num_layers": 2}
    return MonaiViT(**{**sizes, "num_heads": 3, "spatial_dims": 2, "classification": True, **changes})


def test_sizes_of_monais_leave_out_head_and_what_it_never_uses():
    sizes = encoder_sizes(monai_vit())
    assert not [name for name in sizes.shapes if "cross_attn" in name or "classification" in name]
    assert (sizes.grid, sizes.class_token, sizes.norm_eps) == ((4, 4), True, 1e-5)
    assert encoder_sizes(monai_vit(img_size=(16, 8))).grid is None  # 8 positions fit no square
    assert not encoder_sizes(MonaiUNETR(1, 2, 16, 4, 12, 24, 3).vit).class_token


def test_a_patch_embedding_that_is_no_convolution_is_refused():
    with pytest.raises(InputError, match="expected our ViT, or MONAI's with proj_type='conv'"):
        encoder_sizes(monai_vit(proj_type="perceptron"))


def test_the_architecture_builds_the_same_encoder_again():
    vit = our_vit(img_size=(16, 8, 8), num_heads=4)
    again = our_vit(**architecture(vit))
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == encoder_sizes(vit).shapes
    assert architecture(again) == architecture(vit)


def test_the_image_size_follows_from_the_grid_where_a_module_does_not_state_it():
    assert architecture(monai_vit())["img_size"] == [16, 16]
    assert architecture(monai_vit(img_size=(16, 8)))["img_size"] is None


@pytest.mark.parametrize(
    ("described", "grid"),
    [
        ({"img_size": [96, 96, 64], "patch_size": [16, 16, 16]}, (6, 6, 4)),
        ({"img_size": None, "patch_size": [16]}, None),
        ({}, None),
        ({"img_size": [8], "patch_size": [16]}, None),
    ],
)
def test_the_grid_of_a_described_architecture(described, grid):
    assert architecture_grid(described) == grid


def test_the_first_difference_of_weights_is_half_a_sentence():
    network, weights = nn.Linear(2, 3), nn.Linear(2, 3).state_dict()
    assert network_difference(weights, network) is None
    assert network_difference({"weight": weights["weight"]}, network) == (
        "it has no tensor 'bias', which this network needs"
    )
    assert network_difference({**weights, "weight": torch.zeros(3, 4)}, network) == (
        "its tensor 'weight' is (3, 4), this network needs (3, 2)"
    )
    assert network_difference({**weights, "scale": weights["bias"]}, network) == (
        "it holds a tensor 'scale', which this network does not have"
    )
