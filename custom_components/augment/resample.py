"""Cutting a rectangle out of each image of a batch and bringing all of them to one size."""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from .step import as_float, send

INTERPOLATIONS = ("bilinear", "bicubic")


def resample(images: Tensor, boxes: Tensor, size: tuple[int, int], mode: str, mirrored: Tensor) -> Tensor:
    """Crop, mirror and resize each image, as torchvision's `resized_crop` does to tensors without antialiasing.

    On a processor images are taken one by one, because a crop then stays in its cache; elsewhere all at once. Both give
    the same numbers up to rounding.

    Args:
        images: (B, C, H, W), uint8 or float32.
        boxes: (B, 4) int64 in host memory: top, left, height, width of the rectangles.
        size: height and width of the result.
        mode: "bilinear" or "bicubic".
        mirrored: (B, 2) bool in host memory: which crops are turned upside down, and which left to right.

    Returns:
        (B, C, *size) float32; uint8 is scaled to [0, 1]. What bicubic interpolation throws outside [0, 1] is cut off.
    """
    result = (_one_by_one if images.device.type == "cpu" else _all_at_once)(images, boxes, size, mode, mirrored)
    return result.clamp_(0, 1) if mode == "bicubic" else result


def _one_by_one(images: Tensor, boxes: Tensor, size: tuple[int, int], mode: str, mirrored: Tensor) -> Tensor:
    result = torch.empty(*images.shape[:2], *size)
    for row, ((top, left, height, width), flips) in enumerate(zip(boxes.tolist(), mirrored.tolist(), strict=True)):
        crop = images[row, :, top : top + height, left : left + width]  # C h w
        if any(flips):
            crop = crop.flip([axis for axis, wanted in zip((1, 2), flips, strict=True) if wanted])
        # Channels as a batch of one-channel images: faster than one image of several channels.
        result[row] = F.interpolate(as_float(crop)[:, None], size, mode=mode, align_corners=False)[:, 0]
    return result


def _all_at_once(images: Tensor, boxes: Tensor, size: tuple[int, int], mode: str, mirrored: Tensor) -> Tensor:
    box, mirror = send(boxes, images.device), send(mirrored, images.device)
    for axis in (0, 1):
        index, weight = _taps(box[:, axis], box[:, axis + 2], mirror[:, axis], size[axis], mode)
        shape = [*images.shape[:2], *images.shape[2:]]
        shape[axis + 2] = size[axis]
        # B out taps -> taps of B 1 out 1 for rows, B 1 1 out for columns
        taps = [part[:, None].unsqueeze(3 - axis).unbind(-1) for part in (index, weight)]
        parts = (
            as_float(images.gather(axis + 2, where.expand(shape))) * share for where, share in zip(*taps, strict=True)
        )
        images = reduce(Tensor.add_, parts)
    return images


def _taps(start: Tensor, length: Tensor, mirror: Tensor, size: int, mode: str) -> tuple[Tensor, Tensor]:
    """Which rows (or columns) make up each row of the result: indices and weights, both (B, size, taps)."""
    place = torch.arange(size, device=start.device).expand(len(start), size)
    place = torch.where(mirror[:, None], size - 1 - place, place)
    # Pixel centres lie at one half: source = (place + 1/2) length / size - 1/2, here times 2 size, so in whole numbers.
    length = length[:, None]
    source = (2 * place + 1) * length - size
    first = source.div(2 * size, rounding_mode="floor")
    part = (source - 2 * size * first).float() / (2 * size)
    if mode == "bilinear":
        weights, before = [1 - part, part], 0
    else:
        weights, before = [_far(1 + part), _near(part), _near(1 - part), _far(2 - part)], 1
    index = first[..., None] + torch.arange(-before, len(weights) - before, device=start.device)
    return index.clamp(min=0).minimum(length[..., None] - 1) + start[:, None, None], torch.stack(weights, -1)


# The cubic kernel of Keys (1981) with a = -0.75, as in PyTorch: up to a distance of 1, and from 1 to 2.
def _near(distance: Tensor) -> Tensor:
    return (1.25 * distance - 2.25) * distance * distance + 1


def _far(distance: Tensor) -> Tensor:
    return ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
