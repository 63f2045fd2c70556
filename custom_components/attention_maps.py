"""One attention map for each training image: where the class token looks, as of the last refresh."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .augment import Pipeline, Region, sample_maps
from .data.image_dataset import ImageDataset, image_loader
from .data.schema import Item, as_list
from .distributed import distributed
from .errors import InputError
from .masking import attention_weights
from .networks.vit import ViT
from .probe import evaluating
from .training_step import AMP_DTYPES
from .weights.describe import find_vit


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
        items: Sequence[Item],
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


def _digest(items: Sequence[Item]) -> str:
    """A sha256 of the images' names, in order; it does not change where the data set is moved."""
    names = [str(item.get("file") or as_list(item["image"])[0]) for item in items]
    base = os.path.commonpath([os.path.dirname(name) for name in names]) if names else ""
    names = [os.path.relpath(name, base or os.curdir) for name in names]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


@torch.no_grad()
def compute_maps(
    network: nn.Module,
    dataset: ImageDataset,
    pipeline: Pipeline,
    device: torch.device | str,
    amp: str | bool = "off",
    batch_size: int = 64,
    num_workers: int = 0,
) -> Tensor:
    """Attention of the class token in the last block for all images: whole images, all patches, evaluation mode.

    MSMAE (arXiv 2305.05871); see `attention_weights` for the sum over heads. In a distributed run every process takes a
    share of the images and all get all maps. Collective then.

    Args:
        network: a `ViT` with a class token, or a network that holds one at `.vit` or `.encoder`.
        dataset: the images.
        pipeline: what brings a whole image to the network's size; it draws no random numbers.
        device: where the network lies.
        amp: as in training.
        batch_size: images at a time.
        num_workers: loader processes.

    Returns:
        (N, gh, gw) float32 on the device.

    Raises:
        InputError: the encoder has no class token.
    """
    vit = find_vit(network)
    if not isinstance(vit, ViT) or not vit.class_token:
        raise InputError("Attention maps come from the class token, and the encoder has none; set class_token: true.")
    rank, world = (dist.get_rank(), dist.get_world_size()) if distributed() else (0, 1)
    share = list(range(len(dataset)))[rank::world]
    share += share[-1:] * (-(-len(dataset) // world) - len(share)) if share else [0]  # as many in each process
    device, dtype = torch.device(device), AMP_DTYPES[str(amp or "off")]
    loader = image_loader(dataset, batch_size, sampler=share, num_workers=num_workers)  # type: ignore[arg-type]
    parts = []
    with evaluating(vit):
        for batch in loader:
            images = pipeline(batch["image"].to(device, non_blocking=True), batch["random"][:, :0])
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                attention = vit(images, attention_block=len(vit.blocks) - 1).class_attention
            parts.append(attention_weights(attention[:, :, 1:]))
    maps = torch.cat(parts)
    if world > 1:
        gathered = [torch.empty_like(maps) for _ in range(world)]
        dist.all_gather(gathered, maps.contiguous())
        maps = torch.stack(gathered, dim=1).flatten(0, 1)  # image i was the (i // world)-th of process i % world
    return maps[: len(dataset)].unflatten(1, vit.grid)
