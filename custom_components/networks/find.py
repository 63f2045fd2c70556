"""The network inside its wrappers, and the Vision Transformer inside the network."""

from torch import nn

from ..errors import InputError


def unwrap(module: nn.Module) -> nn.Module:
    """Return the module inside `DistributedDataParallel`, `DataParallel` or `torch.compile` wrappers."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def find_vit(network: nn.Module) -> nn.Module:
    """Return the encoder of a network: `network.vit`, `network.encoder` or the network itself.

    Args:
        network: One of our networks, MONAI's `ViT` or `UNETR`; may be wrapped for DDP or compiled.

    Raises:
        InputError: If none of them is a Vision Transformer.
    """
    network = unwrap(network)
    for candidate in (getattr(network, "vit", None), getattr(network, "encoder", None), network):
        if isinstance(candidate, nn.Module):
            candidate = unwrap(candidate)
            if all(hasattr(candidate, part) for part in ("patch_embedding", "blocks", "norm")):
                return candidate
    raise InputError(
        f"network {type(network).__name__} has no Vision Transformer at `.vit` or `.encoder`; weights of an encoder "
        "cannot be loaded into it."
    )
