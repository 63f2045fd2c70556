"""UNETR (arXiv 2103.10504): a ViT encoder with a convolutional decoder, of any depth and patch size 4, 8, 16 or 32."""

import math
from collections.abc import Sequence
from typing import Any

from monai.networks.blocks import UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from monai.networks.blocks.dynunet_block import UnetOutBlock
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
        encoder: the ViT, 2D or 3D; it becomes the part `vit`. Its `img_size` is also the region of interest of
            sliding-window inference, its `patch_size` a power of two from 4 to 32, the same along every axis. A class
            token takes part in attention and is removed before the decoder.
        out_channels: classes, background included.
        feature_size: decoder channels at full resolution; doubles with each level.
        skips: 0-based blocks that feed the decoder, log2(patch_size) - 1 of them; None spreads them evenly.
        dropout: of the decoder's last features, for estimates of uncertainty (MONAI Label's epistemic scoring).

    Raises:
        InputError: patch size or skips do not fit.
    """

    def __init__(
        self,
        encoder: ViT,
        out_channels: int,
        *,
        feature_size: int = 16,
        skips: Sequence[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        side, *others = encoder.patch_size
        num_layers, hidden_size, spatial_dims = encoder.num_layers, encoder.hidden_size, encoder.spatial_dims
        if side not in (4, 8, 16, 32) or any(other != side for other in others):
            raise InputError(
                f"patch_size is {list(encoder.patch_size)}; UNETR takes 4, 8, 16 or 32, the same along every axis."
            )
        levels = side.bit_length() - 1
        self.skips = evenly_spread(num_layers, levels - 1) if skips is None else list(skips)
        if len(self.skips) != levels - 1 or sorted(set(self.skips)) != self.skips or self.skips[-1] >= num_layers:
            raise InputError(
                f"skips {self.skips} do not fit: patch_size {side} takes {levels - 1} rising block numbers "
                f"below num_layers {num_layers}."
            )
        self.vit = encoder
        self.grid, self.num_patches = list(self.vit.grid), math.prod(self.vit.grid)
        # Channels from fine to coarse, e.g. 16, 32, 64, 128 for patch 16.
        widths = [feature_size * 2**level for level in range(levels)]
        conv: dict[str, Any] = {
            "spatial_dims": spatial_dims,
            "kernel_size": 3,
            "norm_name": "instance",
            "res_block": True,
        }
        self.image_encoder = UnetrBasicBlock(
            in_channels=encoder.in_channels, out_channels=feature_size, stride=1, **conv
        )
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
        self.dropout = nn.Dropout(dropout)
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
        return self.out(self.dropout(x))
