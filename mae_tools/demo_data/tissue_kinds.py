"""The four kinds of tissue: each paints its ground on a section and says which nuclei lie in it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from .nuclei import Nucleus, Section, noise, scatter, thin_out

Generator = np.random.Generator


def normal(section: Section, rng: Generator) -> list[Nucleus]:
    """Round glands in a little stroma: a pale lumen, tall cells with vacuoles, one row of even nuclei at their base."""
    height, width = section.shape
    nuclei = _fibres(section, rng, strength=0.5, count=rng.uniform(16, 34))
    places = scatter(rng, height, width, 60, margin=30)
    radii = rng.uniform(21, 36, len(places))
    kept = thin_out(places, radii, rng.uniform(0.97, 1.1))
    for (row, column), radius in zip(places[kept].tolist(), radii[kept].tolist(), strict=True):
        gland = _Gland.draw(rng, row, column, radius)
        gland.paint(section, rng)
        nuclei = [nucleus for nucleus in nuclei if not gland.holds(nucleus)]
        nuclei += gland.nuclei(rng)
    return nuclei


def tumour(section: Section, rng: Generator) -> list[Nucleus]:
    """Sheets of cells with crowded nuclei that differ in size, shape and chromatin, and large nucleoli."""
    height, width = section.shape
    nuclei = _fibres(section, rng, strength=0.55, count=rng.uniform(8, 20))
    nests = 0.55 * noise(rng, height, width, 60) + 0.12 * noise(rng, height, width, 14) + rng.uniform(0.15, 0.75)
    inside = soft(nests * 18)
    section.eosin += inside * (0.4 + 0.09 * noise(rng, height, width, 3) - section.eosin)
    section.haematoxylin += inside * (0.14 + 0.05 * noise(rng, height, width, 10) - section.haematoxylin)
    places = scatter(rng, height, width, rng.uniform(70, 260))
    size, unequal = rng.uniform(4.6, 6.6), rng.uniform(0.16, 0.3)
    lengths = size * np.exp(rng.normal(0, unequal, len(places)))
    kept = thin_out(places, lengths, rng.uniform(0.72, 0.95))
    pale = rng.uniform(0.15, 0.8)
    cells = [
        Nucleus(
            row,
            column,
            length,
            length * rng.uniform(0.58, 0.95),
            rng.uniform(0, np.pi),
            irregular=rng.uniform(0.06, 0.17),
            density=rng.uniform(0.75, 1.25),
            vesicular=float(np.clip(rng.normal(pale, 0.25), 0, 1)),
            clumps=rng.uniform(0.2, 0.4),
            nucleoli=int(rng.choice([0, 1, 1, 2])),
        )
        for (row, column), length in zip(places[kept].tolist(), lengths[kept].tolist(), strict=True)
        if _at(nests, row, column) > 0
    ]
    _membranes(section, inside, cells)
    return [nucleus for nucleus in nuclei if _at(nests, nucleus.row, nucleus.column) <= 0] + cells


def lymphocytes(section: Section, rng: Generator) -> list[Nucleus]:
    """A dense or loose infiltrate of small round dark nuclei with next to no cytoplasm, and a few larger pale cells."""
    height, width = section.shape
    _fibres(section, rng, strength=rng.uniform(0.25, 0.6), count=0)
    thick = noise(rng, height, width, 45)  # where they gather
    places = scatter(rng, height, width, rng.uniform(130, 420))
    wanted = rng.uniform(-0.6, -0.1)
    places = places[[_at(thick, *place) + 0.5 * rng.standard_normal() > wanted for place in places.tolist()]]
    cells = [lymphocyte(rng, row, column) for row, column in places.tolist()]
    for index in range(len(cells) // 25):  # centroblasts, macrophages
        length = rng.uniform(5, 6.5)
        cells[index] = replace(cells[index], length=length, width=0.85 * length, vesicular=0.85, nucleoli=2)
    radii = np.array([cell.length for cell in cells])
    kept = thin_out(places, radii, rng.uniform(0.9, 1.05))
    return [cell for cell, stays in zip(cells, kept, strict=True) if stays]


def stroma(section: Section, rng: Generator) -> list[Nucleus]:
    """Wavy bundles of collagen with thin spindle-shaped nuclei along them."""
    return _fibres(section, rng, strength=rng.uniform(0.8, 1.2), count=rng.uniform(25, 110))


KINDS: dict[str, Callable[[Section, Generator], list[Nucleus]]] = {
    "normal": normal,
    "tumour": tumour,
    "lymphocytes": lymphocytes,
    "stroma": stroma,
}


def lymphocyte(rng: Generator, row: float, column: float) -> Nucleus:
    """One small round dark nucleus."""
    length = rng.uniform(3.3, 4.3)
    width = length * rng.uniform(0.86, 1)
    dense = rng.uniform(0.95, 1.3)
    return Nucleus(row, column, length, width, rng.uniform(0, np.pi), 0.03, dense, rng.uniform(0, 0.25), clumps=0.28)


def soft(depth: np.ndarray) -> np.ndarray:
    """0 outside and 1 inside of a shape whose pixels lie so deep in it; a border of one pixel between."""
    return np.clip(depth + 0.5, 0, 1).astype(np.float32)


def _fibres(section: Section, rng: Generator, strength: float, count: float) -> list[Nucleus]:
    """Paint wavy bundles over the whole section and return spindle-shaped nuclei along them.

    The pattern is noise that is stretched along one direction and read through a bent grid.
    """
    height, width = section.shape
    main = rng.uniform(0, np.pi)
    bend = rng.uniform(5, 14)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y += bend * noise(rng, height, width, 55) + 2 * noise(rng, height, width, 18)
    x += bend * noise(rng, height, width, 55) + 2 * noise(rng, height, width, 18)
    along, across = x * np.cos(main) + y * np.sin(main), y * np.cos(main) - x * np.sin(main)
    coarse, fine = (
        map_coordinates(
            rng.standard_normal((64, 64)).astype(np.float32), [across / wide, along / long], order=3, mode="grid-wrap"
        )
        for wide, long in ((6.5, 40), (2.2, 22))
    )
    bundles = 0.5 * coarse + 0.35 * fine
    thread = noise(rng, height, width, 2.5)
    section.eosin[:] = (0.42 + strength * 0.17 * bundles + 0.05 * thread).clip(0.05)
    section.haematoxylin[:] = 0.05
    # Spaces between the bundles, where the noise is lowest.
    section.eosin *= 1 - 0.85 * soft((-bundles - rng.uniform(0.75, 1.1)) * 3) * min(strength, 1)
    # The bundles run along the contours of `across`.
    slope_y, slope_x = np.gradient(across)
    direction = np.arctan2(-slope_x, slope_y)
    if count <= 0:
        return []
    places = scatter(rng, height, width, count)
    lengths = rng.uniform(6, 10.5, len(places))
    kept = thin_out(places, lengths, 0.55)
    return [
        Nucleus(
            row,
            column,
            length,
            length * rng.uniform(0.2, 0.36),
            _at(direction, row, column) + rng.normal(0, 0.12),
            irregular=0.05,
            density=rng.uniform(0.8, 1.2),
            vesicular=rng.uniform(0, 0.5),
        )
        for (row, column), length in zip(places[kept].tolist(), lengths[kept].tolist(), strict=True)
    ]


def _membranes(section: Section, inside: np.ndarray, cells: list[Nucleus]) -> None:
    """Faint borders between the cells of a sheet: halfway between neighbouring nuclei."""
    if len(cells) < 2:
        return
    height, width = section.shape
    tree = cKDTree([(cell.row, cell.column) for cell in cells])
    near = tree.query(np.indices((height, width)).reshape(2, -1).T, k=2)[0].reshape(height, width, 2)  # H W 2
    border = np.exp(-np.square((near[..., 1] - near[..., 0]) / 1.6)) * (near[..., 0] < 14)
    section.eosin += (0.16 * inside * border).astype(np.float32)


@dataclass(frozen=True)
class _Gland:
    """A gland cut across: a wavy ellipse. Lengths in pixels, angles in radians."""

    row: float
    column: float
    radius: float
    tilt: float
    squeeze: float
    wobble: float
    phase: float
    lumen: float

    @classmethod
    def draw(cls, rng: Generator, row: float, column: float, radius: float) -> "_Gland":
        shape = rng.uniform(0, np.pi), rng.uniform(0.72, 1), rng.uniform(0.02, 0.08), rng.uniform(0, 2 * np.pi)
        return cls(row, column, radius, *shape, rng.uniform(0.12, 0.4))

    def outline(self, turn: np.ndarray) -> np.ndarray:
        """Distance of the base from the middle at an angle in the gland's own frame."""
        return self.radius * (1 + self.wobble * np.cos(3 * turn + self.phase))

    def depth(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """0 in the middle, 1 at the base."""
        dy, dx = rows - self.row, columns - self.column
        along = dx * np.cos(self.tilt) + dy * np.sin(self.tilt)
        across = (dy * np.cos(self.tilt) - dx * np.sin(self.tilt)) / self.squeeze
        return np.hypot(along, across) / self.outline(np.arctan2(across, along))

    def holds(self, nucleus: Nucleus) -> bool:
        """Whether a nucleus of the tissue around lies in the gland."""
        return bool(self.depth(np.array(nucleus.row), np.array(nucleus.column)) < 1.08)

    def paint(self, section: Section, rng: Generator) -> None:
        """Cytoplasm, vacuoles of mucus in it, and the lumen."""
        height, width = section.shape
        vacuoles, fine = noise(rng, height, width, 6), noise(rng, height, width, 3)
        depth = self.depth(*np.mgrid[:height, :width].astype(np.float32))
        cell = soft((1 - depth) * self.radius)
        section.eosin += cell * (0.42 + 0.07 * fine - section.eosin)
        section.haematoxylin += cell * (0.1 + 0.03 * fine - section.haematoxylin)
        section.eosin += 0.12 * np.exp(-np.square((depth - 1.02) * self.radius / 1.2))  # basement membrane
        goblet = soft((0.76 - depth) * self.radius / 3) * soft((vacuoles - rng.uniform(0, 0.6)) * 6)
        section.eosin *= 1 - 0.7 * goblet
        section.haematoxylin += 0.07 * goblet
        hollow = soft((self.lumen - depth) * self.radius + 1.5 * vacuoles)
        section.eosin *= 1 - 0.92 * hollow
        section.haematoxylin *= 1 - 0.92 * hollow

    def nuclei(self, rng: Generator) -> list[Nucleus]:
        """Even nuclei side by side along the base, each pointing to the lumen."""
        length, density = rng.uniform(4.2, 5.4), rng.uniform(0.85, 1.15)
        count = int(2 * np.pi * self.radius * (1 + self.squeeze) / 2 / rng.uniform(5.6, 7.5))
        made = []
        for turn in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.25 / self.radius, count):
            distance = float(self.outline(turn)) - length - 1.2 - abs(rng.normal(0, 1.2))
            along, across = distance * np.cos(turn), distance * np.sin(turn) * self.squeeze
            made.append(
                Nucleus(
                    self.row + along * np.sin(self.tilt) + across * np.cos(self.tilt),
                    self.column + along * np.cos(self.tilt) - across * np.sin(self.tilt),
                    length * rng.uniform(0.88, 1.12),
                    length * rng.uniform(0.52, 0.7),
                    float(np.arctan2(across, along)) + self.tilt + rng.normal(0, 0.12),
                    density=density * rng.uniform(0.9, 1.1),
                    vesicular=rng.uniform(0.2, 0.55),
                )
            )
        return made


def _at(field: np.ndarray, row: float, column: float) -> float:
    """The value of a field at a place; outside, at the nearest border."""
    height, width = field.shape
    return float(field[min(max(round(row), 0), height - 1), min(max(round(column), 0), width - 1)])
