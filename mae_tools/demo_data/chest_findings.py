"""What radiologists look for in a synthetic chest: six findings, and harmless things that resemble them."""

from collections.abc import Callable

import numpy as np

from .chest import Chest, Edges
from .film import Film, bent
from .shapes import smooth_noise

Draw = Callable[[Film, np.random.Generator, Chest, Edges], None]


def draw_effusion(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """Fluid at the base that climbs along the ribs: blunt angle, lost diaphragm, a concave upper border."""
    sides = (-1, 1) if rng.random() < 0.35 else (rng.choice([-1, 1]),)
    for sign in sides:
        base = chest.domes[0 if sign < 0 else 1] + 44
        height = rng.uniform(20, 45) if rng.random() < 0.55 else rng.uniform(45, 110)
        climb = 0.35 + 0.65 * np.clip(edges.across, 0, 1.05) ** rng.uniform(2, 4)
        level = base - height * climb
        share = film.soft(film.y - level, rng.uniform(10, 26)) * _half(film, chest, sign)
        film.fill(rng.uniform(0.82, 0.97) * share)
        # As dense as the belly, so that the border between the two is lost.
        film.tissue += rng.uniform(0.1, 0.2) * share * film.soft(edges.wall, 4) * film.soft(edges.floor, 4)


def draw_mass(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """One lump of more than 3 cm with an uneven border."""
    radius = rng.uniform(17, 29)
    _lump(film, rng, edges, radius, opacity=rng.uniform(0.6, 0.95), uneven=0.3)


def draw_nodules(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """One to three round spots of less than 3 cm."""
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        _lump(film, rng, edges, rng.uniform(7, 14), opacity=rng.uniform(0.65, 0.95), uneven=0.12)


def draw_pneumothorax(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """Air beside a lung that has shrunk from the ribs: its edge as a fine line, and no vessels beyond it."""
    sign = rng.choice([-1, 1])
    gap = rng.uniform(11, 25) if rng.random() < 0.6 else rng.uniform(25, 50)
    lowest = rng.uniform(0.6, 1.15)
    # The wall bends in at the apex, so that the distance from it is also that from the top.
    width = gap * np.clip(1 - edges.down / lowest, 0, 1) ** 0.7 + 1.5 * smooth_noise(rng, film.air.shape, (7, 7))
    beyond = np.minimum(width - edges.wall, width - 3)
    here = _half(film, chest, sign)
    share = film.soft(beyond, 2) * here
    shrunk = 0.12 + 0.3 * gap / 60
    film.fill(shrunk * (1 - share) * here)
    film.air += share * (np.minimum(1.12 * edges.clear + 0.06 * film.soft(edges.lung, 4), 1) - film.air)
    line = film.soft(1.3 - np.abs(beyond), 1) * (width > 4) * here * film.soft(edges.lung, 3)
    film.tissue += 0.09 * line


def draw_consolidation(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """Part of a lobe without air, patchy and ill-defined, the bronchi in it dark; at times cut off by a fissure."""
    for _ in range(1 + int(rng.random() < 0.3)):
        place = _place(film, rng, edges)
        sign = 1 if place[0] > chest.shift else -1
        shape = film.ellipse(place, rng.uniform((26, 20), (52, 42)), rng.uniform(-40, 40))
        shape = shape + 9 * smooth_noise(rng, film.air.shape, (9, 9)) + 5 * smooth_noise(rng, film.air.shape, (22, 22))
        if rng.random() < 0.35:
            upwards = rng.choice([-1, 1])
            fissure = upwards * (film.y - place[1] + 0.2 * sign * (film.x - place[0])) + rng.uniform(0, 14)
            shape = np.minimum(shape, fissure)
        share = film.soft(shape, rng.uniform(12, 24))
        bronchi = np.zeros_like(film.air)
        hilum = np.array([chest.shift + sign * 36, chest.apex + 103])
        for _ in range(4):
            target = np.asarray(place) + rng.uniform(-30, 30, 2)
            film.stroke(bronchi, bent(hilum, target, rng.normal(0, 5), 5), np.linspace(3, 1.2, 5))
        mottled = 0.85 + 0.3 * smooth_noise(rng, film.air.shape, (30, 30))
        film.fill(np.clip(rng.uniform(0.6, 0.95) * share * mottled * (1 - 0.45 * bronchi), 0, 0.95))


def draw_harmless(film: Film, rng: np.random.Generator, chest: Chest, edges: Edges) -> None:
    """What may be taken for a finding: fissure, scars, shallow breath, nipples, end-on vessels, skin folds."""
    if rng.random() < 0.3:  # the horizontal fissure of the right lung
        line = np.zeros_like(film.air)
        start = (chest.shift - 40, chest.apex + 108 + rng.uniform(-6, 10))
        film.stroke(line, bent(start, (start[0] - 70, start[1] + rng.uniform(-8, 8)), rng.uniform(-4, 4)), 0.8)
        film.fill(0.3 * line)
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 4))):
            end = np.asarray(_place(film, rng, edges))
            line = np.zeros_like(film.air)
            film.stroke(line, bent(end + rng.uniform(-35, 35, 2), end, rng.normal(0, 3)), rng.uniform(0.8, 1.8))
            film.fill(rng.uniform(0.15, 0.4) * line)
    if rng.random() < 0.45:  # bases that were not breathed in, about even on both sides
        height = 0.5 * sum(chest.domes) - rng.uniform(5, 40)
        film.fill(rng.uniform(0.1, 0.35) * film.soft(film.y - height, 50))
    for _ in range(int(rng.integers(0, 4))):  # vessels seen along their length, close to the hila
        sign = rng.choice([-1, 1])
        place = (chest.shift + sign * rng.uniform(38, 62), chest.apex + rng.uniform(80, 135))
        film.fill(rng.uniform(0.2, 0.45) * film.soft(film.ellipse(place, rng.uniform(2.2, 3.6, 2)), 2))
    if rng.random() < 0.25:  # nipples: small, faint and on both sides
        radius, height = rng.uniform(3.5, 5.5), min(chest.domes) - rng.uniform(0, 30)
        for sign in (-1, 1):
            nipple = film.ellipse((sign * rng.uniform(0.62, 0.72) * chest.person.width, height), (radius, radius))
            film.tissue += 0.07 * film.soft(nipple, 2.5)
    if rng.random() < (0.3 if chest.portable else 0.08):  # a skin fold: an edge that is no line and leaves the lung
        sign = rng.choice([-1, 1])
        border = sign * film.x - rng.uniform(0.45, 0.8) * chest.person.width + rng.uniform(-0.3, 0.3) * film.y
        film.tissue += rng.uniform(0.03, 0.07) * film.soft(border, 2) * np.exp(-np.maximum(border, 0) / 22)
    if rng.random() < 0.15:  # hazy lungs around both hila
        for sign in (-1, 1):
            cloud = film.ellipse((chest.shift + sign * 50, chest.apex + 110), (48, 70), sign * 12)
            film.fill(rng.uniform(0.1, 0.3) * film.soft(cloud, 60))


FINDINGS: dict[str, Draw | None] = {
    "Cardiomegaly": None,  # drawn by `draw_chest` itself, as a larger heart
    "Effusion": draw_effusion,
    "Mass": draw_mass,
    "Nodule": draw_nodules,
    "Pneumothorax": draw_pneumothorax,
    "Consolidation": draw_consolidation,
}


def _half(film: Film, chest: Chest, sign: int) -> np.ndarray:
    """1 on one side of the middle."""
    return film.soft(sign * (film.x - chest.shift), 6)


def _place(film: Film, rng: np.random.Generator, edges: Edges, margin: float = 10.0) -> tuple[float, float]:
    """A place in the lungs, away from their border and from the heart."""
    possible = np.flatnonzero((edges.lung > margin) & (edges.clear > 0.45))
    chosen = rng.choice(possible if possible.size else np.flatnonzero(edges.lung > 0))
    return float(film.x.flat[chosen]), float(film.y.flat[chosen])


def _lump(film: Film, rng: np.random.Generator, edges: Edges, radius: float, opacity: float, uneven: float) -> None:
    """A solid ball, its border made uneven; thinner at its edge than in the middle."""
    place = _place(film, rng, edges, margin=0.5 * radius)
    shape = film.ellipse(place, radius * rng.uniform(0.82, 1.18, 2), rng.uniform(0, 180)) / radius
    knots = int(np.clip(300 / radius, 8, 40))
    shape = shape + uneven * smooth_noise(rng, film.air.shape, (knots, knots)) * (shape > -1)
    thickness = np.sqrt(np.clip(1 - (1 - np.clip(shape, 0, 1)) ** 2, 0, 1))
    film.fill(opacity * thickness)
