"""After each refresh of the attention maps: what they make of a few training images."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.attention_maps import AttentionMaps
from custom_components.augment import Pipeline
from custom_components.distributed import is_main
from custom_components.masking import split_order, weighted_order
from ignite.engine import Events
from matplotlib.figure import Figure
from monai.engines.workflow import Workflow

from ..data.image_dataset import ImageDataset
from ..data.subset import evenly
from .panels import COLOURS, HIDDEN, Montage, picture_pixels

_TINTS = {"masked": (*COLOURS[1][:3], 0.6), "thrown": (*HIDDEN, 0.9)}
_MEANING = {
    "masked": "masked: hidden, to be predicted",
    "thrown": "thrown away: neither seen nor predicted",
    "visible": "visible: what the encoder sees",
}


class SplitPictures:
    """Draws picture, attention map and one split into masked, thrown and visible patches; attach to the trainer.

    It draws in epochs before which `RefreshAttention`, which must stand before it in the list, has refreshed the maps.
    The images are whole ones, spread evenly over the training list, where training takes crops; the split is one of
    those that the map makes likely, drawn by a fixed seed. File: `<folder>/attention_epoch_<epoch>.png`.

    Args:
        maps: of the data set.
        dataset: the training images, in the order of the maps.
        pipeline: what brings a whole image to the network's size, without random numbers.
        ratios: shares of masked and of thrown patches.
        folder: Where the PNG files go.
        count: Number of images.
        seed: Of the split.
        pixels: `mean` and `std` by which the pipeline normalises.
    """

    def __init__(
        self,
        maps: AttentionMaps,
        dataset: ImageDataset,
        pipeline: Pipeline,
        ratios: Sequence[float],
        folder: str | os.PathLike[str],
        count: int = 3,
        seed: int = 0,
        pixels: Mapping[str, Any] | None = None,
    ) -> None:
        self.maps, self.dataset, self.pipeline, self.folder = maps, dataset, pipeline, Path(folder)
        self.mask_ratio, self.throw_ratio = ratios
        self.positions, self.seed, self.pixels = evenly(len(dataset), count), seed, dict(pixels or {})

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._draw)

    def _draw(self, engine: Workflow) -> None:
        epoch = engine.state.epoch
        if not is_main() or self.maps.epoch != epoch or not self.positions:
            return
        images = self.pipeline(self.dataset.cache.rows(self.positions))
        maps = self.maps.values[self.positions].cpu()  # B gh gw
        weights = maps.flatten(1)
        noise = torch.rand(weights.shape, generator=torch.Generator().manual_seed(self.seed))
        split = split_order(weighted_order(weights, noise), self.mask_ratio, self.throw_ratio)
        parts = torch.zeros_like(weights)  # 0 visible, 1 masked, 2 thrown
        parts = parts.scatter(1, split.masked, 1).scatter(1, split.thrown, 2).reshape(maps.shape)
        split_figure(
            [picture_pixels(image.numpy(), **self.pixels) for image in images],
            maps.numpy(),
            parts.numpy().astype(int),
            [str(self.dataset.data[position].get("case", position)) for position in self.positions],
            self.folder / f"attention_epoch_{epoch:05d}.png",
            f"Maps refreshed before epoch {epoch}, and how they may split the patches",
        )


def split_figure(
    pictures: Sequence[np.ndarray],
    maps: np.ndarray,
    parts: np.ndarray,
    names: Sequence[str],
    path: str | Path,
    title: str = "",
) -> Figure:
    """Draw a row for each of B pictures (H, W, 3) from 0 to 1: the picture, its map, its split.

    Args:
        pictures: each (H, W, 3).
        maps: (B, gh, gw); the largest value of each is drawn brightest, 0 darkest.
        parts: (B, gh, gw), 0 where a patch is visible, 1 masked, 2 thrown away.
        names: what the pictures are called.
        path: PNG file.
        title: stands above the panels.
    """
    size = pictures[0].shape[1::-1]
    titles = []
    for name, split in zip(names, parts, strict=True):
        said = ", ".join(f"{(split == part).sum()} {word}" for part, word in zip((1, 2, 0), _MEANING, strict=True))
        titles.append((name, "class token's attention: bright = much", said))
    montage = Montage([[size] * 3] * len(pictures), title, titles)
    for row, picture, weights, split in zip(montage.panels, pictures, maps, parts, strict=True):
        for panel in row:
            panel.show(picture)
        row[1].show(weights, cmap="inferno", vmin=0, vmax=max(weights.max(), 1e-6), alpha=0.6)
        row[2].tint([(split == part, _TINTS[word]) for part, word in ((1, "masked"), (2, "thrown"))])
    return montage.save(path, {text: _TINTS.get(word, (1, 1, 1))[:3] for word, text in _MEANING.items()})
