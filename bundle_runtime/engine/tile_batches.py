"""What a trainer hands to a network that segments pictures, and inference on pictures of any size."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn import functional as F

from custom_components.augment import Pipeline
from custom_components.augment.step import as_pair


class TileBatch(PrepareBatch):
    """Pictures are moved as bytes, changed and normalised on the device; their masks come along.

    Args:
        pipeline: what happens to the pictures, nothing that moves pixels; it reads the batch's "random" numbers, which
            stay in host memory.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | dict[str, Tensor] | None]:
        """Return images (B, C, H, W) float32 and the label (B, 1, H, W), with "border" a dict of both, or None."""
        image = self.pipeline(batchdata["image"].to(device, non_blocking=non_blocking), batchdata.get("random"))
        maps: dict[str, Tensor] = {
            key: batchdata[key].to(device, non_blocking=non_blocking) for key in ("label", "border") if key in batchdata
        }
        return image, maps if len(maps) > 1 else maps.get("label")


class WholeImageInferer(Inferer):
    """Squashes the picture to the network's size and brings the logits back to the picture's own.

    Args:
        size: height and width that the network takes.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self.size = as_pair(size)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W), float32."""
        squashed = F.interpolate(inputs, self.size, mode="bilinear", antialias=True, align_corners=False)
        logits = network(squashed, *args, **kwargs).float()
        return F.interpolate(logits, tuple(inputs.shape[2:]), mode="bilinear", align_corners=False)
