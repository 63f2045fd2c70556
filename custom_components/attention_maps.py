"""One attention map for each training image: where the class token looks, as of the last refresh."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .augment import Region, sample_maps
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

    def batch(self, index: Tensor, region: Region) -> Tensor | None:
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
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
