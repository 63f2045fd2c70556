"""The normal chest of a synthetic radiograph: body, lungs with vessels, heart, bones; in mm from its middle."""

import dataclasses

import numpy as np

from .film import Film, bent
from .shapes import smooth_noise

AIR = 0.62  # how much less lungs absorb than what is around them


@dataclasses.dataclass
class Person:
    """What stays the same in all radiographs of a patient.

    Attributes:
        width: half width of the rib cage at its base, mm.
        height: from the top of the lungs to the domes of the diaphragm at full breath, mm.
        fat: thickness of the wall, mm.
        breasts: half width of the breast shadows, mm; 0 for none.
        heart: size of the heart, 1 as usual.
        spacing: from rib to rib, mm.
        vessels: seed of the vessels of the lung.
    """

    width: float
    height: float
    fat: float
    breasts: float
    heart: float
    spacing: float
    vessels: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Person":
        """A random one."""
        female = rng.random() < 0.5
        size = rng.uniform(0.88, 1.05) - 0.05 * female
        return cls(
            width=138 * size * rng.uniform(0.94, 1.06),
            height=205 * size * rng.uniform(0.92, 1.08),
            fat=rng.uniform(16, 48),
            breasts=rng.uniform(42, 70) * (female and rng.random() < 0.8),
            heart=rng.uniform(0.88, 1.13),
            spacing=rng.uniform(21, 25) * size,
            vessels=int(rng.integers(2**31)),
        )


@dataclasses.dataclass
class Chest:
    """A person in one posture, and where things lie.

    Attributes:
        person: who.
        portable: taken at the bedside from in front: the heart looks larger, the arms are not out of the way.
        apex: y of the top of the lungs.
        domes: y of the right and of the left dome of the diaphragm (right first, as it is left in the picture).
        widths: half widths to the right and to the left.
        shift: x of the middle of the mediastinum.
        heart: size of the heart in this picture.
    """

    person: Person
    portable: bool
    apex: float
    domes: tuple[float, float]
    widths: tuple[float, float]
    shift: float
    heart: float

    @classmethod
    def draw(cls, rng: np.random.Generator, person: Person, enlarged: float) -> "Chest":
        """A random posture; `enlarged` is how much larger than usual the heart is."""
        portable = rng.random() < 0.4
        breath = rng.uniform(0.8, 0.98) if portable else rng.uniform(0.9, 1.05)
        rotation = rng.normal(0, 0.03 if portable else 0.015)
        apex = -130 + rng.normal(0, 4)
        dome = apex + person.height * breath
        raised = rng.uniform(10, 30) * (rng.random() < 0.12)
        either = rng.random() < 0.5
        return cls(
            person=person,
            portable=portable,
            apex=apex,
            domes=(dome - raised * either, dome + rng.uniform(3, 14) - raised * (not either)),
            widths=(person.width * (1 - rotation), person.width * (1 + rotation)),
            shift=120 * rotation + rng.normal(0, 2),
            heart=0.88 * person.heart * enlarged * (1.06 if portable else 1.0) * (1 + 0.35 * (1 - breath)),
        )

    def side(self, film: Film, pair: tuple[float, float]) -> np.ndarray:
        """A (right, left) pair spread over the film, one passing smoothly into the other behind the heart."""
        share = np.clip((film.x - self.shift) / 60 + 0.5, 0, 1)
        return np.float32(pair[0]) + np.float32(pair[1] - pair[0]) * share * share * (3 - 2 * share)


@dataclasses.dataclass
class Edges:
    """Distances in mm, (H, W), above 0 inside.

    Attributes:
        wall: to the inner side of the ribs.
        floor: to the diaphragm.
        lung: to the border of the lung.
        across: |x| from the middle as a share of the half width at this height.
        down: y between apex (0) and the angle of ribs and diaphragm (1).
        clear: air of the lungs if they had no vessels; 0 until `draw_chest` is done.
    """

    wall: np.ndarray
    floor: np.ndarray
    lung: np.ndarray
    across: np.ndarray
    down: np.ndarray
    clear: np.ndarray


