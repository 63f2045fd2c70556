import pytest
import torch
from custom_components.networks.unetr import UNETR, evenly_spread
from encoders import on_vit
from monai.networks.nets.unetr import UNETR as MonaiUNETR


def tiny(**kwargs: object) -> UNETR:
    options = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 4, "num_heads": 2, "feature_size": 4, **kwargs}
    return on_vit(UNETR, 1, options.pop("img_size", 32), out_channels=3, **options)


@pytest.mark.parametrize(("channels", "classes", "size", "count"), [(1, 14, 96, 92_813_230), (4, 3, 128, 102_478_899)])
def test_parameter_counts_of_the_paper(channels: int, classes: int, size: int, count: int) -> None:
    with torch.device("meta"):
        network = on_vit(UNETR, channels, size, out_channels=classes)
    # The reference gives the class token a position of its own, 768 numbers that add to the token itself.
    assert sum(parameter.numel() for parameter in network.parameters()) == count - 768


def test_skips() -> None:
    assert evenly_spread(12, 3) == [3, 6, 9]
    assert evenly_spread(12, 2) == [4, 8]
    assert evenly_spread(4, 3) == [1, 2, 3]
    assert tiny(num_layers=12).skips == [3, 6, 9]
    assert tiny(num_layers=12, skips=[2, 5, 11]).skips == [2, 5, 11]
    for skips in ([3, 6], [6, 3, 9], [3, 6, 12]):
        with pytest.raises(ValueError, match="do not fit"):
            tiny(num_layers=12, skips=skips)


@pytest.mark.parametrize("patch", [4, 8, 16])
@pytest.mark.parametrize("class_token", [True, False])
def test_patch_sizes_and_class_token(patch: int, class_token: bool) -> None:
    network = tiny(patch_size=patch, class_token=class_token)
    assert network(torch.randn(2, 1, 32, 32, 32)).shape == (2, 3, 32, 32, 32)


def test_unequal_sides_and_2d() -> None:
    assert tiny(img_size=(32, 16, 48))(torch.randn(1, 1, 32, 16, 48)).shape == (1, 3, 32, 16, 48)
    assert tiny(img_size=(32, 48), spatial_dims=2)(torch.randn(1, 1, 32, 48)).shape == (1, 3, 32, 48)
    with pytest.raises(ValueError, match=r"patch_size is \[12, 12, 12\]; UNETR takes 4, 8, 16 or 32"):
        tiny(patch_size=12, img_size=24)


def test_equals_monai_unetr_with_the_same_weights() -> None:
    """Same decoder, same skips (0-based blocks 3, 6, 9): with stock weights the outputs agree."""
    peer = MonaiUNETR(1, 3, 32, feature_size=4, hidden_size=24, mlp_dim=48, num_heads=2, qkv_bias=True).eval()
    network = tiny(num_layers=12, class_token=False, norm_eps=1e-5).eval()
    names = {"encoder1.": "image_encoder."}
    names |= {f"encoder{2 + i}.": f"skip_encoders.{i}." for i in range(3)}
    names |= {f"decoder{5 - i}.": f"decoders.{i}." for i in range(4)}
    state = {}
    for name, tensor in peer.state_dict().items():
        if "norm_cross_attn" not in name:
            old = next((old for old in names if name.startswith(old)), "")
            state[names.get(old, "") + name[len(old) :]] = tensor
    network.load_state_dict(state)
    image = torch.randn(1, 1, 32, 32, 32)
    assert torch.allclose(network(image), peer(image), atol=1e-4)


def test_scripts_and_gives_the_same(tmp_path: object) -> None:
    """The Model Zoo's checks export every bundle by torch.jit.script."""
    network = tiny(drop_path_rate=0.1, use_checkpoint=True).eval()
    torch.jit.save(torch.jit.script(network), f"{tmp_path}/model.ts")
    image = torch.randn(1, 1, 32, 32, 32)
    assert torch.allclose(torch.jit.load(f"{tmp_path}/model.ts")(image), network(image), atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    network = tiny()
    network(torch.randn(2, 1, 32, 32, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
