"""Colours of H&E-stained tissue, jittered stain by stain."""

import torch
from torch import Tensor

from ..errors import InputError, within
from .step import Step, as_float, send

# Optical density of haematoxylin, eosin and DAB in red, green and blue: Ruifrok and Johnston, Anal Quant Cytol Histol
# 2001. The third row is a residual that H&E tissue hardly has.
HED = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=torch.float64)
_DARKEST = 1 / 255


class StainJitter(Step):
    """Changes how strongly and how deeply each stain shows, as another laboratory would have stained the slide.

    Stain augmentation of Tellez et al. (IEEE TMI 2018; compared in arXiv 1902.06543): light absorption is split into
    haematoxylin, eosin and a residual, each concentration c becomes a c + b with a uniform in 1 +- `scale` and b
    uniform in +- `shift`, and the image is put together again. Stands before `Normalise`.

    A concentration of 1 adds its row of `HED` to the optical density, -ln(transmitted light). Tellez's "light" variant
    has 0.05 for both ranges, in the units of an older scikit-image.

    Args:
        scale: half the width of the range of a, from 0 to below 1.
        shift: half the width of the range of b, at least 0; glass, too, takes on this colour.

    Raises:
        InputError: a value is out of range, or the images have no three channels.
    """

    draws = 6

    def __init__(self, scale: float = 0.05, shift: float = 0.05) -> None:
        self.scale = within("scale of the stain jitter", scale, "[0, 1)")
        self.shift = within("shift of the stain jitter", shift, "[0, inf)")

    def __call__(self, images: Tensor, random: Tensor) -> Tensor:
        """(B, 3, H, W) -> same shape, float32, from 0 to 1."""
        if images.shape[1] != 3:
            raise InputError(
                f"Stain jitter is for RGB images and these have {images.shape[1]} channel(s); set stain_jitter to 0."
            )
        images = as_float(images)
        matrix, offset = (send(part.float(), images.device) for part in self.change(random))
        density = images.clamp(min=_DARKEST).log().neg_().flatten(2)  # B 3 HW
        density = torch.baddbmm(offset[:, :, None], matrix, density)
        return density.neg_().exp_().clamp_(0, 1).view(images.shape)

    def change(self, random: Tensor) -> tuple[Tensor, Tensor]:
        """What happens to the optical density of red, green and blue.

        A stain's change is linear there too, so three maps become one.

        Args:
            random: (B, 6) numbers in [0, 1).

        Returns:
            (B, 3, 3) float64 matrices and (B, 3) offsets.
        """
        unmix = torch.linalg.inv(HED)
        signed = 2 * random[:, :6].double() - 1
        factor, addend = 1 + self.scale * signed[:, :3], self.shift * signed[:, 3:]  # B 3
        # Row vectors: density @ unmix are the stains, stains @ HED the density.
        matrix = unmix[None] * factor[:, None, :] @ HED
        return matrix.transpose(1, 2), addend @ HED
