"""What networks that segment pictures with a Vision Transformer share: blocks as feature maps, small convolutions."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .vit import ViT

_CHANNELS_PER_GROUP, _MOST_GROUPS = 8, 32


class DenseOutput(NamedTuple):
    """What a segmentation network gives in training; in evaluation it gives the logits alone.

    Attributes:
        logits: (B, K, H, W).
        auxiliary: the logits of heads that are trained beside it, of the same shape; may be empty.
    """

    logits: Tensor
    auxiliary: list[Tensor]


def default_taps(num_layers: int) -> list[int]:
    """Blocks (from 0) that feed four feature maps: 3, 5, 7, 11 of 12 as both papers have it, in proportion elsewhere.

    They end 4, 6, 8 and 12 twelfths of the way up; 24 blocks give 7, 11, 15, 23.

    Raises:
        InputError: fewer than four blocks.
    """
    if num_layers < 4:
        raise InputError(f"num_layers is {num_layers}; four feature maps need at least 4 blocks, or given taps.")
    return [max(i, num_layers * twelfths // 12 - 1) for i, twelfths in enumerate((4, 6, 8, 12))]


def check_taps(taps: Sequence[int], num_layers: int) -> list[int]:
    """Rising block numbers, the last block among them.

    Raises:
        InputError: they are not; blocks behind the last tap would never be trained.
    """
    rising = list(taps) == sorted(set(taps))
    if not taps or not rising or taps[0] < 0 or taps[-1] != num_layers - 1:
        raise InputError(
            f"taps are {list(taps)}; they must be rising block numbers from 0 that end at the last block, "
            f"{num_layers - 1}."
        )
    return list(taps)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation (arXiv 1803.08494) with at least eight channels a group, as far as they go.

    The papers' codes use (synchronised) batch norm. Its statistics would depend on `micro_batch`, on the number of
    processes and on how much background a batch holds, and it cannot take one sample; these depend on the sample alone.
    Groups of several channels keep maps of one pixel, as pooling makes them, from becoming zero.
    """
    groups = max(1, min(_MOST_GROUPS, channels // _CHANNELS_PER_GROUP))
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


def conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    """Convolution that keeps the size, norm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, group_norm(out_channels), nn.ReLU())


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, pixel areas aligned: (B, C, h, w) -> (B, C, *size)."""
    if list(x.shape[2:]) == list(size):
        return x
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)


class DenseViT(nn.Module):
    """A 2D ViT at `vit`, as pre-training writes it, whose blocks give feature maps.

    Args:
        encoder: the ViT, 2D; it becomes the part `vit`. A class token takes part in attention; the maps do not hold it.
        taps: blocks (from 0) whose outputs are the feature maps, the last block among them.
        final_norm: the last map goes through the encoder's final norm. Without it that norm is loaded and kept but not
            trained: a parameter that never gets a gradient would break DistributedDataParallel.

    Raises:
        InputError: the encoder is none for pictures, or the taps do not fit.
    """

    def __init__(self, encoder: ViT, taps: Sequence[int], final_norm: bool = False) -> None:
        super().__init__()
        if encoder.spatial_dims != 2:
            raise InputError(f"The encoder has spatial_dims {encoder.spatial_dims}; maps are for pictures, so for 2.")
        self.taps, self.final_norm = check_taps(taps, encoder.num_layers), final_norm
        self.vit = encoder
        self.vit.norm.requires_grad_(final_norm)

    def features(self, image: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> a map (B, D, H / patch, W / patch) for each tap."""
        encoded = self.vit(image, hidden_states=self.taps)
        tokens = [*encoded.hidden_states[:-1], encoded.tokens if self.final_norm else encoded.hidden_states[-1]]
        first = 1 if self.vit.class_token else 0
        return [states[:, first:].transpose(1, 2).unflatten(2, self.vit.grid) for states in tokens]  # B N D -> B D h w


class ClassifyPixels(nn.Sequential):
    """Dropout of whole channels, then a convolution to the classes with small random weights.

    Args:
        channels: of the feature map.
        num_classes: outputs K.
        dropout: share of the channels that is dropped.
        kernel_size: of the convolution.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.0, kernel_size: int = 1) -> None:
        conv = nn.Conv2d(channels, num_classes, kernel_size, padding=kernel_size // 2)
        super().__init__(nn.Dropout2d(dropout), conv)
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
