"""Batches of pictures: moved as bytes, changed and normalised on the device."""

import torch
from torch import Tensor

from ..attention_maps import AttentionMaps
from ..augment import Mix, Pipeline
from .step import Batch, Move


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
