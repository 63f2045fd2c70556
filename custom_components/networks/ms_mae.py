"""MSMAE: a masked autoencoder that hides what a supervised class token attends to (arXiv 2305.05871)."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from ..errors import InputError, one_of, within
from ..masking import shared_rand, split_counts, split_order, weighted_order
from .masked_autoencoder import MaskedAutoencoder
from .vit import ViT, init_transformer

STRATEGIES = ("attention", "random")


class MSMAEOutput(NamedTuple):
    """What an `MSMAE` returns for M masked patches of P = C * prod(patch_size) values.

    Attributes:
        pred: (B, M, P) prediction.
        target: (B, M, P) what it should be, float32.
        hidden: (B, M) int64 indices of those patches.
        logits: (B, K) classes seen by the class token of the masked image; None without a class head.
    """

    pred: Tensor
    target: Tensor
    hidden: Tensor
    logits: Tensor | None


class MSMAE(MaskedAutoencoder):
    """Masked autoencoder with a class head whose patches are masked, thrown away or visible by weights.

    Without weights it is a plain masked autoencoder at `warmup_mask_ratio` (the paper's warm-up, and the validation):
    147 of 196 patches masked, a decoder of 197 tokens. With weights, patches are drawn in proportion to them: the first
    are masked and predicted, the next thrown away (neither encoded nor decoded), the last visible: 88, 59 and 49, a
    decoder of 138 tokens. Equal weights make that uniform.

    Args:
        encoder: see `MaskedAutoencoder`; it has a class token.
        num_classes: outputs of the class head on the normed class token; 0 leaves it out.
        mask_strategy: "attention": the weights come from attention maps; "random": they are even. The warm-up and the
            validation mask at random.
        mask_ratio: share of the patches that is masked under weights.
        throw_ratio: share of the patches that is thrown away under weights.
        warmup_mask_ratio: share that is masked without weights.
        decoder_size: decoder width.
        decoder_heads: decoder heads.
        norm_pix_loss: predict each patch after removing its own mean and standard deviation; the paper predicts pixels.
        **kwargs: further keyword arguments of `MaskedAutoencoder`.

    Raises:
        InputError: ratios leave no visible patch, an unknown strategy, or there is no class token.
    """

    def __init__(
        self,
        encoder: ViT,
        *,
        num_classes: int = 0,
        mask_strategy: str = "attention",
        mask_ratio: float = 0.45,
        throw_ratio: float = 0.30,
        warmup_mask_ratio: float = 0.75,
        decoder_size: int = 512,
        decoder_heads: int = 16,
        norm_pix_loss: bool = False,
        **kwargs: Any,
    ) -> None:
        one_of("mask_strategy of MSMAE", mask_strategy, STRATEGIES)
        if not encoder.class_token:
            raise InputError("MSMAE needs the class token, whose attention decides the mask; set class_token: true.")
        within("warmup_mask_ratio", warmup_mask_ratio, "(0, 1)")
        super().__init__(
            encoder, mask_ratio=warmup_mask_ratio, decoder_size=decoder_size, decoder_heads=decoder_heads,
            norm_pix_loss=norm_pix_loss, **kwargs,
        )  # fmt: skip
        self.ratios = (mask_ratio, throw_ratio)
        split_counts(self._patches, *self.ratios)  # refuses ratios that leave no visible patch
        self.head: nn.Linear | None = None
        if num_classes:
            self.head = nn.Linear(self.encoder.hidden_size, num_classes)
            init_transformer(self.head)

    @property
    def _patches(self) -> int:
        return int(self.encoder.patch_embedding.position_embeddings.shape[1])

    def forward(  # type: ignore[override]
        self, image: Tensor, noise: Tensor | None = None, weights: Tensor | None = None
    ) -> MSMAEOutput:
        """Hide patches, encode the visible ones, predict the masked ones, classify.

        Args:
            image: (B, C, *img_size).
            noise: (B, N) uniform numbers that decide the draw; drawn on the image's device when None.
            weights: (B, N), 0 or more: how readily each patch is masked; None is the warm-up.
        """
        if weights is None:
            visible, hidden = self.split(image, noise)
        else:
            if noise is None:
                noise = shared_rand(image.shape[0], self._patches, image.device)
            hidden, _, visible = split_order(weighted_order(weights, noise), *self.ratios)
        tokens = self.encoder(image, keep=visible).tokens
        logits = None if self.head is None else self.head(tokens[:, 0])
        return MSMAEOutput(self.decode(tokens, visible, hidden), self.target(image, hidden), hidden, logits)
