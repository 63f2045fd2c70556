"""RandAugment on batches."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import InputError, within
from . import colour
from .crops import INTERPOLATIONS
from .step import Extent, Step, as_float, change_rows, send
from .warp import GEOMETRIC, matrix, warp

TOP = 10.0  # the largest magnitude


def _enhance(change: Tensor) -> Tensor:
    return 1 + 0.9 * change


# What an operation takes, as a function of the magnitude / 10 (from -1 to 1 where the sign is drawn too).
_STRENGTH: dict[str, Callable[[Tensor], Tensor]] = {
    "rotate": lambda change: 30 * change,  # degrees
    "shear_x": lambda change: 0.3 * change,
    "shear_y": lambda change: 0.3 * change,
    "translate_x": lambda change: 0.45 * change,  # share of the width
    "translate_y": lambda change: 0.45 * change,
    "colour": _enhance,
    "contrast": _enhance,
    "brightness": _enhance,
    "sharpness": _enhance,
    "posterize": lambda change: 4 - (4 * change).floor(),  # bits that are kept
    "solarize": lambda change: 256 - (256 * change).floor(),  # first level that is inverted
    "solarize_add": lambda change: (110 * change).floor(),  # levels
}
_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "autocontrast": colour.autocontrast,
    "equalize": colour.equalize,
    "invert": colour.invert,
}
_GRADED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "colour": colour.colour,
    "contrast": colour.contrast,
    "brightness": colour.brightness,
    "sharpness": colour.sharpness,
    "posterize": colour.posterize,
    "solarize": colour.solarize,
    "solarize_add": colour.solarize_add,
}
_ONE_SIDED = ("posterize", "solarize", "solarize_add")
_INVERSION = ("invert", "posterize", "solarize", "solarize_add")


class RandAugment(Step):
    """A few random operations on each image: Cubuk et al., arXiv 1909.13719, as timm's `rand-m9-mstd0.5-inc1` has it.

    Each of `num_ops` operations is drawn from the list with replacement and applied with `probability`; its magnitude
    is drawn from a normal distribution and clipped to 0 ... 10. At magnitude m: rotate by +-3 m degrees, shear by
    +-0.03 m, translate by +-0.045 m of the side, colour, contrast, brightness and sharpness by the factor 1 +- 0.09 m,
    autocontrast and equalize. With `inversion` also invert, posterize to 4 - 0.4 m bits, solarize from level
    256 - 25.6 m and solarize-add of 11 m levels. These turn the order of grey levels around or merge them; in an X-ray
    that order is what a finding shows by, so they are left out unless asked for. On one channel "colour" does nothing,
    as on a grey image with three.

    Args:
        num_ops: operations for each image.
        magnitude: their mean magnitude, from 0 to 10.
        magnitude_std: its standard deviation.
        probability: that a drawn operation is applied.
        inversion: draw from all 15 operations instead of the 11 that keep the order of grey levels.
        interpolation: of moved images: "bilinear", "bicubic", or "random" for either.
        fill: level, 0 ... 255, of what moves in from outside; one, or one a channel.

    Raises:
        InputError: a value is out of range.
    """

    _COLUMNS = 5  # operation, whether applied, magnitude, sign, interpolation

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9.0,
        magnitude_std: float = 0.5,
        probability: float = 0.5,
        inversion: bool = False,
        interpolation: str = "random",
        fill: float | Sequence[float] = 128.0,
    ) -> None:
        levels = [float(level) for level in (fill if isinstance(fill, Sequence) else [fill])]
        _check(num_ops, magnitude, magnitude_std, interpolation, levels)
        self.probability = within("probability", probability, "[0, 1]")
        self.num_ops, self.magnitude, self.magnitude_std = num_ops, magnitude, magnitude_std
        self.interpolation, self.fill = interpolation, torch.tensor(levels)[:, None, None] / 255
        names = [*GEOMETRIC, *_PLAIN, *_GRADED]
        self.operations = [name for name in names if inversion or name not in _INVERSION]
        self.draws = self._COLUMNS * num_ops

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape, float32, from 0 to 1."""
        images = as_float(images)
        for start in range(0, self.draws, self._COLUMNS):
            self._apply_one(images, random[:, start : start + self._COLUMNS])
        return images

    def extent(self, random: Tensor, shape: tuple[int, int]) -> Extent:
        """Not a part of the image: rotation and shear turn it.

        Raises:
            InputError: always.
        """
        raise InputError(
            "RandAugment turns, shears and moves images, which attention maps do not follow; leave it out of the "
            "augmentation."
        )

    def decide(self, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What one operation's five columns mean.

        Returns:
            The operation's position in `operations`, -1 for none; the signed magnitude / 10; whether interpolation is
            bicubic: (B,) each.
        """
        choice, applied, size, sign, cubic = columns.double().unbind(1)
        operation = (choice * len(self.operations)).long()
        # Half a step more: the inverse of the normal distribution is infinite at 0.
        magnitude = self.magnitude + self.magnitude_std * torch.special.ndtri(size + 2.0**-25)
        change = magnitude.clamp(0, TOP) / TOP
        bicubic = cubic < {"bilinear": 0.0, "bicubic": 1.0, "random": 0.5}[self.interpolation]
        return (
            torch.where(applied < self.probability, operation, -1),
            torch.where(sign < 0.5, change, -change),
            bicubic,
        )

    def _apply_one(self, images: Tensor, columns: Tensor) -> None:
        """One operation on each image, in place."""
        operation, change, bicubic = self.decide(columns)
        for number, name in enumerate(self.operations):
            rows = (operation == number).nonzero()[:, 0]
            if name in _PLAIN:
                change_rows(images, rows, _PLAIN[name])
            elif name in _GRADED:
                strength = _STRENGTH[name](change[rows].abs() if name in _ONE_SIDED else change[rows])
                change_rows(images, rows, _GRADED[name], send(strength.float(), images.device))
        for mode, chosen in zip(INTERPOLATIONS, (~bicubic, bicubic), strict=True):
            self._move(images, torch.where(chosen, operation, -1), change, mode)

    def _move(self, images: Tensor, operation: Tensor, change: Tensor, mode: str) -> None:
        """All images that are rotated, sheared or translated, in one sampling."""
        matrices = {}
        for number, name in enumerate(self.operations):
            if name in GEOMETRIC:
                for row in (operation == number).nonzero()[:, 0].tolist():
                    strength = float(_STRENGTH[name](change[row]))
                    matrices[row] = matrix(name, strength, images.shape[2], images.shape[3])
        rows = torch.tensor(list(matrices), dtype=torch.int64)
        change_rows(images, rows, warp, torch.tensor(list(matrices.values())), mode, send(self.fill, images.device))


def _check(num_ops: int, magnitude: float, magnitude_std: float, interpolation: str, fill: Sequence[float]) -> None:
    if num_ops < 1:
        raise InputError(f"num_ops is {num_ops}; RandAugment needs at least 1 operation.")
    if not 0 <= magnitude <= TOP or not magnitude_std >= 0:
        raise InputError(
            f"magnitude is {magnitude} +- {magnitude_std}; it must be from 0 to {TOP:g}, its deviation at least 0."
        )
    if interpolation not in (*INTERPOLATIONS, "random"):
        raise InputError(f"interpolation is {interpolation!r}; it must be bilinear, bicubic or random.")
    if not all(0 <= level <= 255 for level in fill):
        raise InputError(f"fill is {fill}; it must be levels from 0 to 255.")
