"""Crops and flips."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError, one_of, within
from .step import Extent, Step, as_float, as_interval, as_pair, send

INTERPOLATIONS = ("bilinear", "bicubic")

_TRIES = 10


def try_rectangles(
    area_draws: Tensor,
    aspect_draws: Tensor,
    area: tuple[float, float],
    ratio: tuple[float, float],
    shape: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Heights and widths with a uniform share of the image's area and a log-uniform aspect ratio.

    Args:
        area_draws: (B, tries) numbers in [0, 1).
        aspect_draws: (B, tries) likewise.
        area: smallest and largest share of the area.
        ratio: smallest and largest width / height.
        shape: height and width of the image.

    Returns:
        Two (B, tries) int64 tensors; rectangles may exceed the image.
    """
    share = area[0] + (area[1] - area[0]) * area_draws.double()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * aspect_draws.double()).exp()
    pixels = shape[0] * shape[1] * share
    return (pixels / aspect).sqrt().round().long(), (pixels * aspect).sqrt().round().long()


def first_accepted(accepted: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Whether any try was accepted (B,), and each value (B, tries) at the first that was, else at the first of all."""
    first = accepted.int().argmax(1, keepdim=True)
    return accepted.any(1), *(value.gather(1, first)[:, 0] for value in values)


def place(draw: Tensor, room: Tensor | int, length: Tensor) -> Tensor:
    """A start in 0 ... room - length, uniformly, from (B,) numbers in [0, 1)."""
    return (draw.double() * (room - length + 1)).floor().long()


class RandomResizedCrop(Step):
    """A random rectangle of the image, brought to one size, as torchvision's transform of that name.

    The rectangle's share of the area is uniform in `scale`, the logarithm of width / height uniform in that of `ratio`.
    Rectangles that exceed the image are drawn again, at most ten times; then the largest centred one with an allowed
    ratio is taken.

    Args:
        size: of the result: pixels of a side, or height and width.
        scale: smallest and largest share of the area; the MAE paper pre-trains with (0.2, 1).
        ratio: smallest and largest width / height.
        interpolation: "bilinear" or "bicubic".
        antialias: average over all pixels where a rectangle shrinks, as Pillow does; for images that are much larger
            than `size`.

    Raises:
        InputError: a value is out of range.
    """

    draws = 2 * _TRIES + 2
    size: tuple[int, int]

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = "bilinear",
        antialias: bool = False,
    ) -> None:
        self.size, self.antialias = as_pair(size), antialias
        self.scale, self.ratio = as_interval(scale, "scale", high=1.0), as_interval(ratio, "ratio")
        one_of("interpolation", interpolation, INTERPOLATIONS)
        self.interpolation = interpolation

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, *size) float32."""
        return self.crop(images, random, torch.zeros(len(images), 2, dtype=torch.bool))

    def crop(self, images: Tensor, random: Tensor, mirrored: Tensor) -> Tensor:
        """As a call; crops are mirrored on the way: `mirrored` is (B, 2) bool, for rows and for columns."""
        boxes = self.boxes(random, (images.shape[2], images.shape[3]))
        return resample(images, boxes, self.size, self.interpolation, mirrored, self.antialias)

    def extent(self, random: Tensor, shape: tuple[int, int]) -> Extent:
        """The rectangles as shares of the image."""
        return Extent.of_boxes(self.boxes(random, shape), shape)

    def boxes(self, random: Tensor, shape: tuple[int, int]) -> Tensor:
        """The rectangles for images of `shape`: (B, 4) int64, top, left, height and width."""
        heights, widths = try_rectangles(
            random[:, :_TRIES], random[:, _TRIES : 2 * _TRIES], self.scale, self.ratio, shape
        )
        fits = (heights > 0) & (heights <= shape[0]) & (widths > 0) & (widths <= shape[1])
        found, height, width = first_accepted(fits, heights, widths)
        sides = torch.stack([height, width], 1)
        starts = torch.stack([place(random[:, 2 * _TRIES + axis], shape[axis], sides[:, axis]) for axis in (0, 1)], 1)
        return torch.where(found[:, None], torch.cat([starts, sides], 1), self._centred(shape))

    def _centred(self, shape: tuple[int, int]) -> Tensor:
        """The largest centred rectangle with an allowed ratio: (4,)."""
        height, width = shape
        if width / height < self.ratio[0]:
            height = max(1, round(width / self.ratio[0]))
        elif width / height > self.ratio[1]:
            width = max(1, round(height * self.ratio[1]))
        return torch.tensor([(shape[0] - height) // 2, (shape[1] - width) // 2, height, width])


class RandomFlip(Step):
    """Mirrors images at random.

    Args:
        horizontal: probability of left and right changing places.
        vertical: probability of top and bottom changing places; for images without an upright position.

    Raises:
        InputError: a value is not a probability.
    """

    draws = 2

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0) -> None:
        self.horizontal, self.vertical = (
            within("horizontal", horizontal, "[0, 1]"),
            within("vertical", vertical, "[0, 1]"),
        )

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape and type."""
        for axis, chosen in zip((2, 3), self.mirrored(random).unbind(1), strict=True):
            if chosen.any():
                wanted = send(chosen, images.device)[:, None, None, None]
                images = torch.where(wanted, images.flip(axis), images)
        return images

    def extent(self, random: Tensor, shape: tuple[int, int]) -> Extent:
        """All of each image, mirrored or not."""
        return Extent(Extent.whole(len(random)).box, self.mirrored(random))

    def mirrored(self, random: Tensor) -> Tensor:
        """(B, 2) bool: which images are turned upside down, and which left to right."""
        return random[:, :2] < torch.tensor([self.vertical, self.horizontal])


class FlippedCrop(Step):
    """A crop and the flip behind it in one resampling."""

    def __init__(self, crop: RandomResizedCrop, flip: RandomFlip) -> None:
        self.crop, self.flip, self.draws, self.size = crop, flip, crop.draws + flip.draws, crop.size

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, *size) float32."""
        mirrored = self.flip.mirrored(random[:, self.crop.draws :])
        return self.crop.crop(images, random[:, : self.crop.draws], mirrored)

    def extent(self, random: Tensor, shape: tuple[int, int]) -> Extent:
        """That of the crop, then that of the flip."""
        crop = self.crop.extent(random[:, : self.crop.draws], shape)
        return crop.then(self.flip.extent(random[:, self.crop.draws :], self.crop.size))


class Resize(Step):
    """The whole image brought to one size, for evaluation; the ratio of its sides may change.

    Args:
        size: of the result: pixels of a side, or height and width.
        interpolation: "bilinear" or "bicubic".
        antialias: see `RandomResizedCrop`.

    Raises:
        InputError: a value is out of range.
    """

    size: tuple[int, int]

    def __init__(self, size: int | Sequence[int], interpolation: str = "bilinear", antialias: bool = False) -> None:
        self.size, self.antialias = as_pair(size), antialias
        one_of("interpolation", interpolation, INTERPOLATIONS)
        self.interpolation = interpolation

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, *size) float32."""
        boxes = torch.tensor([0, 0, *images.shape[2:]]).repeat(len(images), 1)
        straight = torch.zeros(len(images), 2, dtype=torch.bool)
        return resample(images, boxes, self.size, self.interpolation, straight, self.antialias)


class CentreCrop(Step):
    """The centre of the image, for evaluation.

    Args:
        size: pixels of a side, or height and width.

    Raises:
        InputError: the size is no number of pixels, or an image is smaller.
    """

    size: tuple[int, int]

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = as_pair(size)

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, *size), of the same type."""
        shape, (height, width) = images.shape[2:], self.size
        if height > shape[0] or width > shape[1]:
            raise InputError(
                f"CentreCrop takes {height} x {width} pixels and the images have {shape[0]} x {shape[1]}; "
                "lower img_size, or cache the images at a larger size."
            )
        top, left = self._start((shape[0], shape[1]))
        return images[:, :, top : top + height, left : left + width]

    def extent(self, random: Tensor, shape: tuple[int, int]) -> Extent:
        """The centre."""
        return Extent.of_boxes(torch.tensor([*self._start(shape), *self.size]).repeat(len(random), 1), shape)

    def _start(self, shape: tuple[int, int]) -> tuple[int, int]:
        # Rounded as torchvision does where the margins differ.
        return round((shape[0] - self.size[0]) / 2), round((shape[1] - self.size[1]) / 2)


def resample(
    images: Tensor, boxes: Tensor, size: tuple[int, int], mode: str, mirrored: Tensor, antialias: bool = False
) -> Tensor:
    """Crop, mirror and resize each image, as torchvision's `resized_crop` does to tensors.

    On a processor images are taken one by one, because a crop then stays in its cache; elsewhere all at once. Both give
    the same numbers up to rounding.

    Args:
        images: (B, C, H, W), uint8 or float32.
        boxes: (B, 4) int64 in host memory: top, left, height, width of the rectangles.
        size: height and width of the result.
        mode: "bilinear" or "bicubic".
        mirrored: (B, 2) bool in host memory: which crops are turned upside down, and which left to right.
        antialias: average over all pixels where a crop shrinks; bicubic is then the kernel of Pillow (a = -0.5).

    Returns:
        (B, C, *size) float32; uint8 is scaled to [0, 1]. What bicubic interpolation throws outside [0, 1] is cut off.
    """
    if images.device.type == "cpu":
        result = _one_by_one(images, boxes, size, mode, mirrored, antialias)
    else:
        result = (_by_products if antialias else _all_at_once)(images, boxes, size, mode, mirrored)
    return result.clamp_(0, 1) if mode == "bicubic" else result


def _one_by_one(
    images: Tensor, boxes: Tensor, size: tuple[int, int], mode: str, mirrored: Tensor, antialias: bool = False
) -> Tensor:
    result = torch.empty(*images.shape[:2], *size)
    for row, ((top, left, height, width), flips) in enumerate(zip(boxes.tolist(), mirrored.tolist(), strict=True)):
        crop = images[row, :, top : top + height, left : left + width]  # C h w
        if any(flips):
            crop = crop.flip([axis for axis, wanted in zip((1, 2), flips, strict=True) if wanted])
        # Channels as a batch of one-channel images: faster than one image of several channels.
        whole = as_float(crop)[:, None]
        result[row] = F.interpolate(whole, size, mode=mode, align_corners=False, antialias=antialias)[:, 0]
    return result


def _by_products(images: Tensor, boxes: Tensor, size: tuple[int, int], mode: str, mirrored: Tensor) -> Tensor:
    """With antialiasing: a matrix for the rows and one for the columns of each image, a few images at a time."""
    box, mirror = send(boxes, images.device), send(mirrored, images.device)
    rows, columns = (
        _shares(box[:, axis], box[:, axis + 2], mirror[:, axis], size[axis], images.shape[axis + 2], mode)
        for axis in (0, 1)
    )
    parts = zip(images.split(16), rows.split(16), columns.split(16), strict=True)
    return torch.cat([row[:, None] @ as_float(part) @ column[:, None].mT for part, row, column in parts])


def _shares(start: Tensor, length: Tensor, mirror: Tensor, size: int, pixels: int, mode: str) -> Tensor:
    """How much of each of the image's rows (or columns) is in each of the result: (B, size, pixels)."""
    start, length = start[:, None, None], length[:, None, None]
    place = torch.arange(size, device=start.device)[:, None] + 0.5
    centre = torch.where(mirror[:, None, None], size - place, place) * length / size  # B size 1, of the crop
    index = torch.arange(pixels, device=start.device) - start
    distance = (index + 0.5 - centre).abs() / (length / size).clamp(min=1)
    if mode == "bilinear":
        weight = (1 - distance).clamp(min=0)
    else:  # Keys (1981) with a = -0.5
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weight = torch.where(distance < 1, near, torch.where(distance < 2, far, 0))
    weight = weight * ((index >= 0) & (index < length))
    return weight / weight.sum(dim=2, keepdim=True)


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
