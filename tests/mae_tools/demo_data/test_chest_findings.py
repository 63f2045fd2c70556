from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from mae_tools.demo_data.chest import Chest, Edges, Person, draw_chest
from mae_tools.demo_data.chest_findings import (
    FINDINGS,
    draw_consolidation,
    draw_effusion,
    draw_harmless,
    draw_mass,
    draw_nodules,
    draw_pneumothorax,
)
from mae_tools.demo_data.film import Film

SEEDS = range(8)


def change(draw: Callable[..., None], seed: int) -> tuple[Film, Chest, Edges, np.ndarray]:
    """A film with the finding, and how much air it took away (below 0: added)."""
    rng = np.random.default_rng(seed)
    film = Film.blank((192, 192), 350, (0, -20))
    chest = Chest.draw(rng, Person.draw(rng), 1.0)
    edges = draw_chest(film, rng, chest)
    before = film.air.copy()
    draw(film, rng, chest, edges)
    return film, chest, edges, before - film.air


def square_centimetres(film: Film, where: np.ndarray) -> float:
    return float(where.sum() * film.pixel**2 / 100)


@pytest.mark.parametrize("seed", SEEDS)
def test_fluid_lies_at_the_base_and_climbs_at_the_ribs(seed: int) -> None:
    film, chest, edges, taken = change(draw_effusion, seed)
    assert taken.min() >= 0
    wet = taken > 0.2
    assert wet.any()
    sides = [(film.x < chest.shift), (film.x > chest.shift)]
    side = sides[int(taken[sides[1]].sum() > taken[sides[0]].sum())]
    outer = wet & side & (edges.across > 0.85)
    inner = wet & side & (edges.across > 0.4) & (edges.across < 0.6)
    assert film.y[outer].min() < (film.y[inner].min() if inner.any() else np.inf)
    angle = side & (edges.lung > 1) & (edges.down > 0.97)
    assert not angle.any() or film.air[angle].max() < 0.25  # the angle is blunt
    assert film.y[wet].min() > chest.apex + 60


@pytest.mark.parametrize(("draw", "smallest", "largest"), [(draw_nodules, 0.8, 22.0), (draw_mass, 5.0, 40.0)])
def test_lumps_have_their_size(draw: Callable[..., None], smallest: float, largest: float) -> None:
    areas = []
    for seed in SEEDS:
        film, _, edges, taken = change(draw, seed)
        assert taken.min() >= 0
        lump = taken > 0.1
        assert film.air[edges.lung < -4].max() == 0
        areas.append(square_centimetres(film, lump))
        assert areas[-1] < largest
    assert smallest < np.median(areas)


@pytest.mark.parametrize("seed", SEEDS)
def test_air_beside_the_lung_lies_at_the_wall_and_has_no_vessels(seed: int) -> None:
    film, _, edges, taken = change(draw_pneumothorax, seed)
    more = taken < -0.01
    assert more.any()
    assert np.median(edges.wall[more]) < 35
    assert edges.wall[more].max() < 60
    beyond = binary_erosion(more, iterations=2) & (edges.clear > 0.2)
    before, after = ((1 - air / np.maximum(edges.clear, 1e-3))[beyond].mean() for air in (film.air + taken, film.air))
    assert after < 0 < before
    assert taken.max() > 0.03  # the lung that shrank is denser


@pytest.mark.parametrize("seed", SEEDS)
def test_consolidation_is_large_and_ill_defined(seed: int) -> None:
    film, _, edges, taken = change(draw_consolidation, seed)
    assert taken.min() >= -1e-6
    lung = edges.clear > 0.3
    share = (taken / np.maximum(taken + film.air, 1e-3))[lung]
    assert 5 < square_centimetres(film, lung) * (share > 0.25).mean() < 150
    assert np.mean((share > 0.05) & (share < 0.45)) > 0.3 * np.mean(share > 0.05) * 0.5


def test_harmless_things_are_fainter_than_findings() -> None:
    taken = [float(change(draw_harmless, seed)[3].mean()) for seed in range(12)]
    found = [float(change(draw, seed)[3].mean()) for draw in (draw_effusion, draw_consolidation) for seed in range(6)]
    assert np.median(taken) < 0.5 * np.median(found)
    assert max(taken) > 0


def test_the_order_is_that_of_nih() -> None:
    order = ["Cardiomegaly", "Effusion", "Mass", "Nodule", "Pneumothorax", "Consolidation"]
    assert list(FINDINGS) == order
    assert [name for name, draw in FINDINGS.items() if draw is None] == ["Cardiomegaly"]
