"""Brightness, contrast, saturation and hue of image batches in one linear map of the colours."""

import math

import torch
from torch import Tensor

from ..errors import InputError, within
from .step import Step, as_float, as_interval, send

_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
_FROM_YIQ = torch.linalg.inv(_TO_YIQ)


class PhotometricDistortion(Step):
    """Change brightness, contrast, saturation and hue at random, each with a probability of its own.

    The ranges are those of mmsegmentation's transform of the same name, as SD-MAE uses it. There hue
    and saturation are changed in HSV and contrast before or after them; here the chroma is turned and stretched in YIQ,
    so that all four are one matrix an image. Grey images (one channel) have neither hue nor saturation.

    Args:
        brightness: largest shift, with white as 1 (32 of 255).
        contrast: range of the factor.
        saturation: range of the factor.
        hue: largest turn, with a full circle as 1 (36 degrees).
        prob: of each of the four.

    Raises:
        InputError: a value is out of range, or the images have neither 1 nor 3 channels.
    """

    draws = 8  # for each of the four: whether, and how much

    def __init__(
        self,
        brightness: float = 32 / 255,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: float = 0.1,
        prob: float = 0.5,
    ) -> None:
        within("brightness", brightness, "[0, 1]")
        within("hue", hue, "[0, 0.5]")
        self.ranges = (
            (-brightness, brightness),
            as_interval(contrast, "contrast"),
            as_interval(saturation, "saturation"),
            (-hue, hue),
        )
        self.prob = within("prob", prob, "[0, 1]")

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape, float32 in 0..1."""
        channels = images.shape[1]
        if channels not in (1, 3):
            raise InputError(f"PhotometricDistortion takes 1 or 3 channels; the images have {channels}.")
        values = []
        for (low, high), neutral, column in zip(self.ranges, (0.0, 1.0, 1.0, 0.0), range(0, 8, 2), strict=True):
            drawn = low + (high - low) * random[:, column + 1]
            values.append(torch.where(random[:, column] < self.prob, drawn, neutral))
        shift, contrast, saturation, hue = values
        matrix = contrast[:, None, None] * (_chroma(saturation, hue) if channels == 3 else torch.ones(1, 1))  # B C C
        offset = (contrast * shift)[:, None, None]  # B 1 1
        matrix, offset = send(matrix.contiguous(), images.device), send(offset.contiguous(), images.device)
        flat = as_float(images).flatten(2)  # B C HW
        return torch.baddbmm(offset, matrix, flat).clamp_(0, 1).view(images.shape)


def _chroma(saturation: Tensor, hue: Tensor) -> Tensor:
    """RGB matrices (B, 3, 3) that stretch the chroma and turn it, and leave grey as it is."""
    cos, sin = (hue * 2 * math.pi).cos() * saturation, (hue * 2 * math.pi).sin() * saturation
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    rows = [torch.stack(row, dim=1) for row in ((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))]
    return _FROM_YIQ @ torch.stack(rows, dim=1) @ _TO_YIQ
