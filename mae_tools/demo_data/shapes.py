"""What all painters share: ellipses with soft borders, smooth noise, synthetic patients and their lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.data.datalist import write
from bundle_runtime.data.schema import SECTIONS
from custom_components.errors import InputError
from PIL import Image
from scipy.ndimage import gaussian_filter

Points = Sequence[np.ndarray]
Vector = Sequence[float] | np.ndarray


def grid(shape: Sequence[int], spacing: float | Vector = 1.0) -> list[np.ndarray]:
    """Coordinates of every pixel or voxel, an array an axis, 0 in the middle."""
    steps = np.broadcast_to(spacing, len(shape))
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, steps, strict=True)]
    return list(np.meshgrid(*axes, indexing="ij"))


def noise(rng: np.random.Generator, shape: Sequence[int], grain: float) -> np.ndarray:
    """Noise of mean 0 and deviation 1 with features of about `grain` pixels."""
    step = max(int(grain // 2), 1)
    coarse = rng.standard_normal([n // step + 3 for n in shape])
    coarse = gaussian_filter(coarse, grain / step / 2)
    for axis, n in enumerate(shape):  # linear between the coarse values
        place = np.arange(n) / step
        low = place.astype(int)
        share = np.expand_dims(place - low, tuple(range(1, coarse.ndim - axis)))
        coarse = coarse.take(low, axis) * (1 - share) + coarse.take(low + 1, axis) * share
    return (coarse - coarse.mean()) / max(float(coarse.std()), 1e-9)


def ellipse(points: Points, centre: Vector, radii: Vector, angle: float = 0.0) -> np.ndarray:
    """About how deep each point lies inside an ellipse or ellipsoid, in the unit of the points; below 0 outside.

    It is turned by `angle` radians in the plane of the first two axes; an infinite radius makes a cylinder.
    """
    offset = [p - c for p, c in zip(points, centre, strict=True)]
    if angle:
        cos, sin = np.cos(angle), np.sin(angle)
        offset[:2] = [cos * offset[0] + sin * offset[1], cos * offset[1] - sin * offset[0]]
    squares = (np.square(o / r) for o, r in zip(offset, radii, strict=True) if np.isfinite(r))
    return (1 - np.sqrt(sum(squares))) * min(radii)


def soft(depth: np.ndarray, width: float = 1.0) -> np.ndarray:
    """The share of a pixel that a shape covers, from its depth there: 0 to 1 over a border of `width`."""
    return np.clip(depth / width + 0.5, 0, 1)


def blend(below: np.ndarray, share: np.ndarray, above: Any) -> None:
    """Paint `above` over `below`, in place, as far as `share` says; `share` may lack the last axis, colour."""
    share = share[..., None] if share.ndim < below.ndim else share
    below += share * (above - below)


def need(found: int, least: int, what: str = "cases") -> None:
    """Raise InputError for a set too small to have three lists, or a picture too small to show anything."""
    if found < least:
        raise InputError(f"{what} is {found}, expected at least {least}.")


def visits(seed: int, count: int) -> list[tuple[int, int]]:
    """Patient and number of each of `count` pictures: a patient has one to three."""
    made: list[tuple[int, int]] = []
    patient = 0
    while len(made) < count:
        pictures = int(np.random.default_rng([seed, patient, 1000]).choice([1, 1, 2, 3]))
        made += [(patient, visit) for visit in range(pictures)]
        patient += 1
    return made[:count]


def shuffled(seed: int, index: int, classes: int) -> int:
    """The class of picture `index`: classes come in shuffled rounds, so that every list shows each of them."""
    turn, place = divmod(index, classes)
    return int(np.random.default_rng([seed, turn, 2000]).permutation(classes)[place])


def write_lists(path: Path, entries: list[dict[str, Any]], seed: int, **said: Any) -> dict[str, Any]:
    """Deal items by patient, half to train, a fifth to select, the rest to test; write the datalist and return it.

    It says which seed everything was drawn with, and what else is `said`; no patient is in two lists.
    """
    n_test, n_val = (max(1, round(share * len(entries))) for share in (0.3, 0.2))
    first_of: dict[str, int] = {}
    lists: dict[str, list[dict[str, Any]]] = {section: [] for section in SECTIONS}
    for index, entry in enumerate(entries):
        left = len(entries) - first_of.setdefault(entry["patient_id"], index)
        lists["test" if left <= n_test else "validation" if left <= n_test + n_val else "training"].append(entry)
    datalist = {"description": f"Drawn by a program (seed {seed}); nobody was examined.", **said, **lists}
    write(path, datalist)
    return datalist


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG, and the folder for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """uint8 of values that run from 0 to 255."""
    return np.rint(values.clip(0, 255)).astype(np.uint8)
