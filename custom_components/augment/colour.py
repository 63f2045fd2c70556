"""Changes of grey levels and colours of image batches, as Pillow's ImageOps and ImageEnhance make them.

Images are (n, C, H, W) float32 with values from 0 to 1 in C = 1 or 3 channels. Pillow works on whole grey levels; here
they stay fractions, except where a level decides something (a histogram, a threshold).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# A channel with less contrast, half a level, is constant: its rounding errors must not be stretched to full contrast.
_CONSTANT = 0.5 / 255


def _levels(images: Tensor) -> Tensor:
    """Grey levels 0 ... 255 as whole numbers in float32."""
    return (images * 255).round_()


def _blend(images: Tensor, degenerate: Tensor, factor: Tensor) -> Tensor:
    """From the degenerate image (factor 0) through the image (1) to beyond it; `factor` is (n,)."""
    return (degenerate + (images - degenerate) * factor[:, None, None, None]).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """Luminance, (n, 1, H, W), with the ITU-R 601-2 weights of Pillow."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471) / 65536)[:, None]


def _extremes(images: Tensor) -> tuple[Tensor, Tensor]:
    """The darkest value of each channel and how far the brightest is from it, (n, C, 1, 1) each."""
    low = images.amin((2, 3), True)
    return low, images.amax((2, 3), True) - low


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel so that its darkest pixel becomes 0 and its brightest 1; a constant channel stays."""
    low, span = _extremes(images)
    return torch.where(span > _CONSTANT, (images - low) / span.clamp(min=_CONSTANT), images).clamp_(0, 1)


def equalize(images: Tensor) -> Tensor:
    """Spread each channel's grey levels so that their histogram becomes as flat as whole levels allow."""
    levels = _levels(images).clamp_(0, 255).long().flatten(2).flatten(0, 1)  # nC HW
    counts = torch.zeros(len(levels), 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    pixels = levels.shape[1]
    last = counts.gather(1, levels.amax(1, keepdim=True))  # pixels of the brightest level
    step = (pixels - last).div(255, rounding_mode="floor")
    below = counts.cumsum(1) - counts
    table = (step.div(2, rounding_mode="floor") + below).div(step.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    spread = (table.gather(1, levels).float() / 255).view(images.shape)
    # Pillow leaves channels alone that are constant or have too few pixels below the brightest level.
    enough = (step > 0).view(*images.shape[:2], 1, 1)
    return torch.where(enough & (_extremes(images)[1] > _CONSTANT), spread, images)


def invert(images: Tensor) -> Tensor:
    """Black becomes white."""
    return 1 - images


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor`, (n,)."""
    return (images * factor[:, None, None, None]).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the mean grey level by `factor`, (n,)."""
    mean = (_grey(images).mean((1, 2, 3), keepdim=True) * 255 + 0.5).floor_() / 255
    return _blend(images, mean, factor)


def colour(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the grey image by `factor`, (n,); one-channel images stay."""
    return images if images.shape[1] == 1 else _blend(images, _grey(images), factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from a smoothed image by `factor`, (n,); the outermost pixels stay."""
    if min(images.shape[2:]) < 3:
        return images
    smooth = images.clone()
    # The kernel 1 1 1 / 1 5 1 / 1 1 1, divided by 13.
    smooth[:, :, 1:-1, 1:-1] = (9 * F.avg_pool2d(images, 3, 1) + 4 * images[:, :, 1:-1, 1:-1]) / 13
    return _blend(images, smooth, factor)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits`, (n,), of each grey level."""
    step = torch.pow(2.0, 8 - bits)[:, None, None, None]
    return (_levels(images) / step).floor_() * step / 255


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the pixels whose level is `threshold`, (n,), or more."""
    return torch.where(_levels(images) < threshold[:, None, None, None], images, 1 - images)


def solarize_add(images: Tensor, amount: Tensor) -> Tensor:
    """Add `amount` levels, (n,), to the pixels below level 128."""
    brighter = (images + amount[:, None, None, None] / 255).clamp_(max=1)
    return torch.where(_levels(images) < 128, brighter, images)
