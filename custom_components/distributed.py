"""Which process of a distributed run this is, and what the processes tell each other and the user."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from tqdm import tqdm

Result = TypeVar("Result")


def distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank_and_world() -> tuple[int, int]:
    """The number of this process and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if distributed() else (0, 1)


def is_main() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank_and_world()[0] == 0


def say(message: str) -> None:
    """Print one line from the main process without breaking a progress bar."""
    if is_main():
        tqdm.write(message)


def gather_objects(item: Result) -> list[Result]:
    """What each process hands in, in the order of the processes; in one process a list of one. Collective.

    Args:
        item: anything that can be pickled.
    """
    if not distributed():
        return [item]
    parts: list[Any] = [None] * rank_and_world()[1]
    dist.all_gather_object(parts, item)
    return parts


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
