"""What handlers that draw pictures share: which cases, in which epochs, under which names."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.engines.workflow import Workflow

from custom_components.distributed import is_main


class CasePictures(ABC):
    """Draws the first cases of a validation, an evaluation or an inference; attach to the evaluator.

    The engine must hand over lists of dicts (MONAI's `decollate`). Files: `<folder>/epoch_<epoch>_<case>.png`, without
    `epochs` `<folder>/<case>.png`.

    Args:
        folder: Where the PNG files go.
        class_names: Names by class index; index 0 is the background.
        cases: Number of cases.
        interval: Draw in epochs divisible by it (an evaluation is epoch 1); 0 draws none.
        epochs: Whether the epoch stands in titles and file names; False for a network that is no longer trained.
        image_key: Of the image in the batch item.
        pred_key: Of the prediction in the output item.
        keep: Keep image, label and prediction of every case in `<folder>/maps`, for `compare --pictures`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        class_names: Sequence[str],
        cases: int = 2,
        interval: int = 1,
        epochs: bool = True,
        image_key: str = "image",
        pred_key: str = "pred",
        keep: bool = False,
    ) -> None:
        self.folder, self.class_names = Path(folder), list(class_names)
        self.cases, self.interval, self.epochs = cases, int(interval), epochs
        self.image_key, self.pred_key = image_key, pred_key
        self.keep, self._seen = keep, 0

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        if self.interval > 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._restart)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _restart(self, engine: Workflow) -> None:
        self._seen = 0

    def _draw(self, engine: Workflow) -> None:
        if not is_main() or engine.state.epoch % self.interval or (self._seen >= self.cases and not self.keep):
            return
        batch, output = engine.state.batch, engine.state.output
        if not isinstance(batch, list) or not isinstance(output, list):
            raise TypeError(f"{type(self).__name__} needs an evaluator with decollate: true (lists of dicts)")
        for item, result in zip(batch, output, strict=True):
            if self._seen == self.cases and not self.keep:
                return
            case = str(item.get("case") or self._seen)
            title = f"{case}, epoch {engine.state.epoch}" if self.epochs else case
            epoch = engine.state.epoch if self.epochs else None
            drawn = self._seen < self.cases
            self._picture(item, result, picture_path(self.folder, case, epoch) if drawn else None, title)
            self._seen += drawn

    @abstractmethod
    def _picture(self, item: Mapping[str, Any], result: Mapping[str, Any], path: Path | None, title: str) -> None:
        """Draw one case, an entry of the batch and of the output; without a path, only `keep` it."""


def picture_path(folder: Path, case: str, epoch: int | None = None) -> Path:
    """The PNG file of a case, in a folder that is there then."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", case)
    return folder / (f"{name}.png" if epoch is None else f"epoch_{epoch:05d}_{name}.png")


def array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor on any device, with metadata or without, as an array of float32."""
    return tensor.detach().as_subclass(torch.Tensor).float().cpu().numpy()
