"""What a trainer hands to the network and the loss: MONAI `PrepareBatch` classes, and flip-averaged inference."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from custom_components.attention_maps import AttentionMaps
from custom_components.augment import Mix, Pipeline


class ImageBatch(PrepareBatch):
    """For self-supervised training: the image alone, no target."""

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """Return the image (B, C, *S) on the device, and None."""
        return batchdata["image"].to(device, non_blocking=non_blocking), None


class SegmentationBatch(PrepareBatch):
    """For segmentation with partly labelled cases: the image, and a dict of label map and unlabelled classes."""

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return image (B, C, *S) and {"label": (B, 1, *S), "unlabelled": (B, classes) bool} on the device."""
        image, label, unlabelled = (
            batchdata[key].to(device, non_blocking=non_blocking) for key in ("image", "label", "unlabelled")
        )
        return image, {"label": label, "unlabelled": unlabelled}


class PictureBatch(PrepareBatch):
    """For 2D images from an `ImageDataset`: moved as bytes, changed and normalised on the device.

    Args:
        pipeline: what happens to the images; it reads the first columns of the batch's random numbers, which stay in
            host memory, so that nothing waits for the device.
        mix: what happens to images and labels together (mixup, cutmix); it reads the columns behind.
    """

    def __init__(self, pipeline: Pipeline, mix: Mix | None = None) -> None:
        self.pipeline, self.mix = pipeline, mix

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the images (B, C, H, W) float32 and the labels, or None, on the device."""
        random, draws = batchdata["random"], self.pipeline.draws
        image = self.pipeline(batchdata["image"].to(device, non_blocking=non_blocking), random[:, :draws])
        label = batchdata.get("label")
        if label is not None:
            label = label.to(device, non_blocking=non_blocking)
            if self.mix is not None:
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
        pipeline.region(torch.zeros(1, pipeline.draws), (64, 64))  # before the training, not when masking begins
        self.maps = maps

    def __call__(  # type: ignore[override]
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, tuple[()], dict[str, Tensor | None]]:
        """Return images and labels, and as MONAI's engines take further arguments of a network: (), {"weights": ...}.

        Weights are (B, N) for N patches, cropped and mirrored as the images are, or None (see `AttentionMaps.batch`).
        """
        image, label = super().__call__(batchdata, device, non_blocking, **kwargs)
        height, width = batchdata["image"].shape[2:]
        region = self.pipeline.region(batchdata["random"][:, : self.pipeline.draws], (height, width))
        return image, label, (), {"weights": self.maps.batch(batchdata["index"], region)}


class FlipSlidingWindowInferer(SlidingWindowInferer):
    """Sliding-window inference, optionally averaged over mirrored copies of the volume.

    Args:
        flip_axes: spatial axes (0, 1, 2); each adds one mirrored pass. Empty means plain sliding windows. Averaging is
            of logits. Mirroring left and right is only meant for networks trained with such flips.
        **kwargs: those of `SlidingWindowInferer`.
    """

    def __init__(self, flip_axes: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
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
