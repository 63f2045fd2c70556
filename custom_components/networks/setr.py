"""Segmentation of pictures: a ViT whose last block is brought to full resolution by progressive up-sampling."""

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .dense_features import ClassifyPixels, DenseOutput, DenseViT, conv_norm_relu, default_taps
from .vit import ViT


class ProgressiveUpsampling(nn.Module):
    """Stages of convolution, norm, ReLU and doubling, then a convolution to the classes (SETR-PUP).

    Args:
        in_channels: of the ViT's map.
        num_classes: outputs K.
        channels: of the stages.
        stages: doublings.
        dropout: of channels before the classes.
        align_corners: of the doubling, see `torch.nn.functional.interpolate`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int,
        stages: int,
        dropout: float,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        widths = [in_channels, *[channels] * stages]
        self.stages = nn.ModuleList(conv_norm_relu(i, o) for i, o in itertools.pairwise(widths))
        self.out = ClassifyPixels(widths[-1], num_classes, dropout, kernel_size=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, K, h * 2 ** stages, w * 2 ** stages)."""
        for stage in self.stages:
            x = stage(x)
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=self.align_corners)
        return self.out(x)


class SETRPUP(DenseViT):
    """SETR with progressive up-sampling (arXiv 2012.15840), as MSMAE segments lesions.

    One head on the last block is trained. The released code builds four and gives a gradient to one; here the others
    exist only where `auxiliary_heads` asks for them, and the loss then trains them.

    Args:
        encoder: the ViT, 2D, whose patch size is a power of 2: each doubling is one stage (16: four). It becomes the
            part `vit`.
        num_classes: outputs K, the background among them.
        taps: blocks (from 0) of the heads, the last block last; None takes `default_taps`, or the last block alone
            where there are no auxiliary heads.
        auxiliary_heads: whether blocks before the last get a head each, for training only.
        final_norm: the last map goes through the encoder's final norm (released code: it does not).
        head_channels: channels of the stages (256).
        dropout: of channels before the classes.
        align_corners: double with aligned corners, as the released code does; else pixel areas are aligned.

    Raises:
        InputError: a patch size or taps that do not fit.
    """

    def __init__(
        self,
        encoder: ViT,
        num_classes: int,
        *,
        taps: Sequence[int] | None = None,
        auxiliary_heads: bool = False,
        final_norm: bool = False,
        head_channels: int = 256,
        dropout: float = 0.0,
        align_corners: bool = False,
    ) -> None:
        patch_size = encoder.patch_size[0]
        if patch_size < 2 or patch_size & (patch_size - 1) or set(encoder.patch_size) != {patch_size}:
            raise InputError(
                f"patch_size is {list(encoder.patch_size)}; up-sampling by doubling needs a power of 2, equal in both"
                " axes."
            )
        if taps is None:
            taps = default_taps(encoder.num_layers) if auxiliary_heads else [encoder.num_layers - 1]
        super().__init__(encoder, taps if auxiliary_heads else taps[-1:], final_norm)
        stages = patch_size.bit_length() - 1
        self.heads = nn.ModuleList(
            ProgressiveUpsampling(encoder.hidden_size, num_classes, head_channels, stages, dropout, align_corners)
            for _ in self.taps
        )

    def forward(self, image: Tensor) -> Tensor | DenseOutput:
        """Image (B, C, *img_size) -> logits (B, K, *img_size); in training a `DenseOutput` of such."""
        maps = self.features(image)
        logits = self.heads[-1](maps[-1])
        if not self.training:
            return logits
        return DenseOutput(logits, [head(found) for head, found in zip(self.heads[:-1], maps[:-1], strict=True)])
