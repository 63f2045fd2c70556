"""A network over all tiles of slides, and the tables that come of it."""

import csv
from pathlib import Path
from typing import Any

import torch
from bundle_runtime.data.inference import CaseLoader
from bundle_runtime.slides.stream import SlideInputs, SlideTiles
from custom_components.augment import Pipeline
from custom_components.training.picture_batches import PictureBatch
from monai.engines import SupervisedEvaluator
from torch import nn


def evaluate(slides: SlideInputs, network: nn.Module, report: Any) -> None:
    """Run the network, 20 tiles at a time, with one handler."""
    SupervisedEvaluator(
        torch.device("cpu"), CaseLoader(SlideTiles(slides, 20), batched=True), network, decollate=False,
        val_handlers=[report], prepare_batch=PictureBatch(Pipeline([])), iteration_update=slides.iteration,
    ).run()  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    """The lines of a table."""
    with path.open() as stream:
        return list(csv.DictReader(stream))
