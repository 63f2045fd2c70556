"""The asymmetric masked autoencoder of MAE (arXiv 2111.06377) for 2D and 3D images, and what it minimises."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, within
from ..masking import find_strategy, hidden_count, shared_rand, visible_and_hidden
from .vit import (
    FIXED_TABLES,
    VARIANCES,
    Block,
    ViT,
    gather_rows,
    init_transformer,
    patch_statistics,
    patchify,
    position_table,
    unpatchify,
)


class MAEOutput(NamedTuple):
    """What a `MaskedAutoencoder` returns for M scored patches of P = C * prod(patch_size) values.

    Attributes:
        pred: (B, M, P) prediction.
        target: (B, M, P) what it should be, float32, normalised per patch if `norm_pix_loss`.
        hidden: (B, M) int64 indices of those patches.
    """

    pred: Tensor
    target: Tensor
    hidden: Tensor


class MaskedAutoencoder(nn.Module):
    """Encoder on the visible patches, light decoder on visible and mask tokens, pixels of hidden patches predicted.

    Args:
        encoder: the ViT, 2D or 3D, with a fixed position table (`vit.FIXED_TABLES`), which is the decoder's too;
            it becomes the part `encoder`.
        decoder_size: decoder width (384 in 3D and 256 in 2D in SelfMedMAE).
        decoder_layers: decoder depth.
        decoder_heads: decoder heads.
        mask_ratio: fraction of patches hidden from the encoder.
        mask_strategy: which ones, a name in `masking.STRATEGIES`: "random", or "block" for contiguous boxes.
        predict_ratio: fraction of the hidden patches that the decoder sees and the loss scores; below 1 each step is
            cheaper and, the choice being random, the loss stays unbiased.
        norm_pix_loss: predict each patch after removing its own mean and standard deviation.
        norm_pix_per_channel: take these of each channel (MRI sequence) of the patch by itself, so that all weigh the
            same in the loss; False takes them of all channels together, as SelfMedMAE does: a sequence that is flat
            within the patch then counts for little. Nothing without `norm_pix_loss`.
        norm_pix_variance: of these values, see `patches.patch_statistics`.
        decoder_embed_bias: the map from encoder to decoder has a bias.

    Raises:
        InputError: a ratio is out of range, or an option is unknown.
    """

    def __init__(
        self,
        encoder: ViT,
        *,
        decoder_size: int = 384,
        decoder_layers: int = 8,
        decoder_heads: int = 12,
        mask_ratio: float = 0.75,
        mask_strategy: str = "random",
        predict_ratio: float = 1.0,
        norm_pix_loss: bool = True,
        norm_pix_per_channel: bool = False,
        norm_pix_variance: str = "population",
        decoder_embed_bias: bool = True,
    ) -> None:
        super().__init__()
        within("predict_ratio", predict_ratio, "(0, 1]")
        if encoder.pos_embed_type not in FIXED_TABLES:
            raise InputError(
                f"pos_embed_type of the autoencoder is {encoder.pos_embed_type!r}; "
                f"choose one of {', '.join(FIXED_TABLES)}."
            )
        self.mask_ratio, self.predict_ratio, self.norm_pix_loss = mask_ratio, predict_ratio, norm_pix_loss
        if norm_pix_variance not in VARIANCES:
            raise InputError(f"norm_pix_variance is {norm_pix_variance!r}; choose one of {', '.join(VARIANCES)}.")
        self.norm_pix_variance = norm_pix_variance
        self._order = find_strategy(mask_strategy)
        self._norm_groups = encoder.in_channels if norm_pix_per_channel else 1
        self.encoder = encoder
        self.patch_size, self.grid = list(self.encoder.patch_size), list(self.encoder.grid)
        hidden_count(math.prod(self.grid), mask_ratio)  # refuses a ratio that hides nothing or all
        patch_length = encoder.in_channels * math.prod(self.patch_size)

        self.decoder_embed = nn.Linear(encoder.hidden_size, decoder_size, bias=decoder_embed_bias)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_size).normal_(std=0.02))
        table = position_table(encoder.pos_embed_type, self.grid, decoder_size)
        self.decoder_position_embeddings = nn.Parameter(table, requires_grad=False)
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_size, 4 * decoder_size, decoder_heads, True, 0.0, encoder.norm_eps)
            for _ in range(decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(decoder_size, eps=encoder.norm_eps)
        self.decoder_pred = nn.Linear(decoder_size, patch_length)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_pred):
            init_transformer(part)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> MAEOutput:
        """Mask, encode the visible patches, predict the hidden ones.

        Args:
            image: (B, C, *img_size).
            noise: (B, N) uniform numbers that decide the mask; drawn on the image's device when None.
        """
        visible, hidden = self.split(image, noise)
        tokens = self.encoder(image, keep=visible).tokens  # the others are not even embedded
        return MAEOutput(self.decode(tokens, visible, hidden), self.target(image, hidden), hidden)

    def split(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Indices of the visible (B, V) and of the hidden, scored patches (B, M); the arguments are `forward`'s."""
        if noise is None:
            noise = shared_rand(image.shape[0], self.encoder.patch_embedding.position_embeddings.shape[1], image.device)
        visible, hidden = visible_and_hidden(self._order(noise, self.mask_ratio, self.grid), self.mask_ratio)
        if self.predict_ratio < 1.0:
            # By their noise: the share has to be a random one, whatever order the strategy gives them.
            hidden = hidden.gather(1, noise.gather(1, hidden).argsort(dim=1, stable=True))
            hidden = hidden[:, : max(1, round(hidden.shape[1] * self.predict_ratio))]
        return visible, hidden

    def decode(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Predict the hidden patches.

        Args:
            tokens: (B, [1 +] V, D) encoder output.
            visible: (B, V) indices of the encoded patches.
            hidden: (B, M) indices of the patches to predict.

        Returns:
            (B, M, P).
        """
        # Nothing reads what the last block makes of the other tokens.
        return self.decoder_pred(self.decoder_features(tokens, visible, hidden, hidden.shape[1]))

    def decoder_features(self, tokens: Tensor, visible: Tensor, hidden: Tensor, rows: int) -> Tensor:
        """Run the decoder up to its final norm; the arguments are those of `decode`.

        Tokens stay in the order [class, visible, hidden]: attention does not depend on order, so only the positions
        have to follow, and nothing is put back in place.

        Args:
            tokens: (B, [1 +] V, D) encoder output.
            visible: (B, V) indices of the encoded patches.
            hidden: (B, M) indices of the patches to predict.
            rows: how many of the last tokens are wanted: M for the hidden ones, V + M for all patches.

        Returns:
            (B, rows, decoder_size) after the norm.
        """
        x = self.decoder_embed(tokens)
        positions = self.decoder_position_embeddings.expand(x.shape[0], -1, -1)
        class_part, x = x[:, : -visible.shape[1]], x[:, -visible.shape[1] :]  # the class part may be empty
        x = x + gather_rows(positions, visible)
        mask_tokens = self.mask_token + gather_rows(positions, hidden)
        x = torch.cat([class_part, x, mask_tokens.to(x.dtype)], dim=1)
        *blocks, last = self.decoder_blocks
        for block in blocks:
            x = block(x)
        return self.decoder_norm(last.last_rows(x, rows))  # type: ignore[operator]

    def target(self, image: Tensor, hidden: Tensor) -> Tensor:
        """The hidden patches as the loss sees them: (B, C, *S), (B, M) -> (B, M, P) float32."""
        patches = gather_rows(patchify(image, self.patch_size), hidden).float()
        if not self.norm_pix_loss:
            return patches
        groups, mean, std = self._statistics(patches)
        return ((groups - mean) / std).flatten(2)

    def _statistics(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches (B, M, P) as groups of values normalised together (B, M, G, P / G), and their mean and deviation."""
        groups = patches.unflatten(2, (self._norm_groups, -1))  # vectors are channel-first: a group is a channel
        return groups, *patch_statistics(groups, self.norm_pix_variance)

    @torch.no_grad()
    def reconstruct(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Fill the hidden patches of an image, for pictures.

        A model trained on normalised patches predicts structure, not brightness: its patches are shown with the mean
        and spread of the true ones (the same statistics that normalised the target).

        Returns:
            The image with hidden patches predicted (B, C, *S), and the mask (B, 1, *S), 1 where hidden.
        """
        output = self(image, noise)
        patches = patchify(image, self.patch_size).float()
        pred = output.pred.float()
        if self.norm_pix_loss:
            _, mean, std = self._statistics(gather_rows(patches, output.hidden))
            pred = (pred.unflatten(2, (self._norm_groups, -1)) * std + mean).flatten(2)
        index = output.hidden.unsqueeze(-1)
        filled = patches.scatter(1, index.expand_as(pred), pred)
        mask = torch.zeros_like(patches).scatter(1, index.expand_as(pred), torch.ones_like(pred))
        return (unpatchify(filled, self.patch_size, self.grid), unpatchify(mask, self.patch_size, self.grid)[:, :1])


class ReconstructionLoss(nn.Module):
    """Mean squared error over hidden patches only (MAE, arXiv 2111.06377, section 3), computed in float32.

    Takes the output of `MaskedAutoencoder`, which already holds the hidden patches' targets. The second argument is
    what a trainer passes as the target and is not used.
    """

    def forward(self, output: tuple[Tensor, Tensor, Tensor], target: object = None) -> Tensor:
        """(pred (B, M, P), target (B, M, P), indices) -> scalar."""
        return F.mse_loss(output[0].float(), output[1].float())
