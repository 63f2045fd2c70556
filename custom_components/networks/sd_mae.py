"""A masked autoencoder whose encoder also learns from its own decoder: SD-MAE (arXiv 2203.16983)."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import one_of
from .masked_autoencoder import MaskedAutoencoder
from .vit import ViT

LEVELS = ("image", "patch")


class SDMAEOutput(NamedTuple):
    """What a `SelfDistillationMAE` returns: the first three entries are those of `MAEOutput`.

    Attributes:
        pred: (B, M, P) prediction of the hidden patches.
        target: (B, M, P) what it should be, float32.
        hidden: (B, M) int64 indices of those patches.
        student: logits from the encoder, (B, K) at level "image", (B, V, K) at level "patch"; None without
            distillation.
        teacher: logits from the decoder, likewise.
    """

    pred: Tensor
    target: Tensor
    hidden: Tensor
    student: Tensor | None
    teacher: Tensor | None


class Projector(nn.Module):
    """Three linear maps with GELU between them, length 1, then cosine similarities with K prototypes.

    The last map is weight-normalised with its gain fixed at 1 and no bias: only the direction of a row of `prototypes`
    counts, so logits lie in [-1, 1]. There is no batch norm, hence samples do not mix and a batch may be split.

    Args:
        in_features: D.
        hidden_size: of the first two maps.
        bottleneck: of the third.
        prototypes: K.
    """

    def __init__(
        self, in_features: int, hidden_size: int = 2048, bottleneck: int = 256, prototypes: int = 4096
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_features, hidden_size), nn.GELU(),
            nn.Linear(hidden_size, hidden_size), nn.GELU(),
            nn.Linear(hidden_size, bottleneck),
        )  # fmt: skip
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        # The released code's start: the maps cut at one standard deviation, the prototypes as PyTorch starts any map.
        # Only their directions count, but AdamW turns a short row sooner.
        nn.init.kaiming_uniform_(self.prototypes, a=math.sqrt(5))
        for name, parameter in self.mlp.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.02, b=0.02)

    def forward(self, tokens: Tensor, average: bool) -> Tensor:
        """(B, V, D) -> logits (B, V, K), or (B, K), their mean over the tokens; float32 whatever the autocast."""
        directions = self.mlp(tokens)
        # In 16 bits a logit is off by 0.004, which a teacher temperature of 0.04 makes 0.1.
        with torch.autocast(tokens.device.type, enabled=False):
            directions = F.normalize(directions.float(), dim=-1)
            if average:  # before the last map, which is linear: the same mean for a V-th of the work
                directions = directions.mean(dim=1)
            return F.linear(directions, F.normalize(self.prototypes.float(), dim=-1))


class SelfDistillationMAE(MaskedAutoencoder):
    """Masked autoencoder that distils its decoder's view of the visible patches into its encoder.

    The student is the encoder's output after its final norm, the teacher the decoder's output of the same visible
    tokens after the decoder's norm; each has a projector of its own. Hidden patches go to the pixels, as in MAE. Train
    it with `distillation.SelfDistillationLoss`.

    By default the teacher is detached and its projector frozen at its random start (and so left out of an optimiser
    that takes `optim.param_groups`). In the released code gradients go through the teacher, which lets both sides agree
    on one constant answer.

    Args:
        encoder: see `MaskedAutoencoder`.
        distil: False leaves the projectors out: a plain masked autoencoder.
        level: "image" averages the logits over the visible tokens, "patch" keeps a row for each.
        teacher_grad: gradients reach the teacher's projector and the decoder.
        prototypes: K, logits of both.
        projector_size: width inside the projectors.
        bottleneck: width before the prototypes.
        decoder_embed_bias: see `MaskedAutoencoder`; the released code has none.
        pixel_std: by what the colours were divided, from the range 0..1. With `norm_pix_variance` "unbiased" of each
            colour, 1e-6 of that range is added to the deviation, not the variance: the targets of the released code.
        **options: further keyword arguments of `MaskedAutoencoder`.

    Raises:
        InputError: an unknown level, or what `MaskedAutoencoder` refuses.
    """

    student_projector: Projector
    teacher_projector: Projector
    _eps: Tensor | None  # (G, 1)

    def __init__(
        self,
        encoder: ViT,
        *,
        distil: bool = True,
        level: str = "image",
        teacher_grad: bool = False,
        prototypes: int = 4096,
        projector_size: int = 2048,
        bottleneck: int = 256,
        decoder_embed_bias: bool = False,
        pixel_std: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(encoder, decoder_embed_bias=decoder_embed_bias, **options)
        one_of("level of the distillation", level, LEVELS)
        self.distil, self.level, self.teacher_grad = distil, level, teacher_grad
        released = pixel_std is not None and self._norm_groups > 1 and self.norm_pix_variance == "unbiased"
        self.register_buffer("_eps", 1e-6 / torch.tensor(pixel_std)[:, None] if released else None, persistent=False)
        if distil:
            self.student_projector = Projector(self.encoder.hidden_size, projector_size, bottleneck, prototypes)
            width = self.decoder_embed.out_features
            self.teacher_projector = Projector(width, projector_size, bottleneck, prototypes)
            self.teacher_projector.requires_grad_(teacher_grad)

    def _statistics(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        groups, mean, std = super()._statistics(patches)
        if self._eps is not None:
            std = groups.std(dim=-1, keepdim=True) + self._eps
        return groups, mean, std

    def forward(self, image: Tensor, noise: Tensor | None = None) -> SDMAEOutput:  # type: ignore[override]
        """Mask, encode the visible patches, decode all, project both views of the visible ones.

        Args:
            image: (B, C, *img_size).
            noise: (B, N) uniform numbers that decide the mask; drawn on the image's device when None.
        """
        if not self.distil:
            return SDMAEOutput(*super().forward(image, noise), None, None)
        visible, hidden = self.split(image, noise)
        shown = visible.shape[1]
        tokens = self.encoder(image, keep=visible).tokens
        decoded = self.decoder_features(tokens, visible, hidden, shown + hidden.shape[1])
        pred = self.decoder_pred(decoded[:, shown:])
        average = self.level == "image"
        student = self.student_projector(tokens[:, -shown:], average)  # without the class token, if there is one
        teacher = decoded[:, :shown]
        teacher = self.teacher_projector(teacher if self.teacher_grad else teacher.detach(), average)
        return SDMAEOutput(pred, self.target(image, hidden), hidden, student, teacher)
