"""Steps one after the other, each with its own random numbers; the last one normalises."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from .crops import FlippedCrop, RandomFlip, RandomResizedCrop
from .step import Extent, Step, as_float, send


class Pipeline:
    """Runs steps on a batch: uint8 in, float32 out.

    A `RandomFlip` right behind a `RandomResizedCrop` costs nothing: the crop is sampled mirrored.

    Args:
        steps: in order; may be empty.

    Attributes:
        steps: as given.
        draws: how many random numbers an image takes: the first columns of `random`.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = list(steps)
        self.draws = sum(step.draws for step in self.steps)
        self._merged: list[Step] = []
        for step in self.steps:
            before = self._merged[-1] if self._merged else None
            if isinstance(step, RandomFlip) and isinstance(before, RandomResizedCrop):
                self._merged[-1] = FlippedCrop(before, step)
            else:
                self._merged.append(step)

    def __call__(self, images: Tensor, random: Tensor | None = None) -> Tensor:
        """Run all steps.

        Args:
            images: (B, C, H, W) on any device, uint8, or float32 with 1 as white.
            random: (B, at least `draws`) float32 numbers in [0, 1) in host memory; None if `draws` is 0.

        Returns:
            (B, C, H', W') float32, on the device of the images.

        Raises:
            InputError: there are too few random numbers.
            TypeError: the images are of another type, or the random numbers lie on another device.
        """
        if images.ndim != 4 or images.dtype not in (torch.uint8, torch.float32):
            raise TypeError(
                f"Expected uint8 or float32 images (B, C, H, W), found {images.dtype} {list(images.shape)}."
            )
        if random is None:
            random = torch.zeros(len(images), 0)
        if random.device.type != "cpu":
            raise TypeError(f"The random numbers are on {random.device}; leave them in host memory.")
        if random.ndim != 2 or len(random) != len(images) or random.shape[1] < self.draws:
            raise InputError(
                f"The augmentation takes {self.draws} random numbers for each of {len(images)} images and the batch "
                f"has {list(random.shape)}; set `draws` of the data set to that of the pipeline."
            )
        images = images.clone() if images.is_floating_point() else images  # steps write into float images
        start = 0
        for step in self._merged:
            images = step(images, random[:, start : start + step.draws])
            start += step.draws
        return as_float(images)

    def extent(self, random: Tensor, shape: tuple[int, int]) -> Extent:
        """The part of each image that `__call__` gives with the same random numbers, for maps that follow the image.

        Args:
            random: (B, at least `draws`), as in the call.
            shape: height and width of the images that come in.

        Raises:
            InputError: a step moves pixels in a way that maps cannot follow.
        """
        result, start = Extent.whole(len(random)), 0
        for step in self._merged:
            result = result.then(step.extent(random[:, start : start + step.draws], shape))
            shape, start = step.size or shape, start + step.draws
        return result


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
