"""Rotation, shear and translation of image batches."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .step import send

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def matrix(name: str, value: float, height: int, width: int) -> list[float]:
    """Where the pixels of the result come from: x' = a x + b y + c, y' = d x + e y + f, as Pillow has it.

    Args:
        name: one of `GEOMETRIC`.
        value: counter-clockwise degrees about the centre; shear about the upper left corner; share of the width or
            height by which the image moves to the left or up.
        height: of the image.
        width: of the image; x and y are in pixels from the upper left corner, not from a pixel's centre.

    Returns:
        [a, b, c, d, e, f].
    """
    if name == "rotate":
        cosine, sine = math.cos(math.radians(value)), math.sin(math.radians(value))
        x, y = width / 2, height / 2
        return [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y]
    return {
        "shear_x": [1.0, value, 0.0, 0.0, 1.0, 0.0],
        "shear_y": [1.0, 0.0, 0.0, value, 1.0, 0.0],
        "translate_x": [1.0, 0.0, value * width, 0.0, 1.0, 0.0],
        "translate_y": [1.0, 0.0, 0.0, 0.0, 1.0, value * height],
    }[name]


def warp(images: Tensor, matrices: Tensor, mode: str, fill: float | Tensor) -> Tensor:
    """Move the pixels of each image.

    As in Pillow, pixels from outside the image become `fill` without a soft border.

    Args:
        images: (n, C, H, W) float32.
        matrices: (n, 6) in host memory, from `matrix`.
        mode: "bilinear" or "bicubic".
        fill: in the units of the images; one level, or (C, 1, 1).

    Returns:
        (n, C, H, W).
    """
    height, width = images.shape[2:]
    a, b, c, d, e, f = matrices.double().unbind(1)
    # The same map where both axes run from -1 to 1.
    b, d = b * height / width, d * width / height
    theta = torch.stack([a, b, a + b + 2 * c / width - 1, d, e, d + e + 2 * f / height - 1], 1).view(-1, 2, 3)
    grid = F.affine_grid(send(theta.float(), images.device), list(images.shape), align_corners=False)  # n H W 2
    moved = F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)
    inside = ((grid >= -1) & (grid < 1)).all(-1)[:, None]
    return torch.where(inside, moved.clamp_(0, 1), fill)
