"""Colours of H&E-stained tissue brought to those of one reference, so that laboratories and scanners look alike."""

from functools import cache

import numpy as np
from monai.apps.pathology.transforms.stain.array import ExtractHEStains, NormalizeHEStains

STAINS = ("none", "macenko")
_LIGHT = 240.0  # of a glass pixel
_ABSORBS = 0.15  # optical density in every channel from which on a pixel counts as tissue
_LEAST_TISSUE = 0.02  # share of the picture
_LEAST_ANGLE = 5.0  # degrees between both stains; about 20 in well-stained tissue


class _OneStain(Exception):
    """Two stains cannot be told apart."""


class _Extract(ExtractHEStains):
    def __call__(self, image: np.ndarray) -> np.ndarray:
        stains = super().__call__(image)  # 3 2, columns of length 1
        # Haematoxylin absorbs red and eosin hardly does. MONAI 1.6.1 takes the column that absorbs less red for
        # haematoxylin, unlike its own reference: nuclei come out red and stroma blue.
        ratio = stains[0] / (stains[2] + np.finfo(np.float32).eps)
        stains = stains if ratio[0] >= ratio[1] else np.ascontiguousarray(stains[:, ::-1])
        # Nearly parallel stains would make the unmixing blow noise up.
        if not stains[:, 0] @ stains[:, 1] < np.cos(np.radians(_LEAST_ANGLE)):
            raise _OneStain
        return stains


@cache
def _normaliser() -> NormalizeHEStains:
    transform = NormalizeHEStains(tli=_LIGHT, beta=_ABSORBS)
    transform.stain_extractor = _Extract(tli=_LIGHT, beta=_ABSORBS)
    return transform


def normalise_stain(pixels: np.ndarray) -> np.ndarray:
    """Stain normalisation of Macenko et al. (ISBI 2009) by MONAI's `NormalizeHEStains`, towards its reference.

    The two stains of the picture are found from the directions of its optical density; their amounts are scaled and put
    together again with the reference's stains. Which stain is which is decided here (MONAI's order is the wrong way
    round). A picture with hardly any tissue (2 % of its pixels), or in which two
    stains cannot be told apart, stays as it is: MONAI's transform fails on the first and gives wild colours for the
    second.

    Args:
        pixels: uint8 (3, H, W), RGB of H&E-stained tissue in transmitted light.

    Returns:
        uint8 (3, H, W).
    """
    density = -np.log(np.clip(pixels.astype(np.float32) + 1, None, _LIGHT) / _LIGHT)
    if (density > _ABSORBS).all(axis=0).mean() < _LEAST_TISSUE:
        return pixels
    try:
        changed = _normaliser()(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    except _OneStain:
        return pixels
    return np.ascontiguousarray(np.moveaxis(changed, -1, 0))
