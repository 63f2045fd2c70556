"""Vision Transformer with a linear head, for pictures and volumes, one label or several."""

from torch import Tensor, nn

from ..errors import InputError, one_of
from .vit import ViT

POOLS = ("cls", "mean")


class ViTClassifier(nn.Module):
    """Classifier whose encoder `vit` takes masked-autoencoder weights.

    The head sees the class token after the encoder's norm (SelfMedMAE, section 3.3), or the mean of the patch tokens
    after a norm of its own (MAE, arXiv 2111.06377, appendix A). MAE takes the mean before the encoder's norm and throws
    that norm away; here it stays, so that every tensor of a pre-trained encoder has its place and is trained. With
    `norm_after_pool` it has MAE's place: the mean of the tokens before it, then this norm and no other. Whether it
    starts from the pre-trained values or afresh is for `weights.init_network` (`encoder_norm`).

    Args:
        encoder: the ViT, 2D or 3D; it becomes the part `vit`.
        num_classes: outputs K.
        pool: "cls" or "mean".
        norm_after_pool: with "mean": average first, then the encoder's final norm, instead of norm, mean, second norm.
        head_init_std: standard deviation of the head's truncated-normal start (MAE: 2e-5); None starts it as the
            reference code does, Xavier-uniform. The bias starts at 0.

    Raises:
        InputError: an unknown pool, a pool without its token or with a norm that it has not, or fewer than one class.
    """

    def __init__(
        self,
        encoder: ViT,
        num_classes: int,
        *,
        pool: str = "cls",
        norm_after_pool: bool = False,
        head_init_std: float | None = None,
    ) -> None:
        super().__init__()
        one_of("pool", pool, POOLS)
        if pool == "cls" and not encoder.class_token:
            raise InputError("pool is 'cls', but class_token is false; set pool: mean, or class_token: true.")
        if norm_after_pool and pool != "mean":
            raise InputError(f"norm_after_pool is true, but pool is {pool!r}; it is for pool: mean.")
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; name at least one class.")
        self.pool, self.norm_after_pool = pool, norm_after_pool
        self.vit = encoder
        own_norm = pool == "mean" and not norm_after_pool
        self.head_norm = nn.LayerNorm(encoder.hidden_size, eps=encoder.norm_eps) if own_norm else nn.Identity()
        self.head = nn.Linear(encoder.hidden_size, num_classes)
        if head_init_std is None:
            nn.init.xavier_uniform_(self.head.weight)
        else:
            nn.init.trunc_normal_(self.head.weight, std=head_init_std)
        nn.init.zeros_(self.head.bias)

    def features(self, image: Tensor) -> Tensor:
        """What the head sees: (B, C, *S) -> (B, D)."""
        first = 1 if self.vit.class_token else 0
        if self.norm_after_pool:
            tokens = self.vit(image, hidden_states=[self.vit.num_layers - 1]).hidden_states[0]  # before the norm
            return self.vit.norm(tokens[:, first:].mean(dim=1))
        tokens = self.vit(image).tokens
        return tokens[:, 0] if self.pool == "cls" else self.head_norm(tokens[:, first:].mean(dim=1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) -> logits (B, K)."""
        return self.head(self.features(image))
