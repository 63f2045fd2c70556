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
from matplotlib.patches import Patch
from monai.engines.workflow import Workflow

from ..data.image_dataset import ImageDataset
from ..data.subset import evenly
from .panels import COLOURS, HIDDEN, panel_grid, picture_pixels, save_figure, tints

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
    height, width = pictures[0].shape[:2]
    figure, grid = panel_grid([width] * 3, [height] * len(pictures), title, legend=True)
    for row, picture, weights, split, name in zip(grid, pictures, maps, parts, names, strict=True):
        for axes in row:
            axes.imshow(picture)
            axes.set_axis_off()
        row[0].set_title(name, fontsize=9)
        place = (-0.5, width - 0.5, height - 0.5, -0.5)
        row[1].imshow(weights, cmap="inferno", vmin=0, vmax=max(weights.max(), 1e-6), alpha=0.6, extent=place)
        row[1].set_title("class token's attention: bright = much", fontsize=9)
        masks = {word: split == part for word, part in zip(_MEANING, (1, 2, 0), strict=True)}
        row[2].imshow(tints([(masks[word], tint) for word, tint in _TINTS.items()]), extent=place)
        row[2].set_title(", ".join(f"{mask.sum()} {word}" for word, mask in masks.items()), fontsize=9)
    handles = [
        Patch(facecolor=_TINTS.get(word, (1, 1, 1))[:3], edgecolor="black", label=text)
        for word, text in _MEANING.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    save_figure(figure, path)
    return figure
