"""Segmentation of pictures: a ViT, a feature pyramid made from four of its blocks, and a UPerNet-type head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError
from .dense_features import ClassifyPixels, DenseOutput, DenseViT, conv_norm_relu, default_taps, group_norm, resize
from .vit import ViT

STRIDES = (4, 8, 16, 32)  # pixels between neighbours on the levels of the pyramid
POOL_SCALES = (1, 2, 3, 6)


def _to_stride(channels: int, patch_size: int, stride: int) -> nn.Module:
    """Bring a map with one pixel a patch to another stride: transposed convolutions up, max pooling down."""
    steps = patch_size.bit_length() - stride.bit_length()
    if steps <= 0:
        return nn.Identity() if steps == 0 else nn.MaxPool2d(2**-steps, ceil_mode=True)
    parts: list[nn.Module] = []
    for step in range(steps):
        parts += [group_norm(channels), nn.GELU()] if step else []
        parts.append(nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2))
    return nn.Sequential(*parts)


class PyramidPooling(nn.Module):
    """Context of the whole image: averages over grids of several sizes beside the map itself (PSPNet, 1612.01105).

    Args:
        in_channels: of the map.
        channels: of each pooled map and of the output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.pooled = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), conv_norm_relu(in_channels, channels, 1))
            for scale in POOL_SCALES
        )
        self.join = conv_norm_relu(in_channels + len(POOL_SCALES) * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, channels, h, w)."""
        return self.join(torch.cat([x, *(resize(part(x), x.shape[2:]) for part in self.pooled)], dim=1))


class PyramidSegmenter(DenseViT):
    """ViT with a feature pyramid and a UPerNet-type head (arXiv 1807.10221), as SD-MAE segments nuclei and glands.

    Four blocks give maps at strides 4, 8, 16 and 32 (BEiT's adaptation of a plain ViT, arXiv 2106.08254). The coarsest
    goes through pyramid pooling and is added down to the finest; all levels together give the classes. A small
    convolutional head on the third level is trained beside it, with a weight that the loss sets.

    Args:
        encoder: the ViT, 2D, of patch size 4, 8, 16 or 32; it becomes the part `vit`. Its `img_size` may be another one
            than in pre-training (positions are resampled on loading).
        num_classes: outputs K, the background among them.
        taps: four blocks (from 0); None takes `default_taps`.
        head_channels: channels of the head (paper's code: 384).
        auxiliary_channels: channels of the auxiliary head (256); 0 leaves it out.
        dropout: of channels before the classes (0.1).

    Raises:
        InputError: a patch size or taps that do not fit.
    """

    def __init__(
        self,
        encoder: ViT,
        num_classes: int,
        *,
        taps: Sequence[int] | None = None,
        head_channels: int = 384,
        auxiliary_channels: int = 256,
        dropout: float = 0.1,
    ) -> None:
        taps = default_taps(encoder.num_layers) if taps is None else taps
        if len(taps) != len(STRIDES):
            raise InputError(f"taps are {list(taps)}; the pyramid needs {len(STRIDES)} blocks.")
        patch_size, hidden_size = encoder.patch_size[0], encoder.hidden_size
        if patch_size not in STRIDES or set(encoder.patch_size) != {patch_size}:
            raise InputError(f"patch_size is {list(encoder.patch_size)}; the pyramid needs 4, 8, 16 or 32.")
        super().__init__(encoder, taps)
        self.pyramid = nn.ModuleList(_to_stride(hidden_size, patch_size, stride) for stride in STRIDES)
        self.context = PyramidPooling(hidden_size, head_channels)
        self.laterals = nn.ModuleList(conv_norm_relu(hidden_size, head_channels, 1) for _ in STRIDES[:-1])
        self.smooth = nn.ModuleList(conv_norm_relu(head_channels, head_channels) for _ in STRIDES[:-1])
        self.fuse = conv_norm_relu(len(STRIDES) * head_channels, head_channels)
        self.auxiliary = None
        if auxiliary_channels:
            self.auxiliary = nn.Sequential(
                conv_norm_relu(hidden_size, auxiliary_channels),
                ClassifyPixels(auxiliary_channels, num_classes, dropout),
            )
        self.out = ClassifyPixels(head_channels, num_classes, dropout)

    def forward(self, image: Tensor) -> Tensor | DenseOutput:
        """Image (B, C, *img_size) -> logits (B, K, *img_size); in training a `DenseOutput` of such."""
        size = image.shape[2:]
        levels = [change(found) for change, found in zip(self.pyramid, self.features(image), strict=True)]
        x = self.context(levels[-1])
        merged = [x]
        for level in range(len(levels) - 2, -1, -1):  # from coarse to fine
            x = self.laterals[level](levels[level]) + resize(x, levels[level].shape[2:])
            merged.insert(0, x)
        finest = merged[0].shape[2:]
        smooth = [change(part) for change, part in zip(self.smooth, merged[:-1], strict=True)]
        joined = self.fuse(torch.cat([resize(part, finest) for part in [*smooth, merged[-1]]], dim=1))
        logits = resize(self.out(joined), size)
        if not self.training:
            return logits
        return DenseOutput(logits, [] if self.auxiliary is None else [resize(self.auxiliary(levels[2]), size)])
