"""The probe of pictures while their encoder is pre-trained: a label an image."""

from collections.abc import Sequence
from typing import Any

from custom_components.augment import Pipeline
from torch import nn
from torch.utils.data import Subset

from ..data.image_dataset import ImageDataset, Rows
from ..data.loading import loader as batch_loader
from ..data.subset import evenly
from .features import Array, extract_features
from .online import Probe


class PictureProbe(Probe):
    """The probe of pictures: a label an image.

    Args:
        network: see `Probe`.
        train_images: a cache of labelled images to train the probe on.
        val_images: one of those to score it on.
        pipeline: of both, without random augmentation.
        task: see `Probe`.
        class_names: see `Probe`.
        max_train: training images that are used, evenly spread over the list.
        batch_size: images at a time.
        pool: "mean" or "cls", see `extract_features`.
        **options: of `Probe`.

    Raises:
        InputError: an image without a label that suits the task.
    """

    def __init__(
        self,
        network: nn.Module,
        train_images: Rows,
        val_images: Rows,
        pipeline: Pipeline,
        task: str,
        class_names: Sequence[str] | None,
        max_train: int = 20000,
        batch_size: int = 64,
        pool: str = "mean",
        **options: Any,
    ) -> None:
        super().__init__(network, task, class_names, **options)
        labelled = (class_names, task if self.interval > 0 else None)
        self.pipeline = pipeline
        self.datasets = ImageDataset(train_images, *labelled), ImageDataset(val_images, *labelled)
        self.max_train, self.batch_size, self.pool = max_train, batch_size, pool

    def features(self, network: nn.Module) -> tuple[Array, Array, Array, Array]:
        """Of images."""
        parts: list[Array] = []
        for dataset, most in zip(self.datasets, (self.max_train, None), strict=True):
            some = None if most is None or most >= len(dataset) else evenly(len(dataset), most)
            part = dataset if some is None else Subset(dataset, some)
            loader = batch_loader(part, self.batch_size)
            parts += extract_features(network, loader, self.pipeline, self.device, self.pool)[:2]
        return parts[0], parts[1], parts[2], parts[3]
