import pytest
import torch
from bundle_runtime.weights.load import init_network
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from custom_components.training.optim import layer_ids
from encoders import on_vit

SMALL = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 2, "spatial_dims": 2}


def small(**kwargs: object) -> ViTClassifier:
    return on_vit(ViTClassifier, 1, 32, **{"num_classes": 3, **SMALL, **kwargs})


def test_reference_size_has_the_papers_parameter_count() -> None:
    # 85,809,422 with the position of the class token, which adds 768 to no effect.
    with torch.device("meta"):
        network = on_vit(ViTClassifier, 3, 224, num_classes=14, spatial_dims=2)
    assert sum(p.numel() for p in network.parameters()) == 85_809_422 - 768


@pytest.mark.parametrize(
    ("pool", "class_token", "after"),
    [("cls", True, False), ("mean", True, False), ("mean", False, False), ("mean", False, True)],
)
def test_logits_depend_on_every_part(pool: str, class_token: bool, after: bool) -> None:
    network = small(pool=pool, class_token=class_token, norm_after_pool=after)
    network(torch.randn(2, 1, 32, 32)).square().sum().backward()
    unused = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []


def test_mean_pool_leaves_the_class_token_out() -> None:
    network = small(pool="mean").eval()
    image = torch.randn(2, 1, 32, 32)
    expected = network.head(network.head_norm(network.vit(image).tokens[:, 1:].mean(dim=1)))
    assert torch.equal(network(image), expected)


@pytest.mark.parametrize("class_token", [True, False])
def test_norm_after_pool_is_the_encoders_own_norm_behind_the_mean(class_token: bool) -> None:
    """MAE's fine-tuning, appendix A: mean of the last block's patch tokens, one norm, the head."""
    network = small(pool="mean", norm_after_pool=True, class_token=class_token).eval()
    torch.nn.init.normal_(network.vit.norm.bias)
    image = torch.randn(2, 1, 32, 32)
    tokens = network.vit(image, hidden_states=[1]).hidden_states[0][:, int(class_token) :]
    assert torch.equal(network(image), network.head(network.vit.norm(tokens.mean(dim=1))))
    assert not any(name.startswith("head_norm") for name, _ in network.named_parameters())
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_head_starts_as_asked() -> None:
    assert small(head_init_std=2e-5).head.weight.abs().max() < 1e-4
    assert small().head.weight.abs().max() > 1e-2
    assert not small().head.bias.any()


def test_pretrained_encoder_loads_completely(tmp_path) -> None:
    # The reference code left the position table out when it loaded an encoder into its classifier.
    mae = on_vit(MaskedAutoencoder, 1, 32, decoder_size=16, decoder_layers=1, decoder_heads=2, **SMALL)
    save_encoder(tmp_path / "encoder.safetensors", mae, {})
    network = init_network(small(pool="mean"), "mae", tmp_path / "encoder.safetensors")
    image = torch.randn(2, 1, 32, 32)
    assert torch.equal(network.vit.eval()(image).tokens, mae.encoder.eval()(image).tokens)


def test_layer_decay_gives_the_head_the_full_rate() -> None:
    ids = layer_ids(small(pool="mean"))
    assert ids["head.weight"] == ids["head_norm.weight"] == ids["vit.norm.weight"] == 3
    assert ids["vit.cls_token"] == 0


@pytest.mark.parametrize("settings", [{"pool": "max"}, {"pool": "cls", "class_token": False}])
def test_impossible_heads_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match="pool is"):
        small(**settings)
    with pytest.raises(InputError, match="norm_after_pool is true, but pool is 'cls'"):
        small(pool="cls", norm_after_pool=True)
    with pytest.raises(InputError, match="num_classes"):
        small(num_classes=0)
