"""Steps one after the other, each with its own random numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from .crops import FlippedCrop, RandomFlip, RandomResizedCrop
from .step import Extent, Step, as_float


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
