import numpy as np

from mae_tools.demo_data.chest import Chest, Person
from mae_tools.demo_data.devices import cut_borders, draw_devices, print_markers
from mae_tools.demo_data.film import Film


def test_devices_are_dense_thin_and_not_always_there() -> None:
    areas = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        film = Film.blank((96, 96), 350, (0, -20))
        draw_devices(film, rng, Chest.draw(rng, Person.draw(rng), 1.0))
        assert film.tissue.min() >= 0
        assert not film.air.any()
        areas.append(float((film.tissue > 0.1).mean()))
    assert 0.2 < np.mean(np.array(areas) > 0) < 0.95
    assert max(areas) < 0.15


def test_margins_and_letters_leave_the_middle_alone() -> None:
    cut, marked, sides = 0, 0, set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        value = np.full((128, 128), 0.5, np.float32)
        print_markers(value, rng)
        assert (value[45:115, 40:88] == 0.5).all()
        written = np.argwhere(value > 0.55)
        marked += len(written) > 0
        sides |= {bool(column > 64) for _, column in written}
        value = np.full((128, 128), 0.5, np.float32)
        cut_borders(value, rng)
        assert (value[20:108, 20:108] == 0.5).all()
        cut += bool((value != 0.5).any())
    assert sides == {True, False}
    assert 30 < marked < 60
    assert 15 < cut < 50
