"""Things on synthetic radiographs that are no anatomy: leads, catheters, pacemakers, letters, the edge of the beam."""

import numpy as np

from .chest import Chest
from .film import Film, bent, write_text

_WORDS = ("PORTABLE", "SUPINE", "AP", "ERECT", "PA", "SEMI-ERECT")


def draw_devices(film: Film, rng: np.random.Generator, chest: Chest) -> None:
    """Draw some at random, more at the bedside; what is there says nothing about the findings."""
    bedside = 2.0 if chest.portable else 1.0
    for chance, draw in ((0.2, _leads), (0.14, _central_line), (0.1, _tubes), (0.06, _pacemaker), (0.06, _wires)):
        if rng.random() < chance * bedside:
            draw(film, rng, chest)


def _leads(film: Film, rng: np.random.Generator, chest: Chest) -> None:
    """Electrodes of the ECG and their cables."""
    metal = np.zeros_like(film.tissue)
    for _ in range(int(rng.integers(2, 5))):
        place = rng.uniform((-130, -95), (130, 90))
        end = place + rng.uniform((-150, 40), (150, 220))
        film.stroke(metal, bent(place, end, rng.normal(0, 25), 14), 0.9)
        pad = film.ellipse(place, rng.uniform(7, 11, 2))
        film.tissue += 0.1 * film.soft(pad, 2)
        film.tissue += 0.3 * film.soft(film.ellipse(place, (2.6, 2.6)))
    film.tissue += 0.3 * metal


def _central_line(film: Film, rng: np.random.Generator, chest: Chest) -> None:
    """A catheter from the neck or the arm to the heart."""
    line = np.zeros_like(film.tissue)
    sign = rng.choice([-1, 1])
    tip = (chest.shift - 16, chest.apex + rng.uniform(95, 130))
    bend = (chest.shift - 15, chest.apex + 35)
    start = (
        (sign * rng.uniform(18, 40), -260) if rng.random() < 0.5 else (sign * 170, chest.apex - rng.uniform(-10, 20))
    )
    film.stroke(line, bent(start, bend, sign * rng.uniform(4, 14)), 1.1)
    film.stroke(line, bent(bend, tip, 2), 1.1)
    film.tissue += rng.uniform(0.2, 0.32) * line


def _tubes(film: Film, rng: np.random.Generator, chest: Chest) -> None:
    """A tube into the windpipe, one into the stomach, or both."""
    tube = np.zeros_like(film.tissue)
    chosen = rng.integers(1, 4)
    if chosen & 1:
        for side in (-4, 4):
            film.stroke(
                tube,
                [(0.4 * chest.shift + side, -260), (0.6 * chest.shift + side, chest.apex + rng.uniform(30, 60))],
                0.9,
            )
    if chosen & 2:
        gullet = (chest.shift * 0.6 + 6, chest.domes[1] + 6)
        film.stroke(tube, bent((4, -260), gullet, rng.normal(0, 5), 12), 1.3)
        film.stroke(tube, bent(gullet, (gullet[0] + 55, gullet[1] + 40), 14), 1.3)
    film.tissue += rng.uniform(0.16, 0.3) * tube


def _pacemaker(film: Film, rng: np.random.Generator, chest: Chest) -> None:
    """A flat box below a collar bone and its wire to the heart."""
    sign = rng.choice([-1, 1], p=[0.25, 0.75])
    place = (sign * 0.72 * chest.person.width, chest.apex + rng.uniform(38, 60))
    dx, dy = np.abs(film.x - place[0]) / 22, np.abs(film.y - place[1]) / 18
    film.tissue += 0.6 * film.soft(18 * (1 - (dx**4 + dy**4) ** 0.25), 2)
    wire = np.zeros_like(film.tissue)
    turn = (chest.shift - 14, chest.apex + 40)
    film.stroke(wire, bent(place, turn, -sign * 16), 1.1)
    film.stroke(wire, bent(turn, (chest.shift + 30, float(np.mean(chest.domes)) - 22), -26), 1.1)
    film.tissue += 0.4 * wire


def _wires(film: Film, rng: np.random.Generator, chest: Chest) -> None:
    """Loops that hold the breast bone together after an operation."""
    wire = np.zeros_like(film.tissue)
    for number in range(int(rng.integers(4, 7))):
        centre = np.array([0.3 * chest.shift + rng.normal(0, 2), chest.apex + 45 + 27 * number])
        angles = np.linspace(0, 2 * np.pi, 12)
        film.stroke(wire, centre + np.column_stack([6 * np.cos(angles), 4.5 * np.sin(angles)]), 0.8)
    film.tissue += 0.35 * wire


def print_markers(value: np.ndarray, rng: np.random.Generator) -> None:
    """Letters for the side, and at times words on how it was taken."""
    if rng.random() < 0.8:
        left = rng.random() < 0.7
        place = (rng.uniform(0.84, 0.95) if left else rng.uniform(0.05, 0.16), rng.uniform(0.04, 0.3))
        write_text(value, "L" if left else "R", place, rng.uniform(0.045, 0.075), white=rng.uniform(0.75, 1))
    if rng.random() < 0.35:
        place = (
            rng.choice([0.14, 0.86]) + rng.normal(0, 0.02),
            rng.uniform(0.05, 0.25) if rng.random() < 0.7 else 0.95,
        )
        write_text(value, str(rng.choice(_WORDS)), place, rng.uniform(0.025, 0.04), white=rng.uniform(0.7, 1))


def cut_borders(value: np.ndarray, rng: np.random.Generator) -> None:
    """Black or white margins, where the beam or the plate ends; straight or a little turned."""
    height, width = value.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    lengths = (columns / width, 1 - columns / width, rows / height, 1 - rows / height)
    others = (rows / height, rows / height, columns / width, columns / width)
    for inwards, along in zip(lengths, others, strict=True):
        if rng.random() < 0.18:
            depth = rng.uniform(0.005, 0.07) + rng.normal(0, 0.025) * (along - 0.5)
            value[inwards < depth] = rng.uniform(0.9, 1) if rng.random() < 0.25 else rng.uniform(0, 0.06)
