import numpy as np
import pytest

from mae_tools.demo_data.chest import Chest, Edges, Person, draw_bones, draw_chest, lung_edges
from mae_tools.demo_data.film import Film


def scene(seed: int, enlarged: float = 1.0) -> tuple[Film, np.random.Generator, Chest]:
    rng = np.random.default_rng(seed)
    person = Person.draw(np.random.default_rng(seed + 1000))
    return Film.blank((128, 128), 350, (0, -20)), rng, Chest.draw(rng, person, enlarged)


def drawn(seed: int, enlarged: float = 1.0) -> tuple[Film, Chest, Edges]:
    film, rng, chest = scene(seed, enlarged)
    return film, chest, draw_chest(film, rng, chest)


@pytest.mark.parametrize("seed", range(5))
def test_air_is_in_two_lungs_and_nowhere_else(seed: int) -> None:
    film, chest, edges = drawn(seed)
    assert (film.air[edges.lung < -4] == 0).all()
    right, left = (film.air[(film.x < chest.shift) == side] for side in (True, False))
    assert min(right.max(), left.max()) > 0.6
    assert film.air.max() <= 1
    assert film.air[np.abs(film.x - chest.shift) < 5].mean() < 0.1 * film.air[edges.lung > 10].mean()
    # Vessels take air away and never add any.
    assert (film.air <= edges.clear + 1e-6).all()
    assert (film.air < 0.9 * edges.clear)[edges.lung > 5].mean() > 0.03


def test_lungs_end_at_the_ribs_and_at_the_diaphragm() -> None:
    film, _, chest = scene(0)
    edges = lung_edges(film, chest)
    inside = edges.lung > 0
    assert film.y[inside].min() > chest.apex - 3
    assert film.y[inside].max() < max(chest.domes) + 50
    assert film.x[inside].min() > chest.shift - chest.widths[0] - 3
    assert film.x[inside].max() < chest.shift + chest.widths[1] + 3
    assert 0.15 < inside.mean() < 0.5


def test_a_larger_heart_is_wider_in_the_same_chest() -> None:
    """The cardiothoracic ratio: half the chest's width divides usual from enlarged hearts."""

    def ratio(seed: int, enlarged: float) -> float:
        film, chest, _ = drawn(seed, enlarged)
        rows = np.abs(film.y - (min(chest.domes) - 22)) < 8
        heart = ((film.air < 0.42) & rows & (np.abs(film.x - chest.shift) < 0.8 * chest.person.width)).any(axis=0)
        return float(heart.sum() * film.pixel / (2 * chest.person.width))

    usual, enlarged = (np.array([ratio(seed, size) for seed in range(12)]) for size in (1.0, 1.3))
    assert (enlarged > usual).all()
    assert usual.mean() < 0.52 < enlarged.mean()


def test_bones_only_add_tissue_and_are_seen_beside_air() -> None:
    film, rng, chest = scene(3)
    edges = draw_chest(film, rng, chest)
    before = film.tissue.copy()
    draw_bones(film, rng, chest, edges)
    added = film.tissue - before
    assert added.min() >= -1e-6
    assert 0.05 < added[edges.lung > 5].max() < 0.6
    assert np.std(added[edges.lung > 5]) > 0.02


def test_a_person_keeps_the_vessels_from_film_to_film() -> None:
    person = Person.draw(np.random.default_rng(0))
    films = []
    for seed in (1, 2):
        film = Film.blank((128, 128), 350, (0, -20))
        chest = Chest(person, False, -130, (60, 68), (130, 130), 0, 0.88)
        edges = draw_chest(film, np.random.default_rng(seed), chest)
        films.append((film.air / np.maximum(edges.clear, 1e-3))[edges.lung > 10])
    assert np.corrcoef(films[0], films[1])[0, 1] > 0.95


def test_people_and_postures_differ() -> None:
    people = [Person.draw(np.random.default_rng(seed)) for seed in range(60)]
    assert np.ptp([person.width for person in people]) > 15
    assert 0.2 < np.mean([person.breasts > 0 for person in people]) < 0.6
    postures = [scene(seed)[2] for seed in range(60)]
    assert np.ptp([chest.domes[0] for chest in postures]) > 30
    assert 0.2 < np.mean([chest.portable for chest in postures]) < 0.6
