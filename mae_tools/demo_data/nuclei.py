"""A tissue section as densities of two dyes, and the nuclei in it, each a shape with chromatin and a number."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from .shapes import smooth_noise

_LEAST_PIXELS = 12  # a sliver at the edge or below another nucleus gets no number


@dataclass
class Section:
    """What is painted on.

    Attributes:
        haematoxylin: density (H, W) float32.
        eosin: density (H, W) float32.
        nuclear: haematoxylin of nuclei alone, (H, W) float32; kept apart so that overlapping ones add up.
        instances: (H, W) uint16, the number of the nucleus that lies on top, 0 for none.
        grain: chromatin texture, (H, W) float32, mean 0 and standard deviation 1.
    """

    haematoxylin: np.ndarray
    eosin: np.ndarray
    nuclear: np.ndarray
    instances: np.ndarray
    grain: np.ndarray

    @classmethod
    def blank(cls, rng: np.random.Generator, height: int, width: int) -> "Section":
        """A section without anything."""
        shape = (height, width)
        haematoxylin, eosin, nuclear = np.zeros((3, *shape), np.float32)
        grain = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 0.9)
        grain /= max(float(grain.std()), 1e-6)
        return cls(haematoxylin, eosin, nuclear, np.zeros(shape, np.uint16), grain)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.grain.shape
        return height, width

    def finish(self) -> np.ndarray:
        """Number the nuclei from 1 on, each in one piece; what is left of a covered one is dropped where tiny."""
        result = np.zeros_like(self.instances)
        number = 0
        for index, box in enumerate(ndimage.find_objects(self.instances.astype(np.int32)), start=1):
            if box is None:
                continue
            parts, count = ndimage.label(self.instances[box] == index)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
            if sizes.max() >= _LEAST_PIXELS:
                number += 1
                result[box][parts == 1 + int(sizes.argmax())] = number
        return result


@dataclass(frozen=True)
class Nucleus:
    """One nucleus.

    Attributes:
        row: of its middle, pixels; it may lie outside the section.
        column: as `row`.
        length: longer half axis in pixels.
        width: shorter half axis.
        angle: of the longer axis, radians from the columns' direction.
        irregular: how far the outline departs from an ellipse, as a share of the radius.
        density: of haematoxylin.
        vesicular: 0 for even dark chromatin, 1 for a pale inside with a dark membrane.
        clumps: contrast of the chromatin.
        nucleoli: how many.
    """

    row: float
    column: float
    length: float
    width: float
    angle: float = 0.0
    irregular: float = 0.04
    density: float = 1.0
    vesicular: float = 0.3
    clumps: float = 0.15
    nucleoli: int = 0


def draw_nucleus(section: Section, rng: np.random.Generator, nucleus: Nucleus, number: int) -> None:
    """Paint a nucleus below those that are there, and give its visible pixels a number; nothing if it lies outside."""
    reach = int(1.4 * nucleus.length) + 3
    box = tuple(
        slice(max(int(middle) - reach, 0), max(min(int(middle) + reach + 1, size), 0))
        for middle, size in zip((nucleus.row, nucleus.column), section.shape, strict=True)
    )
    y = np.arange(box[0].start, box[0].stop, dtype=np.float32)[:, None] - nucleus.row
    x = np.arange(box[1].start, box[1].stop, dtype=np.float32)[None] - nucleus.column
    phases, sizes = rng.uniform(0, 2 * np.pi, 4), rng.normal(0, 1, 4)
    spots = rng.uniform(-0.45, 0.45, (nucleus.nucleoli, 2))
    if not y.size or not x.size:
        return
    along = x * np.cos(nucleus.angle) + y * np.sin(nucleus.angle)
    across = y * np.cos(nucleus.angle) - x * np.sin(nucleus.angle)
    u, v = along / nucleus.length, across / nucleus.width
    turn = np.arctan2(v, u)
    outline = np.ones_like(turn)
    for order, (phase, size) in enumerate(zip(phases, sizes, strict=True), start=2):
        outline += nucleus.irregular * size * 1.6 / order * np.cos(order * turn + phase)
    inside = (1 - np.hypot(u, v) / outline.clip(0.5)) * nucleus.width  # about pixels from the border
    cover = (inside + 0.5).clip(0, 1)
    rim = np.exp(-np.square(inside - 0.8) / 1.2)
    density = 1 - nucleus.vesicular * (0.55 - 0.75 * rim)
    for place in spots:
        radius = 0.22 * nucleus.width + 0.5
        distance = np.square(along - place[0] * nucleus.length) + np.square(across - place[1] * nucleus.width)
        density += 0.8 * np.exp(-distance / radius**2)
    density *= nucleus.density * (1 + nucleus.clumps * section.grain[box]).clip(0.4, 1.8)
    own = (cover * density).astype(np.float32)
    before = section.nuclear[box]
    section.nuclear[box] = np.maximum(before, own) + 0.3 * np.minimum(before, own)
    section.eosin[box] *= 1 - 0.55 * cover
    section.haematoxylin[box] *= 1 - 0.6 * cover
    free = section.instances[box] == 0
    section.instances[box][free & (cover > 0.5)] = number


def thin_out(centres: np.ndarray, radii: np.ndarray, closeness: float) -> np.ndarray:
    """Which of many circles stay so that no two are nearer than `closeness` times the sum of their radii.

    Earlier ones stay before later ones; 1 lets them touch, less lets them overlap.

    Args:
        centres: (N, 2).
        radii: (N,).
        closeness: see above.

    Returns:
        bool (N,).
    """
    kept = np.ones(len(centres), bool)
    if len(centres) < 2:
        return kept
    pairs = cKDTree(centres).query_pairs(2 * closeness * float(radii.max()), output_type="ndarray")
    gap = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1)
    pairs = pairs[gap < closeness * (radii[pairs[:, 0]] + radii[pairs[:, 1]])]
    pairs = pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]
    for first, second in pairs.tolist():  # first < second: by the time of a pair its first circle has been decided
        if kept[first]:
            kept[second] = False
    return kept


def scatter(rng: np.random.Generator, height: int, width: int, count: float, margin: float = 12.0) -> np.ndarray:
    """Random places, (N, 2) rows and columns: about `count` in 128 x 128 pixels, of the section and a margin."""
    tall, wide = height + 2 * margin, width + 2 * margin
    number = max(round(count * tall * wide / 128**2), 1)
    return rng.uniform(0, 1, (number, 2)) * (tall, wide) - margin


def noise(rng: np.random.Generator, height: int, width: int, grain: float) -> np.ndarray:
    """Smooth noise, float32 (H, W), about -1 to 1, with features of about `grain` pixels."""
    knots = [max(round(size / grain), 3) + 1 for size in (height, width)]
    return smooth_noise(rng, (height, width), knots)
