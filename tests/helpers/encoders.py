"""Small encoders of several code bases, written for the tests: state dicts and plain forward passes as oracles."""

import inspect
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from custom_components.networks.sd_mae import SelfDistillationMAE
from custom_components.networks.vit import ViT
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)

WIDTH, MLP, HEADS, DEPTH = 12, 24, 3, 3


def our_vit(**changes) -> ViT:
    """3D, grid 2x2x2, unless changed; all tensors random so that nothing is equal by accident."""
    sizes = {"in_channels": 1, "img_size": 8, "patch_size": 4, "spatial_dims": 3}
    sizes |= {"hidden_size": WIDTH, "mlp_dim": MLP, "num_layers": DEPTH, "num_heads": HEADS}
    return shaken(ViT(**{**sizes, **changes}))


def on_vit(kind: type[N], in_channels: int, img_size: Any, patch_size: Any = 16, **options: Any) -> N:
    """A network on an encoder of its own, of options for either; the encoder of an autoencoder has fixed positions."""
    known = inspect.signature(ViT).parameters
    sizes = {name: options.pop(name) for name in list(options) if name in known}
    if issubclass(kind, MaskedAutoencoder):
        sizes = {"pos_embed_type": "sincos", **sizes}
    return kind(ViT(in_channels, img_size, patch_size, **sizes), **options)


def small_sd_mae(seed: int = 0, **options: Any) -> SelfDistillationMAE:
    """An autoencoder with self-distillation on images (3, 16, 16), with 12 prototypes."""
    torch.manual_seed(seed)
    return on_vit(
        SelfDistillationMAE, 3, 16, 4, hidden_size=16, mlp_dim=32, num_layers=1, num_heads=2, spatial_dims=2,
        class_token=False, decoder_size=16, decoder_layers=1, decoder_heads=2, mask_ratio=0.6, prototypes=12,
        projector_size=12, bottleneck=6, **options,
    )  # fmt: skip


def shaken(network: nn.Module, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return network.eval()


def set_eps(network: nn.Module, eps: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps


def timm_state(kernel: tuple[int, ...], positions: int, depth: int = DEPTH, seed: int = 0) -> dict[str, Tensor]:
    """Names and shapes of a timm / Facebook-MAE encoder; `kernel` is the patch weight's shape after the width."""
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, positions, WIDTH),
        "patch_embed.proj.weight": (WIDTH, *kernel),
    }
    shapes["patch_embed.proj.bias"] = (WIDTH,)
    for i in range(depth):
        for name, rows, columns in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", MLP, WIDTH),
            ("mlp.fc2", WIDTH, MLP),
        ):
            shapes[f"blocks.{i}.{name}.weight"], shapes[f"blocks.{i}.{name}.bias"] = (rows, columns), (rows,)
        for name in ("norm1", "norm2"):
            shapes[f"blocks.{i}.{name}.weight"] = shapes[f"blocks.{i}.{name}.bias"] = (WIDTH,)
    shapes["norm.weight"] = shapes["norm.bias"] = (WIDTH,)
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def timm_forward(state: dict[str, Tensor], image: Tensor, norm: bool = True) -> Tensor:
    """(B, C, *S) -> (B, 1 + N, D): the encoder as its authors describe it, with explicit attention."""
    kernel = state["patch_embed.proj.weight"]
    conv = F.conv2d if kernel.ndim == 4 else F.conv3d
    tokens = conv(image, kernel, state["patch_embed.proj.bias"], stride=kernel.shape[2:]).flatten(2).transpose(1, 2)
    tokens = torch.cat([state["cls_token"].expand(len(image), -1, -1), tokens], dim=1) + state["pos_embed"]

    def layer_norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    depth = sum(name.endswith("norm1.weight") for name in state)
    for i in range(depth):
        qkv = linear(layer_norm(tokens, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        heads = []
        for h in range(HEADS):
            size = WIDTH // HEADS
            q, k, v = (qkv[..., j * WIDTH + h * size : j * WIDTH + (h + 1) * size] for j in range(3))
            heads.append((q @ k.transpose(1, 2) / size**0.5).softmax(-1) @ v)
        tokens = tokens + linear(torch.cat(heads, -1), f"blocks.{i}.attn.proj")
        hidden = F.gelu(linear(layer_norm(tokens, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        tokens = tokens + linear(hidden, f"blocks.{i}.mlp.fc2")
    return layer_norm(tokens, "norm") if norm else tokens


def selfmedmae_state(linear: bool = False) -> dict[str, Tensor]:
    """A SelfMedMAE 3D pre-training checkpoint: grid 2x2x2, patch 4, 2 channels, encoder table outside of `encoder.`."""
    state = timm_state((2, 4, 4, 4), positions=8)
    table = state.pop("pos_embed")
    if linear:  # one row of weights per patch vector (p1, p2, p3, C)
        state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].movedim(1, -1).reshape(WIDTH, -1)
    named = {f"encoder.{name}": tensor for name, tensor in state.items()}
    named["encoder_pos_embed"] = table
    named["decoder_pos_embed"] = torch.zeros(1, 8, 6)
    named["mask_token"] = torch.zeros(1, 1, 6)
    named["encoder_to_decoder.weight"] = torch.zeros(6, WIDTH)
    named["decoder.blocks.0.norm1.weight"] = torch.ones(6)
    return named
