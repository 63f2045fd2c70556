"""What a trainer hands to the network and the loss: MONAI `PrepareBatch` classes, and two ways of inference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.engines import PrepareBatch
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep
from torch import Tensor
from torch.nn import functional as F

from custom_components.errors import InputError

if TYPE_CHECKING:  # a training on volumes needs none of these
    from custom_components.attention_maps import AttentionMaps
    from custom_components.augment import Mix, Pipeline

BLENDS = ("gaussian", "constant")


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


class PictureBatch(Batch):
    """For 2D images from an `ImageDataset`: moved as bytes, changed and normalised on the device.

    Args:
        pipeline: what happens to the images; it reads the first columns of the batch's random numbers, which stay in
            host memory, so that nothing waits for the device.
        mix: what happens to images and labels together (mixup, cutmix); it reads the columns behind.
    """

    def __init__(self, pipeline: Pipeline, mix: Mix | None = None) -> None:
        self.pipeline, self.mix = pipeline, mix

    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple:
        """Return the images (B, C, H, W) float32 and the labels, or None."""
        random, draws = batch["random"], self.pipeline.draws
        image = self.pipeline(move("image"), random[:, :draws])
        label = move("label") if "label" in batch else None
        if label is not None and self.mix is not None:
            image, label = self.mix(image, label, random[:, draws:])
        return image, label


class MappedPictureBatch(PictureBatch):
    """A `PictureBatch` that also hands the network how much each patch matters.

    Args:
        pipeline: as for `PictureBatch`.
        maps: of the images; "index" of the batch picks the rows.

    Raises:
        InputError: a step of the pipeline turns images, which maps cannot follow.
    """

    def __init__(self, pipeline: Pipeline, maps: AttentionMaps) -> None:
        super().__init__(pipeline)
        pipeline.extent(torch.zeros(1, pipeline.draws), (64, 64))  # before the training, not when masking begins
        self.maps = maps

    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple:
        """Return images and labels, and as MONAI's engines take further arguments of a network: (), {"weights": ...}.

        Weights are (B, N) for N patches, cropped and mirrored as the images are, or None (see `AttentionMaps.batch`).
        """
        height, width = batch["image"].shape[2:]
        region = self.pipeline.extent(batch["random"][:, : self.pipeline.draws], (height, width))
        return *super().prepare(batch, move), (), {"weights": self.maps.batch(batch["index"], region)}


class MaskedPictureBatch(Batch):
    """Pictures are moved as bytes, changed and normalised on the device; their masks come along.

    Args:
        pipeline: what happens to the pictures, nothing that moves pixels; it reads the batch's "random" numbers, which
            stay in host memory.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def prepare(self, batch: dict[str, Tensor], move: Move) -> tuple:
        """Return images (B, C, H, W) float32 and the label (B, 1, H, W), with "border" a dict of both, or None."""
        image = self.pipeline(move("image"), batch.get("random"))
        maps = {key: move(key) for key in ("label", "border") if key in batch}
        return image, maps if len(maps) > 1 else maps.get("label")


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
        if mode not in BLENDS:
            raise InputError(f"blend is {mode!r}; choose one of {', '.join(BLENDS)}.")
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
