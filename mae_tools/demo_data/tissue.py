"""Paint pieces of tissue in H&E: four kinds, told apart by their architecture and their nuclei and not by colour.

One pixel is about 0.8 micrometres. Every kind comes with what says nothing about it: section thickness, cytoplasm that
takes more or less haematoxylin, clefts, red blood cells, stray lymphocytes.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from custom_components.errors import InputError

from .nuclei import Nucleus, Section, draw_nucleus, noise, scatter
from .stain import Stain, develop
from .tissue_kinds import KINDS, lymphocyte, soft

MICRONS_PER_PIXEL = 0.8
# Mean densities of a tile are drawn from these ranges whatever its kind, as far as its nuclei allow.
_MEAN_HAEMATOXYLIN = (0.27, 0.5)
_MEAN_EOSIN = (0.24, 0.44)


def paint_tissue(
    rng: np.random.Generator, height: int, width: int, kind: str, stain: Stain
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a piece of tissue; two pieces do not continue each other.

    Args:
        rng: decides everything but the stain.
        height: in pixels of about 0.8 micrometres, at least 16.
        width: as `height`.
        kind: normal (glands with a lumen and a row of basal nuclei), tumour (crowded nuclei of unequal size and shape),
            lymphocytes (small round dark ones) or stroma (wavy fibres with spindle-shaped ones).
        stain: of the slide.

    Returns:
        uint8 (H, W, 3), RGB, and uint16 (H, W), the number of the nucleus that each pixel shows, 0 for none; a nucleus
        is one connected piece, and nuclei may touch.

    Raises:
        InputError: an unknown kind or a size below 16.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; choose one of {', '.join(KINDS)}.")
    if min(height, width) < 16:
        raise InputError(f"A piece of {height} x {width} pixels is too small; expected at least 16 x 16.")
    section = Section.blank(rng, height, width)
    nuclei = KINDS[kind](section, rng)
    nuclei += [lymphocyte(rng, *place) for place in scatter(rng, height, width, rng.uniform(0, 5)).tolist()]
    gap = _clefts(section, rng)
    for number, nucleus in enumerate(nuclei, start=1):
        if not _in_gap(gap, nucleus):
            draw_nucleus(section, rng, nucleus, number)
    gap *= section.instances == 0
    solid = 1 - gaussian_filter(gap, 0.7)
    section.haematoxylin *= solid
    section.eosin *= solid
    _red_cells(section, rng)
    _level(section, rng, gap)
    rgb = develop(rng, section.haematoxylin + section.nuclear, section.eosin, stain)
    return rgb, section.finish()


def _clefts(section: Section, rng: np.random.Generator) -> np.ndarray:
    """Gaps where the section tore or shrank: (H, W) float32, 1 in a gap; in about half of all pieces."""
    height, width = section.shape
    if rng.random() < 0.5:
        return np.zeros(section.shape, np.float32)
    field = noise(rng, height, width, rng.uniform(35, 60)) + 0.12 * noise(rng, height, width, 9)
    if rng.random() < 0.5:  # a hole where the noise is high
        return soft((field - rng.uniform(0.5, 0.9)) * 14)
    # A crack along a contour of the noise; it opens and closes along its way.
    opening = rng.uniform(-1.5, 0.5) + 3 * noise(rng, height, width, 22)
    return soft(opening - np.abs(field) * 22)


def _in_gap(gap: np.ndarray, nucleus: Nucleus) -> bool:
    row, column = (
        min(max(round(middle), 0), size - 1)
        for middle, size in zip((nucleus.row, nucleus.column), gap.shape, strict=True)
    )
    return bool(gap[row, column] > 0.5)


def _red_cells(section: Section, rng: np.random.Generator) -> None:
    """Red blood cells without a nucleus, in a cluster or two, in any kind of tissue."""
    height, width = section.shape
    for _ in range(rng.poisson(0.6 * height * width / 128**2)):
        middle = rng.uniform(0, 1, 2) * (height, width)
        for row, column in middle + rng.normal(0, 9, (int(rng.integers(2, 14)), 2)):
            top, left = max(int(row) - 6, 0), max(int(column) - 6, 0)
            y, x = np.ogrid[top : max(min(int(row) + 7, height), 0), left : max(min(int(column) + 7, width), 0)]
            if y.size and x.size:
                tilt, squeeze = rng.uniform(0, np.pi), rng.uniform(0.65, 1)
                across = (y - row) * np.cos(tilt) - (x - column) * np.sin(tilt)
                along = (y - row) * np.sin(tilt) + (x - column) * np.cos(tilt)
                cell = soft(3.6 - np.hypot(along, across / squeeze))
                box = (slice(top, top + len(y)), slice(left, left + x.shape[1]))
                cell *= section.instances[box] == 0
                section.eosin[box] += cell * (rng.uniform(0.8, 1.05) - section.eosin[box])
                section.haematoxylin[box] *= 1 - cell


def _level(section: Section, rng: np.random.Generator, gap: np.ndarray) -> None:
    """Bring the mean densities near values that do not depend on the kind, so that colour alone does not tell it.

    Thickness scales all of a section; what then lacks in haematoxylin is diffuse, as in cytoplasm rich in RNA or in
    ground substance.
    """
    height, width = section.shape
    wanted, pink = rng.uniform(*_MEAN_HAEMATOXYLIN), rng.uniform(*_MEAN_EOSIN)
    nuclear = float(section.nuclear.mean())
    section.nuclear *= np.clip(0.75 * wanted / max(nuclear, 1e-3), 0.75, 1.35)
    tissue = (section.eosin > 0.08) * (1 - gap) * (1 + 0.25 * noise(rng, height, width, 30))
    missing = wanted - float(section.nuclear.mean()) - float(section.haematoxylin.mean())
    veil = np.clip(missing / max(float(tissue.mean()), 0.2), -0.15, 0.4)
    section.haematoxylin += np.float32(veil) * gaussian_filter(tissue, 1.0) * (section.instances == 0)
    section.eosin *= np.clip(pink / max(float(section.eosin.mean()), 1e-3), 0.6, 1.7)
