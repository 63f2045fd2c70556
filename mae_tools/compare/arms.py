"""Both sides of the cases that tell most about a comparison of segmentations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.figures.arms import Maps, arms_figure


def three_cases(
    dice: Sequence[np.ndarray],
    report: Any,
    folders: Sequence[str | Path],
    names: Sequence[str],
    class_names: Sequence[str],
    path: Path,
) -> None:
    """Draw the cases in which the second side loses most, stands in the middle, and gains most mean Dice.

    Args:
        dice: of each side, (cases,).
        report: of either side, for the names of the cases.
        folders: the evaluations, which kept maps.
        names: what the sides are called.
        class_names: of the maps.
        path: PNG file.

    Raises:
        InputError: an evaluation kept no maps of such a case.
    """
    order = np.argsort(dice[1] - dice[0], kind="stable").tolist()
    places = {"largest loss": order[0], "middle": order[len(order) // 2], "largest gain": order[-1]}
    rows = []
    for index in dict.fromkeys(places.values()):
        case, what = report.keys[index][1], " and ".join(word for word, place in places.items() if place == index)
        a, b = (Maps.read(folder, case) for folder in folders)
        rows.append((f"{case}\n{what}", [f"mean Dice {side[index]:.3f}" for side in dice], a, b))
    arms_figure(rows, names, class_names, path)
