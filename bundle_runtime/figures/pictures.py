"""What handlers that draw pictures share: which cases, in which epochs, under which names."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.distributed import is_main
from ignite.engine import Events
from monai.engines.workflow import Workflow

from ..data.schema import Item
from ..files import file_name, short_name
from ..scores.collect import each_case


class CasePictures(ABC):
    """Draws cases of a validation, an evaluation or an inference; attach to the evaluator.

    Where the output item holds a "score" (see `CaseHandler`, which goes before) these are the worst and the best, in
    equal parts, else the first ones.

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
        self.keep = keep
        self._drawn: list[tuple[float, Path]] = []  # the score of each

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        if self.interval > 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._restart)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _restart(self, engine: Workflow) -> None:
        self._drawn = []

    def _draw(self, engine: Workflow) -> None:
        if not is_main() or engine.state.epoch % self.interval:
            return
        each_case(engine, self, partial(self._draw_case, engine.state.epoch if self.epochs else None), "drawn")

    def _draw_case(self, epoch: int | None, item: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        case = str(item.get("case") or len(self._drawn))
        drawn = self._takes(picture_path(self.folder, case, epoch), result.get("score"))
        if drawn is not None or self.keep:
            self._picture(item, result, drawn, case if epoch is None else f"{case}, epoch {epoch}")

    def _takes(self, path: Path, score: float | None) -> Path | None:
        """The path if the case is drawn; then the picture of the one whose place it takes is removed."""
        if len(self._drawn) >= self.cases and (score is None or not self.cases):
            return None
        self._drawn.append((0.5 if score is None else score, path))  # of which nothing is scored is neither
        if len(self._drawn) <= self.cases:
            return path
        self._drawn.sort(key=lambda entry: entry[0])
        _, left_out = self._drawn.pop((self.cases + 1) // 2)  # neither among the worst half nor among the best
        if left_out == path:
            return None
        left_out.unlink(missing_ok=True)
        return path

    @abstractmethod
    def _picture(self, item: Mapping[str, Any], result: Mapping[str, Any], path: Path | None, title: str) -> None:
        """Draw one case, an entry of the batch and of the output; without a path, only `keep` it."""


def picture_path(folder: Path, case: str, epoch: int | None = None) -> Path:
    """The PNG file of a case, in a folder that is there then."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{'' if epoch is None else f'epoch_{epoch:05d}_'}{short_name(file_name(case))}.png"


def listed_path(folder: Path, items: Sequence[Item], index: int) -> Path:
    """The PNG file of an item of a list, which begins with its place in it."""
    return picture_path(folder, f"{index:0{len(str(len(items) - 1))}d}_{items[index].get('case', index)}")


def array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor on any device, with metadata or without, as an array of float32."""
    return tensor.detach().as_subclass(torch.Tensor).float().cpu().numpy()
