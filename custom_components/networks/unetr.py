"""UNETR (arXiv 2103.10504): a ViT encoder with a convolutional decoder, of any depth and patch size 4, 8, 16 or 32."""

import math
from collections.abc import Sequence
from typing import Any

from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from monai.networks.blocks.dynunet_block import UnetOutBlock
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn

from ..errors import InputError
from .vit import ViT


def evenly_spread(num_layers: int, count: int) -> list[int]:
    """0-based blocks for `count` skips: 3, 6, 9 of 12 for three; 4, 8 of 12 for two; 1, 2, 3 of 4 for three."""
    return [num_layers * (i + 1) // (count + 1) for i in range(count)]


class UNETR(nn.Module):
    """Segmentation network whose encoder `vit` takes masked-autoencoder weights.

    MONAI's `UNETR` fixes patch 16, 12 blocks, skips 3, 6, 9 and random learnable positions; this one keeps its decoder
    blocks and frees the rest. The decoder halves the stride once per level, so it has log2(patch_size) levels: one skip
    from the image, the others from hidden states, and the bottleneck from the final norm.

    Args:
        in_channels: image channels.
        out_channels: classes, background included.
        img_size: crop size in voxels; also the region of interest of sliding-window inference.
        patch_size: a power of two from 4 to 32, the same along every axis.
        hidden_size: encoder width.
        mlp_dim: encoder MLP width.
        num_layers: encoder depth.
        num_heads: encoder heads.
        feature_size: decoder channels at full resolution; doubles with each level.
        skips: 0-based blocks that feed the decoder, log2(patch_size) - 1 of them; None spreads them evenly.
        spatial_dims: 2 or 3.
        class_token: the encoder has a class token; it takes part in attention and is removed before the decoder.
        pos_embed_type: see `ViT`.
        drop_path_rate: stochastic depth in the encoder.
        norm_eps: LayerNorm epsilon.
        use_checkpoint: activation checkpointing in the encoder.

    Raises:
        InputError: patch size or skips do not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        img_size: Sequence[int] | int,
        patch_size: Sequence[int] | int = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_layers: int = 12,
        num_heads: int = 12,
        *,
        feature_size: int = 16,
        skips: Sequence[int] | None = None,
        spatial_dims: int = 3,
        class_token: bool = True,
        pos_embed_type: str = "sincos_learnable",
        drop_path_rate: float = 0.0,
        norm_eps: float = 1e-6,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        side, *others = ensure_tuple_rep(patch_size, spatial_dims)
        if side not in (4, 8, 16, 32) or any(other != side for other in others):
            raise InputError(
                f"UNETR's patch_size is {patch_size}; it must be 4, 8, 16 or 32, the same along every axis."
            )
        levels = side.bit_length() - 1
        self.skips = evenly_spread(num_layers, levels - 1) if skips is None else list(skips)
        if len(self.skips) != levels - 1 or sorted(set(self.skips)) != self.skips or self.skips[-1] >= num_layers:
            raise InputError(
                f"skips {self.skips} do not fit: patch_size {side} takes {levels - 1} rising block numbers "
                f"below num_layers {num_layers}."
            )
        self.vit = ViT(
            in_channels, img_size, side, hidden_size, mlp_dim, num_layers, num_heads, spatial_dims=spatial_dims,
            class_token=class_token, pos_embed_type=pos_embed_type, drop_path_rate=drop_path_rate, norm_eps=norm_eps,
            use_checkpoint=use_checkpoint,
        )  # fmt: skip
        self.grid, self.num_patches = list(self.vit.grid), math.prod(self.vit.grid)
        # Channels from fine to coarse, e.g. 16, 32, 64, 128 for patch 16.
        widths = [feature_size * 2**level for level in range(levels)]
        conv: dict[str, Any] = {
            "spatial_dims": spatial_dims,
            "kernel_size": 3,
            "norm_name": "instance",
            "res_block": True,
        }
        self.image_encoder = UnetrBasicBlock(in_channels=in_channels, out_channels=feature_size, stride=1, **conv)
        self.skip_encoders = nn.ModuleList(
            UnetrPrUpBlock(
                in_channels=hidden_size, out_channels=widths[level], num_layer=levels - 1 - level, stride=1,
                upsample_kernel_size=2, conv_block=True, **conv,
            )
            for level in range(1, levels)
        )  # fmt: skip
        self.decoders = nn.ModuleList(
            UnetrUpBlock(in_channels=coarse, out_channels=fine, upsample_kernel_size=2, **conv)
            for coarse, fine in zip([hidden_size, *widths[:0:-1]], widths[::-1], strict=True)
        )
        self.out = UnetOutBlock(spatial_dims=spatial_dims, in_channels=feature_size, out_channels=out_channels)

    def to_grid(self, tokens: Tensor) -> Tensor:
        """Patch tokens as an image: (B, [1 +] N, D) -> (B, D, *grid); the class token is left out."""
        tokens = tokens[:, tokens.shape[1] - self.num_patches :]
        size = [tokens.shape[0], tokens.shape[2]] + self.grid  # noqa: RUF005 (TorchScript)
        return tokens.transpose(1, 2).reshape(size)

    def forward(self, x: Tensor) -> Tensor:
        """Image (B, C, *img_size) -> logits (B, out_channels, *img_size)."""
        encoded = self.vit(x, hidden_states=self.skips)
        features = [self.image_encoder(x)]
        for i, skip_encoder in enumerate(self.skip_encoders):
            features.append(skip_encoder(self.to_grid(encoded.hidden_states[i])))
        x = self.to_grid(encoded.tokens)
        for i, decoder in enumerate(self.decoders):
            x = decoder(x, features[len(features) - 1 - i])
        return self.out(x)
