"""Exact means over an epoch that cost one wait for the device."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from custom_components.distributed import distributed, is_main
from torch import Tensor


def wide(values: Tensor) -> Tensor:
    """As float64, in which thousands of numbers add up exactly enough; float32 on a device that has no wider."""
    return values.float() if values.device.type == "mps" else values.double()


class EpochMean:
    """Means over the iterations of an epoch and over the processes.

    Summed on the device and read once. The sums are meant for the checkpoint: a run resumed inside an epoch still
    gives that epoch's exact means.
    """

    def __init__(self) -> None:
        self._sums: Tensor | None = None  # of the values, and the number of iterations

    def add(self, values: Tensor) -> None:
        """Take in the values (n,) of an iteration."""
        row = torch.cat([values, values.new_ones(1)])
        # Sums that were restored are on the CPU.
        self._sums = row if self._sums is None else self._sums.to(row.device) + row

    def result(self) -> list[float]:
        """The means since the last call, none where nothing was added; collective, and waits for the device."""
        if self._sums is None:
            return []
        *sums, count = self._over_processes(self._sums).tolist()
        self._sums = None
        return [value / count for value in sums]

    @staticmethod
    def _over_processes(sums: Tensor) -> Tensor:
        if distributed():
            sums = sums.clone()
            dist.all_reduce(sums)
        return sums

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, over all processes (collective)."""
        return {"sums": None if self._sums is None else self._over_processes(self._sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on summing; in a distributed run the main process takes it all."""
        sums = state["sums"]
        self._sums = sums if sums is None or is_main() else torch.zeros_like(sums)
