"""What a masked autoencoder makes of hidden patches: original, what the network saw, and its reconstruction."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.distributed import is_main
from custom_components.errors import InputError, within
from custom_components.networks.find import unwrap
from ignite.engine import Events
from matplotlib.figure import Figure
from monai.data import MetaTensor
from monai.engines.workflow import Workflow
from scipy import ndimage
from torch import nn

from ..engine.common import epochs_done
from .panels import HIDDEN, Cut, Montage, grey_window, picture_pixels, same_shape
from .pictures import array, picture_path

PANELS = ("original", "masked", "reconstruction")


class ReconstructionPictures:
    """Draws original, masked image and reconstruction of a few fixed images; attach to the pre-training's trainer.

    The mask is the same every time (fixed seed), and the training does not notice: the random state and the network's
    mode are put back. Volumes of several channels (MRI sequences) are shown with a row for each channel, in the axial
    plane, and the first in the others. Files: `<folder>/epoch_<epoch>_<case>.png`, with `_mask<percent>` behind the
    case for another mask ratio than the training's.

    Args:
        network: Has `reconstruct(image (B, C, *S)) -> (reconstruction (B, C, *S), mask (B, 1, *S))`.
        images: Items (dicts with `image` (C, *S) and `case`) or a data set of such. Of a list of crops in place of
            an item the first is taken.
        folder: Where the PNG files go.
        interval: Epochs between pictures; the last epoch is always drawn. 0 draws none.
        count: Number of images.
        seed: Of the mask.
        mask_ratio: Draw each image at this mask ratio (the network's `mask_ratio` meanwhile) beside the training's own.
        channel_names: What the rows are called; None numbers them, and shows flat images by their first channel alone.
        pixels: For pictures (C, H, W) with C = 1 or 3: `mean` and `std` by which they were normalised. They are then
            drawn upright, in colour where they have it; other flat images count as slices (C, X, Y).
    """

    def __init__(
        self,
        network: nn.Module,
        images: Iterable[Any],
        folder: str | os.PathLike[str],
        interval: int = 10,
        count: int = 2,
        seed: int = 0,
        channel_names: Sequence[str] | None = None,
        pixels: Mapping[str, Any] | None = None,
        mask_ratio: float | None = None,
    ) -> None:
        if mask_ratio is not None:
            within("picture_mask_ratio", mask_ratio, "(0, 1)")
        self.mask_ratio = mask_ratio
        self.network, self.images, self.folder = network, images, Path(folder)
        self.interval, self.count, self.seed = int(interval), count, seed
        self.channel_names = None if channel_names is None else list(channel_names)
        self.pixels = None if pixels is None else dict(pixels)
        self._chosen: list[tuple[str, torch.Tensor, Sequence[float] | None]] | None = None
        self._drawn_at = -1

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        if self.interval > 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self._draw)
            engine.add_event_handler(Events.COMPLETED, self._draw)

    def _draw(self, engine: Workflow) -> None:
        if not is_main() or self._drawn_at == engine.state.iteration:
            return
        self._drawn_at = engine.state.iteration
        network, device = unwrap(self.network), engine.state.device
        devices = [device] if device is not None and device.type == "cuda" else []
        training, own = network.training, getattr(network, "mask_ratio", None)
        ratios = [own, *([] if self.mask_ratio in (None, own) else [self.mask_ratio])]
        # A data loader draws from the random state as well, when it is iterated.
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            if self._chosen is None:
                self._chosen = list(self._choose())
            network.eval()
            try:
                for (case, image, spacing), ratio in itertools.product(self._chosen, ratios):
                    torch.manual_seed(self.seed)
                    network.mask_ratio = ratio
                    filled, mask = network.reconstruct(image.to(device))  # type: ignore[operator]
                    behind = "" if ratio == own else f"_mask{100 * ratio:.4g}"
                    path = picture_path(self.folder, f"{case}{behind}", epochs_done(engine))
                    title = f"{case.split('_', 1)[1]}, epoch {epochs_done(engine)}"
                    self._picture(path, title, (image, mask, filled), spacing)
            finally:
                network.mask_ratio = own  # type: ignore[assignment]
                network.train(training)

    def _choose(self) -> Iterator[tuple[str, torch.Tensor, Sequence[float] | None]]:
        for number, entry in enumerate(itertools.islice(self.images, self.count)):
            item = entry[0] if isinstance(entry, (list, tuple)) else entry
            image = item["image"]
            # Crops of one case share its name.
            yield f"{number}_{item.get('case') or 'image'}", image[None].float(), _spacing(image)

    def _picture(
        self, path: Path, title: str, tensors: Sequence[torch.Tensor], spacing: Sequence[float] | None
    ) -> None:
        image, mask, filled = (array(tensor[0]) for tensor in tensors)  # C X Y [Z] each
        title += f", {100 * float(mask.mean()):.3g} % hidden"
        if getattr(unwrap(self.network), "norm_pix_loss", False):
            title += "\nonly the pattern of a hidden patch is predicted: its mean and spread are the original's"
        pixels = self.pixels if image.ndim == 3 and len(image) in (1, 3) else None
        names = self._rows(*image.shape)
        reconstruction_figure(
            image, mask[0], filled, path, title=title, spacing=spacing, channel_names=names, pixels=pixels
        )

    def _rows(self, channels: int, *size: int) -> list[str]:
        """Names of the channels that are drawn."""
        if self.channel_names is None:
            return [f"channel {channel}" for channel in range(channels)] if len(size) == 3 and channels > 1 else [""]
        if len(self.channel_names) != channels:
            raise InputError(f"channel_names has {len(self.channel_names)} names; the images have {channels} channels.")
        return self.channel_names


def _spacing(image: Any) -> list[float] | None:
    if not isinstance(image, MetaTensor):
        return None
    return [float(size) for size in image.pixdim] if image.affine.ndim == 2 else None


def reconstruction_figure(
    image: np.ndarray,
    mask: np.ndarray,
    reconstruction: np.ndarray,
    path: str | Path,
    title: str = "",
    spacing: Sequence[float] | None = None,
    channel_names: Sequence[str] = ("",),
    pixels: Mapping[str, Any] | None = None,
) -> Figure:
    """Draw three panels a row: original, masked image, reconstruction.

    A picture (`pixels` given) has one row, upright and in its colours. A volume of one channel has a row for each plane
    through the middle of a hidden patch near the centre of the image, all in one grey window; with several channels
    each has a row and a window of its own (sequences have different units) in the axial plane, then the first channel
    has one for each of the other planes.

    Args:
        image: (C, X, Y[, Z]), of a picture (C, H, W) with C = 1 or 3.
        mask: (X, Y[, Z]), 1 where a patch was hidden.
        reconstruction: like the image, in its units, visible patches pasted in.
        path: PNG file, written atomically.
        title: Stands above the panels.
        spacing: Voxel size per axis, for the proportions; None: equal.
        channel_names: Names of the channels that are drawn, from the first on.
        pixels: `mean` and `std` by which a picture was normalised.

    Raises:
        ValueError: The arrays differ in shape or are neither 2D nor 3D.
    """
    shape, hidden = same_shape(image=image[0], mask=mask, reconstruction=reconstruction[0]), mask > 0
    if pixels is not None:
        original, filled = (picture_pixels(array, **pixels) for array in (image, reconstruction))
        montage = Montage([[(shape[1], shape[0])] * len(PANELS)], title, [PANELS])
        masked = np.where(hidden[..., None], np.array(HIDDEN), original)
        for panel, picture in zip(montage.panels[0], (original, masked, filled), strict=True):
            panel.show(picture, interpolation="nearest")
        return montage.save(path)
    cut, several = Cut(shape, spacing, _hidden_centre(hidden)), len(channel_names) > 1
    rows = [(channel, cut.axes[0]) for channel in range(len(channel_names))] + [(0, axis) for axis in cut.axes[1:]]
    names = [
        "\n".join(filter(None, (channel_names[channel] if several else "", cut.name(axis)))) for channel, axis in rows
    ]
    montage = Montage([[cut.size(axis)] * len(PANELS) for _, axis in rows], title, [PANELS], names)
    windows = [grey_window(image[channel]) for channel in range(len(channel_names))]
    for (left, middle, right), (channel, axis) in zip(montage.panels, rows, strict=True):
        cut.show(left, image[channel], axis, windows[channel])
        cut.show(middle, image[channel], axis, windows[channel], hidden)
        cut.show(right, reconstruction[channel], axis, windows[channel])
    return montage.save(path)


def _hidden_centre(hidden: np.ndarray) -> tuple[int, ...]:
    """The middle of a hidden patch, the one nearest to the centre of the image; that centre if nothing is hidden."""
    centre = np.array(hidden.shape) // 2
    if not hidden.any():
        return tuple(map(int, centre))
    # Outside the image counts as visible, otherwise depth would grow towards the border.
    depth = ndimage.distance_transform_cdt(np.pad(hidden, 1), "chessboard")[(slice(1, -1),) * hidden.ndim]
    deepest = np.argwhere(depth >= 0.9 * np.quantile(depth[hidden], 0.99))
    return tuple(map(int, deepest[np.linalg.norm(deepest - centre, axis=1).argmin()]))
