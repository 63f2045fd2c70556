"""Where on a slide there is tissue: Otsu on the saturation of a small overview, without ink and black borders."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter
from skimage.filters import threshold_otsu
from skimage.morphology import closing, disk, remove_small_holes, remove_small_objects

_LEAST_SATURATION = 0.05  # Otsu splits bare glass, too: below this nothing is stained
_INK = 0.04  # by how much red must be the darkest colour, of 1
_BLACK = 0.2  # brightness below which nothing is H&E: borders that were not scanned, black ink
OVERVIEW = 2048  # pixels along the longer side


class Tissue(NamedTuple):
    """What an overview shows.

    Attributes:
        mask: bool (H, W).
        scale: pixels of level 0 along a pixel of the mask, down and across.
    """

    mask: np.ndarray
    scale: tuple[float, float]

    def fraction(self, rows: np.ndarray, columns: np.ndarray, size: float) -> np.ndarray:
        """Share of tissue under each of N squares.

        Args:
            rows: (N,) top in pixels of level 0.
            columns: (N,) left.
            size: side in pixels of level 0.

        Returns:
            (N,) float; what lies outside the slide counts as none.
        """
        return box_mean(self.mask, rows / self.scale[0], columns / self.scale[1], size / np.array(self.scale))

    def area(self, corners: np.ndarray, size: float) -> float:
        """Pixels of level 0 that are tissue under at least one of N squares, corners (N, 2) in rows and columns."""
        seen = np.zeros_like(self.mask)
        for row, column in corners:
            top, left = round(row / self.scale[0]), round(column / self.scale[1])
            bottom, right = round((row + size) / self.scale[0]), round((column + size) / self.scale[1])
            seen[top:bottom, left:right] = True
        return float((self.mask & seen).sum() * self.scale[0] * self.scale[1])


def find_tissue(overview: np.ndarray, size: tuple[int, int], mpp: float, min_area: float = 0.01) -> Tissue:
    """Find stained tissue.

    Haematoxylin and eosin both absorb green most, and red less than green: where red is the darkest of the three
    colours there is blue, green or black ink and no stain. Red ink looks like dense eosin and is not told apart.

    Args:
        overview: uint8 (h, w, 3), the whole slide, small.
        size: height and width of level 0.
        mpp: micrometres a pixel at level 0.
        min_area: pieces (and, within them, holes) below so many square millimetres are dropped (filled).

    Returns:
        The mask, on the pixels of the overview.

    Source:
        Otsu's threshold on saturation is that of Lu et al., Nature Biomedical Engineering 5:555, 2021, methods, and of
        most pipelines since.
    """
    scale = (size[0] / overview.shape[0], size[1] / overview.shape[1])
    unit = np.asarray(Image.fromarray(overview).filter(ImageFilter.MedianFilter(3)), np.float32) / 255
    red, green, blue = np.moveaxis(unit, -1, 0)
    brightest, others = np.maximum(np.maximum(red, green), blue), np.minimum(green, blue)
    saturation = (brightest - np.minimum(red, others)) / np.maximum(brightest, 1e-6)  # of HSV
    ink = others - red > _INK
    stained = ~ink & (brightest > _BLACK)
    levels = saturation[stained]
    if not levels.size or levels.max() - levels.min() < _LEAST_SATURATION / 2:
        # One shade everywhere (or nothing but ink): there are no two groups to split.
        mask = stained & (saturation > _LEAST_SATURATION)
    else:
        mask = stained & (saturation > max(float(threshold_otsu(levels)), _LEAST_SATURATION))
    mask = closing(mask, disk(2))
    pixels = max(int(min_area * 1e6 / (mpp**2 * scale[0] * scale[1])), 1)
    mask = remove_small_objects(mask, max_size=pixels)
    return Tissue(remove_small_holes(mask, max_size=pixels), scale)


def box_mean(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mean of (H, W) values under N boxes, to the nearest pixel; zero outside.

    Args:
        values: numbers or bool.
        rows: (N,) tops, fractional.
        columns: (N,) lefts.
        size: height and width of the boxes.
    """
    height, width = values.shape
    sums = np.zeros((height + 1, width + 1))
    np.cumsum(np.cumsum(values, axis=0), axis=1, out=sums[1:, 1:])
    top, left = np.rint(rows).astype(int), np.rint(columns).astype(int)
    # A box smaller than a pixel looks at the one under it.
    bottom = np.maximum(np.rint(rows + size[0]).astype(int), top + 1)
    right = np.maximum(np.rint(columns + size[1]).astype(int), left + 1)
    area = (bottom - top) * (right - left)
    top, bottom = top.clip(0, height), bottom.clip(0, height)
    left, right = left.clip(0, width), right.clip(0, width)
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return total / area
