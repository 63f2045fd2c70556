"""A ViT classifier that leaves out tokens: drawn by attention maps in training, chosen on the way in inference."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError, one_of, within
from ..masking import attention_weights, hidden_count, shared_rand, weighted_order
from .classifier import ViTClassifier
from .vit import ViT, gather_rows, patchify

HEADS = ("cls", "pool")
TRAIN_TOKENS = ("sampled", "kept", "all")
EVAL_TOKENS = ("all", "kept")
KEEP = ("high", "low", "sample")
MAP_SOURCES = ("early_block", "low_resolution")


class TokenClassifier(ViTClassifier):
    """Classifier of MSMAE (arXiv 2305.05871), and with `kept` one that is cheaper to run as well.

    Three ways through the network:

    - all: every patch.
    - sampled (training only): patches are drawn in proportion to weights and the first `drop_ratio` of them are left
      out from the start, so that the last ones, which matter least, are encoded: 49 of 196 at 0.75. The weights come
      from `AttentionMaps`; without any the draw is uniform. That is how MSMAE fine-tunes, and it evaluates on all.
    - kept: the network itself chooses `keep_ratio` of the patches, at a small cost. "early_block": blocks before
      `select_block` see all patches, the class token's attention in that block chooses, the blocks from there on see
      only what was kept (as EViT, arXiv 2202.07800, without its fusion). "low_resolution": a pass over the image at
      half its size chooses, and all blocks see only what was kept.

    Args:
        encoder: the ViT; it becomes the part `vit`.
        num_classes: outputs K.
        head: "cls" (the class token, whose attention the labels then train) or "pool" (mean of the patch tokens, then
            the norm, as the released code has it: the class token of the last block then learns nothing).
        train_tokens: "sampled", "kept" or "all".
        eval_tokens: "all" or "kept".
        drop_ratio: share of the patches that "sampled" leaves out.
        keep_ratio: share of the patches that "kept" keeps, rounded up.
        keep: which ones: "high" (most attended, the same ones every time), "low", or "sample": drawn in proportion to
            the attention, from PyTorch's random state (not for TorchScript).
        map_source: "early_block" or "low_resolution".
        select_block: blocks that see all patches, for "early_block".
        head_init_std: see `ViTClassifier`.

    Raises:
        InputError: an unknown word, a ratio or block out of range, no class token, or a patch grid that cannot be
            halved for "low_resolution".
    """

    def __init__(
        self,
        encoder: ViT,
        num_classes: int,
        *,
        head: str = "cls",
        train_tokens: str = "sampled",
        eval_tokens: str = "all",
        drop_ratio: float = 0.75,
        keep_ratio: float = 0.35,
        keep: str = "high",
        map_source: str = "early_block",
        select_block: int = 2,
        head_init_std: float | None = None,
    ) -> None:
        for name, value, allowed in (("head", head, HEADS), ("train_tokens", train_tokens, TRAIN_TOKENS)):
            one_of(name, value, allowed)
        within("drop_ratio", drop_ratio, "(0, 1)")
        pooled = head == "pool"
        super().__init__(
            encoder, num_classes, pool="mean" if pooled else "cls", norm_after_pool=pooled, head_init_std=head_init_std
        )
        self.train_tokens, self.drop_ratio = train_tokens, drop_ratio
        self.patches, self.depth = math.prod(self.vit.grid), len(self.vit.blocks)
        self.patch_list = list(self.vit.patch_size)
        self.set_tokens(eval_tokens, keep_ratio, keep, map_source, select_block)

    @torch.jit.unused
    def set_tokens(
        self,
        eval_tokens: str = "kept",
        keep_ratio: float = 0.35,
        keep: str = "high",
        map_source: str = "early_block",
        select_block: int = 2,
    ) -> None:
        """Say which tokens are used from now on, with the weights as they are; arguments and errors as of the class."""
        one_of("eval_tokens", eval_tokens, EVAL_TOKENS)
        one_of("keep", keep, KEEP)
        one_of("map_source", map_source, MAP_SOURCES)
        within("keep_ratio", keep_ratio, "(0, 1]")
        if "kept" in (self.train_tokens, eval_tokens):
            self._check_kept(map_source, select_block)
        self.eval_tokens, self.keep, self.map_source, self.select_block = eval_tokens, keep, map_source, select_block
        self.kept = max(1, math.ceil(self.patches * keep_ratio - 1e-6))

    def _check_kept(self, map_source: str, select_block: int) -> None:
        if not 0 <= select_block < self.depth:
            raise InputError(f"select_block is {select_block}; it must be from 0 to {self.depth - 1}, the last block.")
        if not self.vit.class_token:
            raise InputError("Tokens are chosen by the class token's attention; set class_token: true.")
        if map_source == "low_resolution" and (len(self.vit.grid) != 2 or any(size % 2 for size in self.vit.grid)):
            raise InputError(
                f"map_source is low_resolution, and the patch grid {list(self.vit.grid)} cannot be halved in two axes; "
                "take an img_size that is a multiple of twice the patch_size, or map_source: early_block."
            )

    def features(self, image: Tensor, weights: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """What the head sees: (B, C, *S) -> (B, D); see `forward`."""
        way = self.train_tokens if self.training else self.eval_tokens
        if way == "sampled":
            x = self._sampled(image, weights, noise)
        elif way == "kept":
            x = self._kept(image, noise)
        else:
            x = self._encode(image, None)
        first = 1 if self.vit.class_token else 0
        return self.vit.norm(x[:, 0] if self.pool == "cls" else x[:, first:].mean(dim=1))

    def forward(self, image: Tensor, weights: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Classify.

        Args:
            image: (B, C, *img_size).
            weights: (B, N) how much each patch matters, for "sampled"; None is uniform.
            noise: (B, N) uniform numbers for the draw; drawn on the image's device when None.

        Returns:
            Logits (B, K).
        """
        return self.head(self.features(image, weights, noise))

    def choose(self, weights: Tensor, noise: Tensor | None = None) -> Tensor:
        """Patches that "kept" keeps, (B, N) weights -> (B, kept) indices."""
        if self.keep == "sample":
            return weighted_order(weights, self._noise(weights, noise))[:, : self.kept]
        return weights.topk(self.kept, dim=1, largest=self.keep == "high").indices

    @torch.jit.unused
    def kept_patches(self, image: Tensor) -> Tensor | None:
        """The patches that an evaluation of these images uses, (B, C, *img_size) -> (B, kept) indices.

        None where it uses all of them, and for `keep: sample`, which draws anew each time.
        """
        if self.eval_tokens == "all" or self.keep == "sample":
            return None
        if self.map_source == "low_resolution":
            return self.choose(self._coarse_weights(image))
        return self._until_choice(image, None)[1]

    def _encode(self, image: Tensor, keep: Tensor | None) -> Tensor:
        """Tokens (B, [1 +] K, D) before the final norm."""
        return self.vit(image, keep, [self.depth - 1]).hidden_states[0]

    @torch.jit.unused
    def _noise(self, like: Tensor, noise: Tensor | None) -> Tensor:
        return noise if noise is not None else shared_rand(like.shape[0], self.patches, like.device)

    @torch.jit.unused
    def _sampled(self, image: Tensor, weights: Tensor | None, noise: Tensor | None) -> Tensor:
        noise = self._noise(image, noise)
        order = weighted_order(torch.ones_like(noise) if weights is None else weights, noise)
        return self._encode(image, order[:, hidden_count(self.patches, self.drop_ratio) :])

    def _kept(self, image: Tensor, noise: Tensor | None) -> Tensor:
        """Tokens (B, 1 + kept, D) before the final norm."""
        if self.map_source == "low_resolution":
            with torch.no_grad():  # a choice has no gradient
                kept = self.choose(self._coarse_weights(image), noise)
            return self._encode(image, kept)
        x, kept = self._until_choice(image, noise)
        x = torch.cat([x[:, :1], gather_rows(x[:, 1:], kept)], dim=1)
        for i, block in enumerate(self.vit.blocks):
            if i >= self.select_block:
                x = self.vit._checkpointed(i, x) if self.vit.use_checkpoint and self.training else block(x)
        return x

    def _until_choice(self, image: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """All tokens (B, 1 + N, D) in front of the block whose attention chooses, and its choice (B, kept)."""
        x = self._with_class(self.vit.patch_embedding(image))
        kept = torch.zeros(0, dtype=torch.long)
        for i, block in enumerate(self.vit.blocks):  # an index that is no constant cannot be exported
            if i < self.select_block:
                x = self.vit._checkpointed(i, x) if self.vit.use_checkpoint and self.training else block(x)
            elif i == self.select_block:
                kept = self.choose(attention_weights(block.class_attention(x)[:, :, 1:]), noise)  # type: ignore[operator]
        return x, kept

    def _with_class(self, x: Tensor) -> Tensor:
        return torch.cat([self.vit.cls_token.expand(x.shape[0], -1, -1), x], dim=1)

    def _coarse_weights(self, image: Tensor) -> Tensor:
        """Attention of the last block in a pass over the image at half its size, spread to all patches: (B, N)."""
        embedding, height, width = self.vit.patch_embedding, self.vit.grid[0], self.vit.grid[1]
        small = F.avg_pool2d(image, 2)
        # Positions of the large patches: midway between those of the four small ones each covers.
        table = embedding.position_embeddings.reshape(1, height, width, -1).permute(0, 3, 1, 2)
        positions = F.avg_pool2d(table, 2).flatten(2).transpose(1, 2)
        weight, bias = embedding.patch_embeddings.weight.flatten(1), embedding.patch_embeddings.bias
        x = self._with_class(F.linear(patchify(small, self.patch_list), weight, bias) + positions)
        coarse = x[:, 1:, 0]
        for i, block in enumerate(self.vit.blocks):
            if i + 1 < self.depth:
                x = block(x)
            else:
                coarse = attention_weights(block.class_attention(x)[:, :, 1:])  # type: ignore[operator]
        maps = coarse.reshape(-1, 1, height // 2, width // 2)
        return F.interpolate(maps, size=[height, width], mode="bilinear", align_corners=False).flatten(1)
