"""Two ways of inference: windows with mirrored copies, and the whole picture squashed."""

from collections.abc import Callable, Sequence
from typing import Any

from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep
from torch import Tensor
from torch.nn import functional as F

from ..errors import one_of

BLENDS = ("gaussian", "constant")


class FlipSlidingWindowInferer(SlidingWindowInferer):
    """Sliding-window inference, optionally averaged over mirrored copies of the volume.

    Args:
        flip_axes: spatial axes (0, 1, 2); each adds one mirrored pass. Empty means plain sliding windows. Averaging is
            of logits. Mirroring left and right is only meant for networks trained with such flips.
        mode: how overlapping windows are blended, "gaussian" or "constant".
        **kwargs: the others of `SlidingWindowInferer`.

    Raises:
        InputError: an unknown mode.
    """

    def __init__(self, flip_axes: Sequence[int] = (), mode: str = "constant", **kwargs: Any) -> None:
        one_of("blend", mode, BLENDS)
        super().__init__(mode=mode, **kwargs)
        self.flip_axes = tuple(flip_axes)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """(1, C, *S) -> (1, classes, *S)."""
        total = self._tensor(super().__call__(inputs, network, *args, **kwargs))
        for axis in self.flip_axes:
            flipped = self._tensor(super().__call__(inputs.flip(2 + axis), network, *args, **kwargs))
            total = total + flipped.flip(2 + axis)
        return total / (1 + len(self.flip_axes))

    @staticmethod
    def _tensor(output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(f"The network returned {type(output).__name__}; flip averaging needs one tensor.")
        return output


class WholeImageInferer(Inferer):
    """Squashes the picture to the network's size and brings the logits back to the picture's own.

    Args:
        size: height and width that the network takes.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = ensure_tuple_rep(size, 2)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W), float32."""
        squashed = F.interpolate(inputs, self.size, mode="bilinear", antialias=True, align_corners=False)
        logits = network(squashed, *args, **kwargs).float()
        return F.interpolate(logits, tuple(inputs.shape[2:]), mode="bilinear", align_corners=False)
