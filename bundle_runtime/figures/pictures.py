"""Pictures while a run goes on: what the autoencoder makes of hidden patches, what the network segments."""

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines.workflow import Workflow
from nibabel.orientations import apply_orientation, io_orientation
from torch import nn

from custom_components.distributed import is_main
from custom_components.errors import InputError
from custom_components.networks.find import unwrap

from ..engine.common import epochs_done
from .arms import Maps, unit_window
from .overlays import outline_figure, overlay_figure
from .reconstruction import reconstruction_figure


class ReconstructionPictures:
    """Draws original, masked image and reconstruction of a few fixed images; attach to the pre-training's trainer.

    The mask is the same every time (fixed seed), and the training does not notice: the random state and the network's
    mode are put back. Volumes of several channels (MRI sequences) are shown with a row for each channel, in the axial
    plane, and the first in the others. Files: `<folder>/epoch_<epoch>_<case>.png`, with `_mask<percent>` behind the
    case for another mask ratio than the training's.

    Args:
        network: Has `reconstruct(image (B, C, *S)) -> (reconstruction (B, C, *S), mask (B, 1, *S))`.
        images: Items (dicts with `image` (C, *S) and `case`), a data set of such, or a loader of batches; not the
            training's own loader. An item that is a list of crops gives its first crop.
        folder: Where the PNG files go.
        interval: Epochs between pictures; the last epoch is always drawn. 0 draws none.
        count: Number of images.
        seed: Of the mask.
        channel_names: What the rows are called; None numbers them, and shows flat images by their first channel alone.
        mask_ratio: Draw each image at this mask ratio (the network's `mask_ratio` meanwhile) beside the training's own.
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
        if mask_ratio is not None and not 0 < mask_ratio < 1:
            raise InputError(f"picture_mask_ratio is {mask_ratio}; it must lie between 0 and 1, or be null.")
        self.mask_ratio = mask_ratio
        self.pixels = None if pixels is None else dict(pixels)
        self.channel_names = None if channel_names is None else list(channel_names)
        self.network = network
        self.images = images
        self.folder = Path(folder)
        self.interval = int(interval)
        self.count = count
        self.seed = seed
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
                    name = case if ratio == own else f"{case}_mask{100 * ratio:.4g}"
                    self._picture(epochs_done(engine), name, image, filled, mask, spacing)
            finally:
                network.mask_ratio = own  # type: ignore[assignment]
                network.train(training)

    def _choose(self) -> Iterable[tuple[str, torch.Tensor, Sequence[float] | None]]:
        dims = int(unwrap(self.network).encoder.spatial_dims)  # type: ignore[arg-type, union-attr]
        found = 0
        for entry in self.images:
            item = entry[0] if isinstance(entry, (list, tuple)) else entry
            image, names = item["image"], item.get("case")
            batched = image.ndim == dims + 2
            rows = image if batched else image.unsqueeze(0)
            for row in range(len(rows)):
                if found == self.count:
                    return
                name = names[row] if batched and isinstance(names, (list, tuple)) else names
                # Crops of one case share its name.
                yield f"{found}_{name or 'image'}", rows[row : row + 1].float(), _spacing(image)
                found += 1

    def _picture(
        self,
        epoch: int,
        case: str,
        image: torch.Tensor,
        filled: torch.Tensor,
        mask: torch.Tensor,
        spacing: Sequence[float] | None,
    ) -> None:
        path = self.folder / _file_name(epoch, case)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = [_array(tensor[0]) for tensor in (image, mask, filled)]  # C X Y [Z] each
        title = f"{case.split('_', 1)[1]}, epoch {epoch}, {100 * float(mask.float().mean()):.3g} % hidden"
        if getattr(unwrap(self.network), "norm_pix_loss", False):
            title += "\nonly the pattern of a hidden patch is predicted: its mean and spread are the original's"
        picture = arrays[0].ndim == 3 and len(arrays[0]) in (1, 3)
        reconstruction_figure(
            arrays[0],
            arrays[1][0],
            arrays[2],
            path,
            title=title,
            spacing=spacing,
            channel_names=self._rows(*arrays[0].shape),
            pixels=self.pixels if picture else None,
        )

    def _rows(self, channels: int, *size: int) -> list[str]:
        """Names of the channels that are drawn."""
        if self.channel_names is None:
            return [f"channel {channel}" for channel in range(channels)] if len(size) == 3 and channels > 1 else [""]
        if len(self.channel_names) != channels:
            raise InputError(f"channel_names has {len(self.channel_names)} names; the images have {channels} channels.")
        return self.channel_names


class OverlayPictures:
    """Draws label and prediction over the first cases of a validation or evaluation; attach to the evaluator.

    The engine must hand over lists of dicts (MONAI's `decollate`), image, label and prediction on one grid. Label and
    prediction may be class indices (1, *S) or one channel per class (C, *S). Files:
    `<folder>/epoch_<epoch>_<case>.png`, without `epochs` `<folder>/<case>.png`.

    Args:
        folder: Where the PNG files go.
        class_names: Names by class index; index 0 is the background.
        cases: Number of cases.
        interval: Draw in epochs divisible by it (an evaluation is epoch 1); 0 draws none.
        epochs: Whether the epoch stands in titles and file names; False for a network that is no longer trained.
        image_key: Of the image in the batch item.
        pred_key: Of the prediction in the output item.
        label_key: Of the label in the output item, else in the batch item.
        channel: Channel of the image that is shown, such as one of several MRI sequences.
        keep: Keep image, label and prediction of every case in `<folder>/maps`, for `compare --pictures`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        class_names: Sequence[str],
        cases: int = 2,
        interval: int = 1,
        image_key: str = "image",
        pred_key: str = "pred",
        label_key: str = "label",
        channel: int = 0,
        epochs: bool = True,
        keep: bool = False,
    ) -> None:
        self.folder, self.epochs, self.keep = Path(folder), epochs, keep
        self.class_names = list(class_names)
        self.cases = cases
        self.interval = int(interval)
        self.image_key, self.pred_key, self.label_key = image_key, pred_key, label_key
        self.channel = channel
        self._seen = 0

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
            raise TypeError("OverlayPictures needs an evaluator with decollate: true (lists of dicts)")
        for item, result in zip(batch, output, strict=True):
            if self._seen < self.cases or self.keep:
                self._picture(engine.state.epoch, item, result)
                self._seen += 1

    def _picture(self, epoch: int, item: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        image = item[self.image_key]
        label = result[self.label_key] if self.label_key in result else item.get(self.label_key)
        case = str(item.get("case") or self._seen)
        path = self.folder / _file_name(epoch if self.epochs else None, case)
        path.parent.mkdir(parents=True, exist_ok=True)
        spacing: Sequence[float] = (1.0, 1.0, 1.0)
        turn = None
        if isinstance(image, MetaTensor) and image.affine.ndim == 2:
            # A scanner's axes may run any way; pictures are for people, who expect the standard views.
            turn = io_orientation(image.affine.numpy())
            spacing = [float(image.pixdim[axis]) for axis in np.argsort(turn[:, 0])]
        shown = _turned(_array(image[self.channel]), turn)
        classes = None if label is None else _turned(_classes(label), turn)
        prediction = _turned(_classes(result[self.pred_key]), turn)
        if self.keep and classes is not None:
            small, called = classes.astype(np.uint8), prediction.astype(np.uint8)
            maps = Maps(unit_window(shown, classes), small, called, np.asarray(spacing))
            maps.write(self.folder / "maps", case)
        if self._seen < self.cases:
            title = f"{case}, epoch {epoch}" if self.epochs else case
            names = self.class_names
            overlay_figure(shown, classes, path, names, prediction=prediction, spacing=spacing, title=title)


class OutlinePictures(OverlayPictures):
    """Draws the outlines of reference and prediction beside the first pictures of a validation, evaluation, inference.

    Arguments and file names are those of `OverlayPictures`. The image is uint8 (C, H, W) in the batch item, the label
    (absent in inference) and the prediction are class indices (1, H, W); "instances" of the batch item and
    "pred_instances" of the output item part objects that touch.
    """

    def _picture(self, epoch: int, item: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        case = str(item.get("case") or self._seen)
        path = self.folder / _file_name(epoch if self.epochs else None, case)
        maps = {}
        if self.label_key in item:
            maps["reference"] = (_plane(item[self.label_key]), _plane(item.get("instances")))
        maps["prediction"] = (_plane(result[self.pred_key]), _plane(result.get(f"{self.pred_key}_instances")))
        title = f"{case}, epoch {epoch}" if self.epochs else case
        outline_figure(np.asarray(item[self.image_key].cpu()), maps, path, self.class_names, title)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().as_subclass(torch.Tensor).float().cpu().numpy()


def _classes(tensor: torch.Tensor) -> np.ndarray:
    """(1, *S) class indices or (C, *S) one channel per class -> (*S) class indices."""
    tensor = tensor.detach().as_subclass(torch.Tensor)
    tensor = tensor[0] if tensor.shape[0] == 1 else tensor.argmax(dim=0)
    return tensor.cpu().numpy().astype(np.int64)


def _turned(array: np.ndarray, turn: np.ndarray | None) -> np.ndarray:
    return array if turn is None else apply_orientation(array, turn)


def _spacing(image: Any) -> list[float] | None:
    if not isinstance(image, MetaTensor):
        return None
    return [float(size) for size in image.pixdim] if image.affine.ndim == 2 else None


def _file_name(epoch: int | None, case: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", case)
    return f"{name}.png" if epoch is None else f"epoch_{epoch:05d}_{name}.png"


def _plane(values: torch.Tensor | None) -> Any:
    """(1, H, W) as an array of whole numbers (H, W); None stays."""
    return None if values is None else torch.as_tensor(values)[0].cpu().numpy().astype(np.int64)