def lung_edges(film: Film, chest: Chest) -> Edges:
    """Where the lungs end."""
    ax = np.abs(film.x - np.float32(chest.shift))
    width, dome = chest.side(film, chest.widths), chest.side(film, chest.domes)
    base = dome + 44
    down = (film.y - chest.apex) / (base - chest.apex)
    rise = 1 - np.clip(down, 0, 1)
    outer = 12 + (width - 12) * np.clip(1 - rise**2.5, 0, 1) ** 0.6
    lateral = (ax - 0.4 * width) / (0.6 * width)
    diaphragm = dome + np.where(lateral > 0, 44 * np.abs(lateral) ** 2.3, 11 * lateral**2)
    wall, floor = outer - ax, diaphragm - film.y
    inner = ax - 12
    return Edges(
        wall,
        floor,
        np.minimum(np.minimum(wall, floor), inner),
        ax / np.maximum(outer, 1),
        down,
        np.zeros_like(film.air),
    )


def draw_chest(film: Film, rng: np.random.Generator, chest: Chest) -> Edges:
    """Draw everything that is normal; findings come after it, bones by `draw_bones` last."""
    edges = lung_edges(film, chest)
    _draw_body(film, rng, chest, edges)
    profile = 0.3 + 0.7 * np.sqrt(np.clip(1 - edges.across**3, 0, 1))
    profile *= 0.65 + 0.35 * np.clip(2.2 * edges.down, 0, 1)
    film.air += film.soft(edges.lung, 3) * profile * (edges.down > 0)
    texture = 0.5 * smooth_noise(rng, film.air.shape, (24, 24)) + 0.5 * smooth_noise(rng, film.air.shape, (60, 60))
    film.air *= np.float32(0.93) + 0.06 * texture
    _draw_middle(film, rng, chest)
    edges.clear[:] = film.air
    _draw_vessels(film, chest, edges)
    return edges


