"""Pieces that synthetic radiographs are drawn from: a plane in millimetres, soft shapes, strokes, exposure.

x grows to the right of the picture (the patient's left), y downwards. A shape is an array of signed distances, above 0
inside.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from .shapes import Vector, smooth_noise


@dataclasses.dataclass
class Film:
    """Coordinates of every pixel, and what X-rays meet on their way to it.

    Attributes:
        x: (H, W) float32, mm from the middle of the chest.
        y: (H, W) float32.
        inverse: (2, 3) matrix from (x, y, 1) in mm to (column, row).
        pixel: mm that a pixel measures.
        tissue: (H, W) float32, soft tissue and bone; 1 is about the middle of the chest.
        air: (H, W) float32, how much of it the lungs replace by air, 0 to 1.
    """

    x: np.ndarray
    y: np.ndarray
    inverse: np.ndarray
    pixel: float
    tissue: np.ndarray
    air: np.ndarray

    @classmethod
    def blank(
        cls, size: tuple[int, int], side: float, centre: tuple[float, float], turn: float = 0.0, stretch: float = 1.0
    ) -> "Film":
        """An empty film.

        Args:
            size: (H, W) in pixels.
            side: mm that the shorter side covers.
            centre: (x, y) in mm of its middle.
            turn: degrees by which the patient is turned in the picture.
            stretch: how much wider than high the patient appears.
        """
        pixel = side / min(size)
        angle = np.deg2rad(turn)
        turned = pixel * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        forward = turned * np.array([[1 / stretch], [1.0]])
        middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
        offset = np.asarray(centre) - forward @ middle
        rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
        x, y = (
            (forward[axis, 0] * columns + forward[axis, 1] * rows + offset[axis]).astype(np.float32) for axis in (0, 1)
        )
        back = np.linalg.inv(forward)
        inverse = np.column_stack([back, -back @ offset])
        return cls(x, y, inverse, pixel, np.zeros(size, np.float32), np.zeros(size, np.float32))

    def soft(self, inside: np.ndarray, edge: float = 0.0) -> np.ndarray:
        """0 outside and 1 inside a shape, in between over `edge` mm, at least a pixel and a half."""
        share = np.clip(0.5 + inside / max(edge, 1.5 * self.pixel), 0, 1)
        return share * share * (3 - 2 * share)

    def ellipse(self, centre: Vector, radii: Vector, turn: float = 0.0) -> np.ndarray:
        """Signed distance, roughly in mm, of an ellipse turned by `turn` degrees (clockwise in the picture)."""
        # Plain numbers keep arrays in float32, NumPy's own would make them float64.
        cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        first, second = map(float, radii)
        dx, dy = self.x - float(centre[0]), self.y - float(centre[1])
        along = dx * (cos / first) + dy * (sin / first)
        across = dy * (cos / second) - dx * (sin / second)
        return (1 - np.sqrt(along * along + across * across)) * min(first, second)

    def stroke(self, target: np.ndarray, path: Sequence[Vector] | np.ndarray, radius: float | Vector) -> None:
        """Raise `target` to the thickness, 0 to 1, of a rod along a path in mm; thin rods become faint."""
        points = np.asarray(path, float) @ self.inverse[:, :2].T + self.inverse[:, 2]
        radii = np.broadcast_to(np.asarray(radius, float), (len(points),)) / self.pixel
        ends = zip(points.tolist(), radii.tolist(), strict=True)
        for (start, first), (end, last) in itertools.pairwise(ends):
            _draw_rod(target, start, end, first, last)

    def fill(self, opacity: np.ndarray) -> None:
        """Take the share `opacity` of the air away: fluid, tumour or tissue in its place."""
        self.air *= 1 - opacity


def _draw_rod(target: np.ndarray, start: Sequence[float], end: Sequence[float], first: float, last: float) -> None:
    """One piece of a stroke, in pixels: (column, row) and radius of both ends. Plain numbers, as there are hundreds."""
    reach = max(first, last, 0.8) + 1
    low = [max(math.floor(min(pair) - reach), 0) for pair in zip(start, end, strict=True)]
    high = [
        min(math.ceil(max(pair) + reach) + 1, size)
        for pair, size in zip(zip(start, end, strict=True), target.shape[::-1], strict=True)
    ]
    if high[0] <= low[0] or high[1] <= low[1]:
        return
    along = (end[0] - start[0], end[1] - start[1])
    length = max(along[0] ** 2 + along[1] ** 2, 1e-6)
    dx = np.arange(low[0], high[0]) - start[0]
    dy = (np.arange(low[1], high[1]) - start[1])[:, None]
    share = np.clip((dx * along[0] + dy * along[1]) / length, 0, 1)
    squared = (dx - share * along[0]) ** 2 + (dy - share * along[1]) ** 2
    wide = first + share * (last - first)
    drawn = np.maximum(wide, 0.8)  # what is thinner than a pixel and a half only gets fainter
    thickness = np.sqrt(np.clip(1.15 - squared / drawn**2, 0, 1)) * np.minimum(wide / drawn, 1)
    part = target[low[1] : high[1], low[0] : high[0]]
    np.maximum(part, thickness, out=part)


def bent(start: Vector, end: Vector, sag: float, count: int = 9) -> np.ndarray:
    """(count, 2) points of a curve between two points that bulges by `sag` mm to its right."""
    share = np.linspace(0, 1, count)[:, None]
    along = np.subtract(end, start)
    normal = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
    return np.asarray(start, float) + share * along + 4 * share * (1 - share) * sag * normal


@dataclasses.dataclass
class Exposure:
    """How a film was taken and developed.

    Attributes:
        dose: brightness, -1 (dark) to 1 (pale).
        contrast: 0 (flat) to 1 (hard).
        scatter: share of scattered rays, 0 to 1.
        noise: of the quanta, about 0.004 to 0.02.
        slope: (across, down) change of brightness over the film.
    """

    dose: float
    contrast: float
    scatter: float
    noise: float
    slope: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, portable: bool) -> "Exposure":
        """A random one; films taken at the bedside vary more."""
        spread = 1.0 if portable else 0.6
        return cls(
            dose=float(np.clip(rng.normal(0, 0.5 * spread), -1, 1)),
            contrast=float(rng.uniform(0.15 if portable else 0.4, 1)),
            scatter=float(rng.uniform(0.1, 0.5 if portable else 0.3)),
            noise=float(rng.uniform(0.003, 0.008) * (1.4 if portable else 1)),
            slope=(float(rng.normal(0, 0.05 * spread)), float(rng.normal(0, 0.05 * spread))),
        )

    def develop(self, rng: np.random.Generator, film: Film, absorbed: np.ndarray) -> np.ndarray:
        """(H, W) float32 grey values, 0 black to 1 white."""
        height, width = absorbed.shape
        rows = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
        columns = np.linspace(-0.5, 0.5, width, dtype=np.float32)
        haze = _coarse_blur(absorbed, 30 / film.pixel)
        value = (1 - self.scatter) * absorbed + self.scatter * haze
        value = value + self.slope[0] * columns + self.slope[1] * rows
        value += 0.015 * smooth_noise(rng, absorbed.shape, (7, 7))
        grain = gaussian_filter(rng.standard_normal(absorbed.shape, dtype=np.float32), 0.6)
        value = gaussian_filter(value, 0.55) + self.noise * np.exp(0.8 * value) * grain / 0.45
        low, high = 0.02 - 0.1 * self.dose, 1.4 - 0.3 * self.contrast - 0.12 * self.dose
        value = np.maximum((value - low) / (high - low), 0)
        value = value / (1 + value**5) ** 0.2  # the shoulder of the film: dense parts keep some contrast
        return value ** (1.2 - 0.35 * self.dose)


def _coarse_blur(values: np.ndarray, sigma: float) -> np.ndarray:
    """A wide blur, computed on every fourth pixel."""
    small = gaussian_filter(values[::4, ::4], sigma / 4, mode="nearest")
    picture = Image.fromarray(small.astype(np.float32)).resize(values.shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture)


def write_text(value: np.ndarray, text: str, place: tuple[float, float], height: float, white: float = 0.95) -> None:
    """Print text in white; `place` is its middle and `height` its size, as shares of the picture."""
    rows, columns = value.shape
    mask = Image.new("L", (columns, rows))
    font = ImageFont.load_default(size=max(height * rows, 6))
    ImageDraw.Draw(mask).text((place[0] * columns, place[1] * rows), text, fill=255, font=font, anchor="mm")
    share = np.asarray(mask, np.float32) / 255
    value += share * (white - value)
