"""Small pictures with structure, and Pillow's view of them."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def picture(channels: int, seed: int = 0, height: int = 48, width: int = 60) -> NDArray[np.uint8]:
    """Waves and some noise: H W C."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, channels))
    waves = [110 + 60 * np.sin(y / 7 + c + seed) + 50 * np.cos(x / (5 + 2 * c)) for c in range(channels)]
    return (np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8)


def batch(count: int, channels: int = 1, height: int = 48, width: int = 60) -> Tensor:
    """Different pictures: uint8 (count, C, H, W)."""
    made = np.stack([picture(channels, seed, height, width) for seed in range(count)])
    return torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()


def as_pillow(image: Tensor) -> Image.Image:
    """(C, H, W) uint8."""
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if image.shape[0] == 1 else pixels)


def levels(image: Image.Image) -> Tensor:
    """A Pillow image as (C, H, W) float levels 0 ... 255."""
    pixels = np.asarray(image, np.float32)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
