"""Pieces of tissue in H&E: four kinds, told apart by how nuclei are shaped and arranged, and not by colour.

Stain and light are those of the slide, and the mean density of both dyes is drawn for each piece whatever its kind.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, label

from .shapes import ellipse, noise, soft, to_bytes

MICRONS_PER_PIXEL = 0.8
# Optical density of red, green and blue for each dye (rows of unit length), about those that Macenko et al. (ISBI 2009)
# found in slides: haematoxylin takes away red and green, eosin green and blue.
_DYES = np.array([[0.60, 0.71, 0.35], [0.16, 0.88, 0.44]])
Generator = np.random.Generator


class Stain(NamedTuple):
    """How one slide was stained and scanned: density of both dyes (2, 3), colour of the glass (3,), camera noise."""

    dyes: np.ndarray
    white: np.ndarray
    noise: float

    @classmethod
    def draw(cls, rng: Generator) -> "Stain":
        """The stain of a random slide."""
        dyes = np.clip(_DYES + rng.normal(0, 0.035, (2, 3)), 0.02, None) * np.exp(rng.normal(0, 0.2, (2, 1)))
        return cls(dyes, np.clip(rng.normal(240, 5) + rng.normal(0, 3, 3), 220, 252), float(rng.uniform(1, 3.5)))

    def develop(self, rng: Generator, densities: np.ndarray) -> np.ndarray:
        """Colours, uint8 (H, W, 3), of dye densities (2, H, W): light falls off exponentially with them."""
        light = self.white * np.exp(-np.moveaxis(densities.clip(0), 0, -1) @ self.dyes)
        return to_bytes(gaussian_filter(light, (0.5, 0.5, 0)) + rng.normal(0, self.noise, light.shape))


class Nuclei(NamedTuple):
    """Places (N, 2), half axes (N, 2) and turns (N,) of nuclei, how dark they are, and how pale inside."""

    places: np.ndarray
    radii: np.ndarray
    turns: np.ndarray
    darkness: float = 1.0
    vesicular: float = 0.2


def _scattered(rng: Generator, shape: tuple[int, int], per_tile: float, least_gap: float) -> np.ndarray:
    """Random places, about `per_tile` in 100 x 100 pixels, of which no two are closer than `least_gap`."""
    wanted = rng.uniform(-10, np.array(shape) + 10, (int(per_tile * (shape[0] + 20) * (shape[1] + 20) / 1e4), 2))
    kept: list[np.ndarray] = []
    for place in wanted:
        if not kept or np.min(np.hypot(*(np.array(kept) - place).T)) >= least_gap:
            kept.append(place)
    return np.array(kept).reshape(-1, 2)


def _normal(rng: Generator, shape: tuple[int, int], eosin: np.ndarray) -> Nuclei:
    """Glands: a lumen, and around it a row of oval nuclei that point at it."""
    places, turns = [], []
    points = list(np.mgrid[: shape[0], : shape[1]].astype(float))
    eosin += 0.25
    for centre in _scattered(rng, shape, 3.0, 62):
        radius = rng.uniform(20, 28)
        eosin += 0.35 * soft(ellipse(points, centre, (radius + 4,) * 2), 3)
        eosin *= 1 - soft(ellipse(points, centre, (0.4 * radius,) * 2), 3)
        around = np.linspace(0, 2 * np.pi, int(0.85 * radius), endpoint=False)
        around += rng.normal(0, 0.04, len(around))
        places.append(centre + radius * np.stack([np.cos(around), np.sin(around)], 1))
        turns.append(around)
    count = sum(map(len, turns))
    radii = np.array([5.0, 3.2]) * rng.uniform(0.9, 1.1, (count, 2))
    return Nuclei(np.concatenate([np.empty((0, 2)), *places]), radii, np.concatenate([np.empty(0), *turns]))


def _tumour(rng: Generator, shape: tuple[int, int], eosin: np.ndarray) -> Nuclei:
    """Crowded large nuclei of unequal size and shape in no order, pale inside."""
    eosin += 0.45
    places = _scattered(rng, shape, 130, 9)
    radii = rng.uniform(3.5, 7.5, (len(places), 1)) * rng.uniform(0.75, 1.2, (len(places), 2))
    return Nuclei(places, radii, rng.uniform(0, np.pi, len(places)), 0.9, 0.45)


def _lymphocytes(rng: Generator, shape: tuple[int, int], eosin: np.ndarray) -> Nuclei:
    """Small round dark nuclei."""
    eosin += 0.3
    places = _scattered(rng, shape, 150, 8)
    return Nuclei(places, rng.uniform(3.0, 3.8, (len(places), 1)) * np.ones(2), np.zeros(len(places)), 1.25)


def _stroma(rng: Generator, shape: tuple[int, int], eosin: np.ndarray) -> Nuclei:
    """Wavy fibres, and spindle-shaped nuclei along them."""
    turn, bend = rng.uniform(0, np.pi), noise(rng, shape, 60)
    y, x = np.mgrid[: shape[0], : shape[1]]
    across = y * np.sin(turn) - x * np.cos(turn) + 7 * bend
    eosin += 0.5 + 0.18 * np.sin(across / 1.6 + 2 * noise(rng, shape, 25))
    places = _scattered(rng, shape, 24, 13)
    radii = np.array([8.5, 2.0]) * rng.uniform(0.85, 1.15, (len(places), 2))
    return Nuclei(places, radii, turn + rng.normal(0, 0.15, len(places)), 1.1)


KINDS: dict[str, Callable[[Generator, tuple[int, int], np.ndarray], Nuclei]] = {
    "normal": _normal,
    "tumour": _tumour,
    "lymphocytes": _lymphocytes,
    "stroma": _stroma,
}


def paint_tissue(rng: Generator, height: int, width: int, kind: str, stain: Stain) -> tuple[np.ndarray, np.ndarray]:
    """Paint a piece of one of `KINDS`.

    Returns:
        uint8 (H, W, 3), RGB, and uint16 (H, W), the number of the nucleus that each pixel shows, 0 for none; a nucleus
        is one connected piece, and nuclei may touch.
    """
    shape = (height, width)
    eosin = 0.06 * noise(rng, shape, 12)
    nuclei = KINDS[kind](rng, shape, eosin)
    stray = _scattered(rng, shape, rng.uniform(0, 6), 10)  # lymphocytes, as anywhere
    haematoxylin, instances = np.zeros(shape), np.zeros(shape, np.uint16)
    _draw_nuclei(rng, haematoxylin, instances, nuclei)
    _draw_nuclei(rng, haematoxylin, instances, Nuclei(stray, np.full((len(stray), 2), 3.3), np.zeros(len(stray)), 1.2))
    # Mean densities do not depend on the kind: what lacks in haematoxylin is diffuse, as in cytoplasm rich in RNA.
    free = instances == 0
    eosin = eosin.clip(0) * np.where(free, 1, 0.5)
    wanted, pink = rng.uniform(0.3, 0.5), rng.uniform(0.24, 0.44)
    thick = np.clip(wanted / max(haematoxylin.mean(), 1e-3), 0.7, 1.3)
    veil = np.clip(wanted - thick * haematoxylin.mean(), 0, 0.3)
    densities = np.stack([thick * haematoxylin + veil * free * (eosin > 0.05), eosin * pink / eosin.mean()])
    return stain.develop(rng, densities), instances


def _draw_nuclei(rng: Generator, haematoxylin: np.ndarray, instances: np.ndarray, nuclei: Nuclei) -> None:
    """Paint nuclei where nothing lies yet, and number what each one shows if that is one piece of some size."""
    chromatin = 1 + 0.2 * noise(rng, instances.shape, 2)
    for place, radii, turn in zip(nuclei.places, nuclei.radii, nuclei.turns, strict=True):
        start = np.maximum(np.floor(place - radii.max() - 2).astype(int), 0)
        box = tuple(slice(a, max(int(b), a)) for a, b in zip(start, place + radii.max() + 3, strict=True))
        free = instances[box] == 0
        points = [axis + first for axis, first in zip(np.indices(free.shape), start, strict=True)]
        depth = ellipse(points, place, radii, turn)
        pieces, _ = label((depth > 0) & free)
        sizes = np.bincount(pieces.ravel(), minlength=2)[1:]
        if sizes.max() < 10:
            continue
        shown = pieces == 1 + int(sizes.argmax())
        density = nuclei.darkness * (1 - nuclei.vesicular * soft(depth - 2)) * chromatin[box]
        haematoxylin[box] = np.where(free, np.maximum(haematoxylin[box], soft(depth) * density), haematoxylin[box])
        instances[box][shown] = instances.max() + 1
