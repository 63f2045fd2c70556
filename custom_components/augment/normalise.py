"""Grey levels in the units that a network expects."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from .step import Step, as_float, send


class Normalise(Step):
    """(image - mean) / std, where black is 0 and white is 1.

    Args:
        mean: one number, or one for each channel.
        std: likewise, above 0.

    Raises:
        InputError: a value is out of range, or the images have another number of channels.
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        means, stds = (
            [float(value) for value in (numbers if isinstance(numbers, Sequence) else [numbers])]
            for numbers in (mean, std)
        )
        if not (means and stds) or not all(value > 0 for value in stds) or len({1, len(means), len(stds)}) > 2:
            raise InputError(
                f"mean is {mean} and std is {std}; each must be one number, or one for each channel, and std above 0."
            )
        self.mean, self.std = torch.tensor(means), torch.tensor(stds)
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape, float32."""
        offset, factor = self._on(images.device)
        if len(offset) not in (1, images.shape[1]):  # or one channel would be spread over three
            raise InputError(
                f"Normalise has {len(offset)} means or deviations and the images have {images.shape[1]} channels; "
                "give one number for all, or one for each."
            )
        images = as_float(images)
        return torch.addcmul(offset, images, factor, out=images)  # one pass, no new memory

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """-mean / std and 1 / std, each (C or 1, 1, 1), on the device."""
        if device not in self._constants:
            offset, factor = torch.broadcast_tensors(-self.mean / self.std, 1 / self.std)
            self._constants[device] = (send(offset[:, None, None], device), send(factor[:, None, None], device))
        return self._constants[device]
