"""The probe of pictures while their encoder is pre-trained: a label an image."""

from collections.abc import Sequence
from typing import Any

from custom_components.augment import Pipeline
from custom_components.errors import InputError
from torch import nn
from torch.utils.data import Subset

from ..data.image_dataset import ImageDataset
from ..data.loading import loader as batch_loader
from ..data.subset import evenly
from .features import Array, extract_features
from .online import Probe


class PictureProbe(Probe):
    """The probe of pictures: a label an image.

    Args:
        network: see `Probe`.
        train_dataset: labelled images to train the probe on.
        val_dataset: labelled images to score it on.
        pipeline: of both, without random augmentation.
        task: see `Probe`.
        class_names: see `Probe`.
        max_train: training images that are used, evenly spread over the list.
        batch_size: images at a time.
        pool: "mean" or "cls", see `extract_features`.
        **options: of `Probe`.

    Raises:
        InputError: data sets without labels.
    """

    def __init__(
        self,
        network: nn.Module,
        train_dataset: ImageDataset,
        val_dataset: ImageDataset,
        pipeline: Pipeline,
        task: str,
        class_names: Sequence[str] | None,
        max_train: int = 20000,
        batch_size: int = 64,
        pool: str = "mean",
        **options: Any,
    ) -> None:
        super().__init__(network, task, class_names, **options)
        if self.interval > 0 and (train_dataset.labels is None or val_dataset.labels is None):
            raise InputError("The online probe needs labels: give both data sets a task and class_names.")
        self.pipeline, self.datasets = pipeline, (train_dataset, val_dataset)
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
