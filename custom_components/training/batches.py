"""What a trainer hands to the network and the loss: MONAI `PrepareBatch` classes."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor

Move = Callable[[str], Tensor]


class Batch(PrepareBatch, ABC):
    """MONAI's `PrepareBatch` for a batch that is a dictionary."""

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple:
        """What `prepare` makes of the batch."""
        return self.prepare(batchdata, lambda key: batchdata[key].to(device, non_blocking=non_blocking))

    @abstractmethod
    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple:
        """Return the network's input and the loss's target on the device.

        Args:
            batch: as the data loader gives it, in host memory.
            move: the entry of a key on the device.
        """


class ImageBatch(Batch):
    """For self-supervised training: the image alone, no target."""

    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple[Tensor, None]:
        """Return the image (B, C, *S), and None."""
        return move("image"), None


class SegmentationBatch(Batch):
    """For segmentation with partly labelled cases: the image, and a dict of label map and unlabelled classes."""

    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple[Tensor, dict[str, Tensor]]:
        """Return image (B, C, *S) and {"label": (B, 1, *S), "unlabelled": (B, classes) bool}."""
        return move("image"), {key: move(key) for key in ("label", "unlabelled")}
