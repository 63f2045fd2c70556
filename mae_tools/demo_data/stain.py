"""Haematoxylin and eosin: from stain densities to the colours of a scanned tile, by the Beer-Lambert law."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

# Optical density of red, green and blue for each dye (rows of unit length), about those that Macenko et al. (ISBI 2009)
# found in slides: haematoxylin takes away red and green, eosin green and blue.
HAEMATOXYLIN = (0.60, 0.71, 0.35)
EOSIN = (0.16, 0.88, 0.44)


@dataclass(frozen=True)
class Stain:
    """How one slide was stained and scanned; all its tiles share this.

    Attributes:
        haematoxylin: optical density of red, green and blue at density 1.
        eosin: the same.
        white: red, green and blue of bare glass, 0 to 255.
        blur: focus, standard deviation in pixels.
        noise: of the camera, standard deviation in levels.
    """

    haematoxylin: tuple[float, float, float] = HAEMATOXYLIN
    eosin: tuple[float, float, float] = EOSIN
    white: tuple[float, float, float] = (242.0, 240.0, 243.0)
    blur: float = 0.5
    noise: float = 2.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Stain":
        """The stain of a random slide: strength and hue of both dyes, light, focus and noise vary."""
        dyes = []
        for hue in (HAEMATOXYLIN, EOSIN):
            turned = np.clip(np.array(hue) + rng.normal(0, 0.035, 3), 0.02, None)
            dyes.append(turned / np.linalg.norm(turned) * np.exp(rng.normal(0, 0.2)))
        white = np.clip(rng.normal(240, 4) + rng.normal(0, 3, 3), 220, 252)
        blur, noise = rng.uniform(0.35, 0.85), rng.uniform(1.0, 3.5)
        return cls(_triple(dyes[0]), _triple(dyes[1]), _triple(white), float(blur), float(noise))


def develop(rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray, stain: Stain) -> np.ndarray:
    """What a scanner makes of two dyes: light falls off exponentially with their density.

    Args:
        rng: for the camera's noise.
        haematoxylin: density (H, W), 0 for none, about 1 in a nucleus.
        eosin: density (H, W), about 0.5 in collagen.
        stain: the slide's.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    densities = np.stack([haematoxylin, eosin], -1).clip(0)  # H W 2
    absorbed = densities @ np.array([stain.haematoxylin, stain.eosin], densities.dtype)  # H W 3
    light = np.array(stain.white, absorbed.dtype) * np.exp(-absorbed)
    light = gaussian_filter(light, (stain.blur, stain.blur, 0))
    light += stain.noise * gaussian_filter(rng.standard_normal(light.shape, light.dtype.type), (0.5, 0.5, 0)) / 0.5
    return np.rint(light.clip(0, 255)).astype(np.uint8)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
