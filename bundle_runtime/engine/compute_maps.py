"""Attention maps of a whole training list, from the network as it is."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from custom_components.augment import Pipeline
from custom_components.distributed import distributed
from custom_components.errors import InputError
from custom_components.masking import attention_weights
from custom_components.networks.vit import ViT

from ..data.image_dataset import ImageDataset, image_loader
from ..probes.features import evaluating
from ..weights.describe import find_vit
from .training_step import AMP_DTYPES


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
