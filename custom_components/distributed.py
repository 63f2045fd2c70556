"""Which process of a distributed run this is."""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

Result = TypeVar("Result")


def distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return not distributed() or dist.get_rank() == 0


def any_rank(flag: bool | torch.Tensor, device: torch.device | str | None) -> bool:
    """Whether `flag` holds in at least one process. Collective: every process must call it. Waits for the device."""
    if not distributed():
        return bool(flag)
    shared = torch.as_tensor(flag, device=device).to(torch.int32)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared)


def first_on_main(work: Callable[[], Result]) -> Result:
    """Run `work` in the main process and then in the others, so that they find what it left on disk. Collective."""
    if not distributed():
        return work()
    if is_main():
        result = work()
        dist.barrier()
        return result
    dist.barrier()
    return work()
