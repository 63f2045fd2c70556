"""One attention map for each training image: where the class token looks, as of the last refresh."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .augment.step import Extent, send
from .errors import InputError


class AttentionMaps:
    """The maps of a training list, in one tensor beside the network: loader workers never hold copies that go stale.

    They start as ones, which makes the choice of patches uniform. Their state goes into the training checkpoint.

    Args:
        items: of the training data set, in its order.
        grid: patches along each axis of the network's input.
        device: where the maps lie; None is the host.
        active: whether `batch` gives weights from the start; `RefreshAttention` switches that by epoch.

    Attributes:
        values: (N, gh, gw) float32 from 0 to 1, one map for the whole of each image.
        active: see above.
        epoch: for which epoch (counted from 1) they were refreshed last; 0 before.

    Raises:
        InputError: the grid has not two axes.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        grid: Sequence[int],
        device: torch.device | str | None = None,
        active: bool = False,
    ) -> None:
        if len(grid) != 2:
            raise InputError(f"The patch grid is {list(grid)}; attention maps are for images with two axes.")
        self.values = torch.ones(len(items), *grid, device=device)
        self.active, self.epoch = active, 0
        self._names = _digest(items)

    def batch(self, index: Tensor, region: Extent) -> Tensor | None:
        """The weights of some images' patches, or None while they are not active.

        Args:
            index: (B,) positions in the list, in host memory.
            region: what the network sees of each image.

        Returns:
            (B, gh * gw) float32 on the device of the maps.
        """
        if not self.active:
            return None
        chosen = self.values.index_select(0, index.to(self.values.device, non_blocking=True))
        return sample_maps(chosen, region).flatten(1)

    def state_dict(self) -> dict[str, Any]:
        """Maps, epoch, and a digest of the list that they belong to."""
        return {"values": self.values, "epoch": self.epoch, "items": self._names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over maps.

        Raises:
            InputError: they belong to other images or to another patch grid.
        """
        stored, here = list(state["values"].shape), list(self.values.shape)
        if state["items"] != self._names or stored != here:
            raise InputError(
                f"The attention maps of the checkpoint ({stored[0]} images, {stored[1]} x {stored[2]} patches) belong "
                f"to another training list or patch grid than this run's ({here[0]} images, {here[1]} x {here[2]}); "
                "resume with the datalist and sizes of the interrupted run, or start again with --resume false."
            )
        self.values.copy_(state["values"])
        self.epoch = int(state["epoch"])


def _digest(items: Sequence[Mapping[str, Any]]) -> str:
    """A sha256 of the images' names, in order; it does not change where the data set is moved."""
    names = [str(item.get("file") or item["image"]) for item in items]  # a training item is one file
    base = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""
    names = [os.path.relpath(name, base or os.curdir) for name in names]
    return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()


def sample_maps(maps: Tensor, region: Extent) -> Tensor:
    """Cut a part out of each map and bring it to the grid of the whole map.

    A map of gh x gw cells covers its image. Between the centres of the cells it is interpolated bilinearly (beyond the
    outer centres it is constant), and each new cell is the mean of that surface over its area: exact at every size of
    the box, where sampling at points would miss cells.

    Args:
        maps: (B, gh, gw).
        region: one part for each map; parts without any area are not allowed.

    Returns:
        (B, gh, gw) float32, on the device of the maps.
    """
    box, mirrored = send(region.box.float(), maps.device), send(region.mirrored, maps.device)
    rows, columns = (
        _weights(box[:, axis], box[:, axis + 2], mirrored[:, axis], maps.shape[1 + axis]) for axis in (0, 1)
    )
    return rows @ maps.float() @ columns.transpose(1, 2)


def _weights(start: Tensor, length: Tensor, mirrored: Tensor, cells: int) -> Tensor:
    """How much each cell of the map is in each cell of the result along one axis: (B,) each -> (B, cells, cells)."""
    place = torch.arange(cells + 1, device=start.device) / cells
    edges = (start[:, None] + place * length[:, None]) * cells - 0.5  # cells' centres lie at whole numbers
    edges = torch.where(mirrored[:, None], edges.flip(1), edges)
    # One more cell at each end, with the value of the outermost, makes the map constant there.
    centres = torch.arange(-1, cells + 1, device=start.device)
    area = _hat_area(edges[:, :, None] - centres)  # B, cells + 1, cells + 2
    share = area.diff(dim=1) / edges.diff(dim=1)[:, :, None]
    first, middle, last = share.split([1, cells, 1], dim=2)
    return middle + F.pad(first, (0, cells - 1)) + F.pad(last, (cells - 1, 0))


def _hat_area(x: Tensor) -> Tensor:
    """Integral of max(0, 1 - |t|) up to x."""
    x = x.clamp(-1, 1)
    return 0.5 + x - 0.5 * x * x.abs()
