"""The pyramid segmenter: sizes, what is trained, and strict loading of encoders."""

from pathlib import Path

import pytest
import torch
from bundle_runtime.weights.load import load_encoder
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from custom_components.losses.dense import DenseLoss
from custom_components.networks.dense_head import STRIDES, PyramidPooling, PyramidSegmenter
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from custom_components.training.optim import param_groups
from encoders import on_vit
from torch import nn

ENCODER = {"hidden_size": 16, "mlp_dim": 32, "num_layers": 4, "num_heads": 2, "spatial_dims": 2}


def segmenter(img_size: int = 64, patch_size: int = 8, **changes: object) -> PyramidSegmenter:
    settings = {**ENCODER, "class_token": False, "head_channels": 16, "auxiliary_channels": 16, **changes}
    return on_vit(PyramidSegmenter, 3, img_size, patch_size, num_classes=2, **settings)


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[MaskedAutoencoder, Path]:
    mae = on_vit(
        MaskedAutoencoder, 3, 32, 8, class_token=False, decoder_size=8, decoder_layers=1, decoder_heads=1, **ENCODER
    )
    return mae, save_encoder(tmp_path / "encoder.safetensors", mae, {})


@pytest.mark.parametrize("patch_size", [4, 8, 16, 32])
def test_levels_have_the_strides_4_to_32(patch_size: int) -> None:
    network = segmenter(patch_size=patch_size).eval()
    maps = network.features(torch.randn(1, 3, 64, 64))
    sides = [change(found).shape[2] for change, found in zip(network.pyramid, maps, strict=True)]
    assert sides == [64 // stride for stride in STRIDES]


def test_logits_have_the_size_of_the_image_and_auxiliary_ones_come_in_training_alone() -> None:
    network, image = segmenter(), torch.randn(2, 3, 64, 64)
    logits, auxiliary = network(image)
    assert logits.shape == (2, 2, 64, 64)
    assert [other.shape for other in auxiliary] == [(2, 2, 64, 64)]
    assert network.eval()(image).shape == (2, 2, 64, 64)
    assert segmenter(auxiliary_channels=0)(image).auxiliary == []


def test_a_grid_that_halves_unevenly_is_fine() -> None:
    assert segmenter(img_size=56).eval()(torch.randn(1, 3, 56, 56)).shape == (1, 2, 56, 56)


def test_every_trainable_parameter_gets_a_gradient() -> None:
    """DistributedDataParallel refuses others; the frozen final norm is no part of the optimiser."""
    network = segmenter()
    label = torch.randint(2, (1, 1, 64, 64))
    DenseLoss(lambda_dice=1.0)(network(torch.randn(1, 3, 64, 64)), label).backward()
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == trainable
    assert {name for name, _ in network.named_parameters()} - trainable == {"vit.norm.weight", "vit.norm.bias"}
    grouped = sum(len(group["params"]) for group in param_groups(network, 1.0, 0.05, layer_decay=0.65))
    assert grouped == len(trainable)


def test_samples_do_not_depend_on_each_other() -> None:
    """So a batch may be cut by micro_batch: with batch norm it could not."""
    network = segmenter(dropout=0.0).train()
    images = torch.randn(3, 3, 64, 64)
    whole, single = network(images).logits, torch.cat([network(image[None]).logits for image in images])
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-5)


def test_pooling_sees_the_whole_image() -> None:
    pooling = PyramidPooling(16, 8).eval()
    x = torch.randn(1, 16, 12, 12, requires_grad=True)
    pooling(x)[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, -1, -1].abs().sum() > 0


def test_the_encoder_loads_completely_with_positions_resampled(pretrained: tuple[MaskedAutoencoder, Path]) -> None:
    """SD-MAE's released route matched no tensor and trained from random weights without a word."""
    mae, path = pretrained
    network = segmenter(img_size=64)
    report = load_encoder(network, path)
    assert report.encoder_loaded == report.encoder_total == 12 * 4 + 5
    assert report.resampled["patch_embedding.position_embeddings"] == "4x4 to 8x8 positions"
    for name, tensor in mae.encoder.state_dict().items():
        if "position" not in name:
            assert torch.equal(network.vit.state_dict()[name], tensor)


def test_an_encoder_under_other_names_is_refused(pretrained: tuple[MaskedAutoencoder, Path], tmp_path: Path) -> None:
    """Whatever leaves one tensor of the encoder unfilled stops."""
    mae, _ = pretrained
    state = {name: tensor for name, tensor in mae.encoder.state_dict().items() if "blocks.2.mlp" not in name}
    torch.save(state, tmp_path / "partial.pt")
    with pytest.raises(InputError, match=r"of 53 encoder tensors loaded; missing in the file: blocks\.2\.mlp"):
        load_encoder(segmenter(), tmp_path / "partial.pt")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"patch_size": 2, "img_size": 64}, r"patch_size is \[2, 2\]; the pyramid needs"),
        ({"taps": [1, 2, 3]}, "the pyramid needs 4 blocks"),
        ({"num_layers": 3}, "num_layers is 3"),
        ({"img_size": 60}, "60 is no multiple of 8"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        segmenter(**changes)


def test_it_learns_a_disc() -> None:
    torch.manual_seed(0)
    network, loss = segmenter(img_size=32, dropout=0.0), DenseLoss(lambda_dice=1.0)
    rows = torch.arange(32)
    label = ((rows[:, None] - 14) ** 2 + (rows - 18) ** 2 < 100).long()[None, None]
    image = torch.randn(1, 3, 32, 32) * 0.1 + label
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(network(image), label).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 3.0)
        optimizer.step()
    found = network.eval()(image).argmax(1, keepdim=True)
    assert 2 * (found * label).sum() / (found.sum() + label.sum()) > 0.9