def _draw_body(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """Trunk, shoulders, neck, arms, breasts, and the belly with its gas."""
    person = chest.person
    ax = np.abs(film.x)
    half = person.width + 12 + person.fat
    shoulder = chest.apex - 22 + 0.3 * np.maximum(ax - 55, 0) + 0.0016 * np.maximum(ax - 120, 0) ** 2
    trunk = half - 0.00035 * (film.y - 30) ** 2 + 62 / (1 + np.exp((film.y + 78) / 14)) - ax
    trunk = np.minimum(trunk, film.y - shoulder)
    neck = np.minimum(52 + 0.4 * person.fat - ax, film.y + 400)
    thick = 1 - (1 - np.clip(np.maximum(trunk, 0.6 * neck) / 85, 0, 1)) ** 2.4
    film.tissue += 0.95 * thick**0.6 * (1 + 0.003 * (person.fat - 30))
    for sign in (-1, 1):
        arm = np.zeros_like(film.tissue)
        away = rng.uniform(30, 110) if not chest.portable else rng.uniform(18, 50)
        film.stroke(arm, [(sign * (half + 30), -112), (sign * (half + 30 + away), 190)], 34 + 0.2 * person.fat)
        film.tissue = np.maximum(film.tissue, 0.62 * arm)
    below = film.soft(-edges.floor, 4) * film.soft(trunk - 15, 40)
    film.tissue += 0.26 * below
    if person.breasts:
        radii = (person.breasts, 0.8 * person.breasts)
        height = chest.domes[0] - 0.45 * person.breasts + rng.uniform(-12, 16)
        for sign in (-1, 1):
            breast = film.ellipse((sign * 0.62 * person.width, height), radii) / radii[1]
            hanging = 0.6 + 0.4 * np.clip((film.y - height) / radii[1], -1, 1)
            film.tissue += 0.22 * np.sqrt(np.clip(breast, 0, 1)) * hanging
    stomach = film.ellipse(
        (0.42 * person.width, chest.domes[1] + 22), rng.uniform((16, 9), (36, 17)), rng.uniform(-15, 5)
    )
    film.tissue -= rng.uniform(0, 0.32) * film.soft(stomach, 5) * film.soft(-edges.floor - 2)
    for _ in range(int(rng.integers(0, 5))):
        place = rng.uniform((-90, chest.domes[1] + 50), (100, chest.domes[1] + 110))
        film.tissue -= rng.uniform(0.05, 0.2) * film.soft(film.ellipse(place, rng.uniform(7, 17, 2), 40), 5)


def _draw_middle(film: Film, rng: np.random.Generator, chest: Chest) -> None:
    """Mediastinum, heart, aorta, hila, and the air of trachea and main bronchi."""
    shift, size = chest.shift, chest.heart
    floor = sum(chest.domes) / 2
    solid = 0.8 * film.soft(23 + 5 * np.clip((chest.apex + 60 - film.y) / 60, -1, 1) - np.abs(film.x - shift), 7)
    knob = (shift + rng.uniform(17, 24), chest.apex + rng.uniform(62, 72))
    turn = rng.uniform(36, 48)
    parts = [
        (film.ellipse((shift + 25 * size, floor - 34 * size), (67 * size, 43 * size), turn), 5, 0.75),
        (film.ellipse((shift - 10 * size, floor - 40 * size), (34 * size, 52 * size), -4), 5, 0.7),
        (film.ellipse((shift + 13 * size, floor - 82 * size), (30 * size, 44 * size), -8), 9, 0.65),
        (film.ellipse(knob, rng.uniform((11, 17), (16, 24)), -20), 6, 0.6),
        (film.ellipse((shift - 15, chest.apex + 72), (19, 74)), 6, 0.55),
    ]
    for shape, edge, share in parts:
        solid = 1 - (1 - solid) * (1 - share * film.soft(shape, edge))
    for sign in (-1, 1):
        hilum = film.ellipse(
            (shift + sign * rng.uniform(33, 40), chest.apex + rng.uniform(98, 108)), rng.uniform((12, 17), (18, 28))
        )
        solid = 1 - (1 - solid) * (1 - rng.uniform(0.3, 0.5) * film.soft(hilum, 16))
    film.fill(solid)
    film.tissue += 0.1 * solid * film.soft(floor - film.y, 30)
    trachea = np.zeros_like(film.tissue)
    fork = (shift * 0.6 + rng.normal(0, 2), chest.apex + 78)
    film.stroke(trachea, [(shift * 0.5, -230), fork], 9.5)
    film.stroke(trachea, bent(fork, (fork[0] - 30, fork[1] + 26), -3), [8, *[6.0] * 8])
    film.stroke(trachea, bent(fork, (fork[0] + 38, fork[1] + 24), 4), [7, *[5.5] * 8])
    film.tissue -= 0.16 * trachea


def _draw_vessels(film: Film, chest: Chest, edges: Edges) -> None:
    """Arteries and veins that branch from the hila to the edge of the lungs; the same for all films of a person."""
    rng = np.random.default_rng(chest.person.vessels)
    vessels = np.zeros_like(film.air)
    for sign in (-1, 1):
        hilum = np.array([chest.shift + sign * 34, chest.apex + 103])
        for heading in np.linspace(-75, 78, 9):
            angle = np.deg2rad(heading + rng.normal(0, 6))
            _branch(film, rng, vessels, hilum + rng.normal(0, 5, 2), angle, sign, rng.uniform(2.4, 3.8), 3)
    gravity = np.clip(0.55 + 0.6 * edges.down, 0.4, 1.1)
    film.fill(0.31 * vessels * gravity)


def _branch(
    film: Film, rng: np.random.Generator, target: np.ndarray, start: np.ndarray, angle: float, sign: int, radius: float,
    generations: int,
) -> None:  # fmt: skip
    """One vessel and, in both directions from its end, its branches."""
    length = rng.uniform(16, 34)
    direction = np.array([sign * np.cos(angle), np.sin(angle)])
    end = start + length * direction
    pieces = 3 if generations > 1 else 1
    curve = bent(start, end, rng.normal(0, 3), pieces + 1)
    film.stroke(target, curve, np.linspace(radius, 0.8 * radius, pieces + 1))
    if generations:
        for spread in rng.uniform((0.12, -0.6), (0.6, -0.12)):
            _branch(film, rng, target, end, angle + spread, sign, radius * rng.uniform(0.5, 0.72), generations - 1)


def draw_bones(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """Spine, ribs behind and in front, collar bones, shoulder blades and joints."""
    person, shift = chest.person, chest.shift * 0.4
    spine = film.soft(19 - np.abs(film.x - shift), 4)
    discs = 0.5 + 0.5 * np.cos(2 * np.pi * (film.y + rng.uniform(0, 24)) / (0.96 * person.spacing))
    film.tissue += spine * (0.05 + 0.05 * discs)
    bone = rng.uniform(0.75, 1.15)
    # Beside air they stand out; over heart and belly scattered rays drown them.
    seen = 0.45 + 0.55 * np.clip(1.6 * film.air, 0, 1)
    film.tissue += bone * seen * _ribs(film, rng, chest, edges)
    for sign in (-1, 1):
        collar = np.zeros_like(film.tissue)
        rise = rng.uniform(14, 34)
        inner = (shift + sign * 14, chest.apex + 20 + rng.normal(0, 4))
        outer = (sign * (person.width + 6), chest.apex + 18 - rise)
        film.stroke(collar, bent(inner, outer, sign * rng.uniform(4, 10)), [8.5, 7.5, 6.5, 6, 6, 6, 6.5, 7, 7.5])
        film.tissue += 0.19 * bone * collar
        inside = rng.uniform(6, 24) if chest.portable else rng.uniform(-14, 6)
        edge_x = person.width - inside
        blade = np.minimum(sign * film.x - edge_x - 0.12 * (film.y + 40), film.y + 118)
        blade = np.minimum(blade, 22 - film.y - 0.9 * (sign * film.x - edge_x))
        film.tissue += 0.06 * bone * film.soft(blade, 4)
        joint = (sign * (person.width + 36), chest.apex + 12)
        film.tissue += 0.14 * bone * film.soft(film.ellipse(joint, (24, 25)), 6)
        shaft = np.zeros_like(film.tissue)
        film.stroke(shaft, [joint, (sign * (person.width + 62), chest.apex + 150)], 12)
        film.tissue += 0.1 * bone * shaft


def _ribs(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> np.ndarray:
    """(H, W) bone of all ribs: behind they fall gently outwards, in front steeply inwards and end in cartilage."""
    spacing = chest.person.spacing
    total = np.zeros_like(film.tissue)
    across = np.clip(edges.across, 0, 1.15)
    cage = film.soft(edges.wall + 6, 4) * (np.abs(film.x - chest.shift) > 14)
    first = chest.apex + 4 + rng.uniform(-4, 4)
    arch = rng.uniform(22, 34)
    behind = film.y - first + 10 * np.sin(np.pi * across) - arch * across**2.2
    total += _bands(film, behind, spacing, 11, 5.2) * (0.21 - 0.04 * across)
    slope = rng.uniform(46, 62)
    front = film.y - first - 18 - slope * np.clip(1.05 - across, 0, None) ** 1.3
    cartilage = np.clip((across - rng.uniform(0.3, 0.42)) / 0.25, 0, 1)
    total += _bands(film, front, spacing * 1.08, 8, 6.2) * 0.135 * cartilage
    rim = film.soft(7 - np.abs(edges.wall + 3), 5) * (edges.down > 0.03) * (edges.down < 1.35)
    return cage * total + 0.05 * rim


def _bands(film: Film, height: np.ndarray, spacing: float, count: int, half: float) -> np.ndarray:
    """Equal bands across `height` in mm, brighter at their borders, as a tube of bone is."""
    number = np.clip(np.round(height / spacing), 0, count - 1)
    offset = np.abs(height - number * spacing)
    inside = film.soft(half - offset, 2)
    return inside * (0.62 + 0.38 * np.clip(offset / half, 0, 1) ** 3)
