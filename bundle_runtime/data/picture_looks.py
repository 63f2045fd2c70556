"""What pictures look like as a whole: grey levels, colours, where they are bright; compared with those of others."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SHARES = (0.005, 0.5, 0.995)  # of the pixels, whose grey level is kept
NEUTRAL = 128  # of a tint; 0 is that of a grey picture
_USUAL = (0.05, 0.5, 0.95)  # of the pictures
FEWEST = 5  # pictures: below, nothing is usual
# Measured with one half of a set against the other (radiographs, H&E of lungs, skin, fundus; 80 pictures each): as they
# are 0 to 4 % are called unlike, negatives 99 to 100 %, 12 bits cut to the upper 8 of 16 all; with red and blue
# exchanged 42 % of skin, 57 % of H&E, 97 % of fundus.
_SHIFTED, _LIMITED = 40, 64  # grey levels: of the middle, and of the ends
_TINTED = 24  # levels that a colour may lie farther from green than usual
_ALIKE, _OPPOSITE = 0.5, -0.25  # correlation with the mean of others: of most of them, and of one that is exchanged


def summed_up(looks: Sequence[str]) -> dict[str, Any]:
    """What is usual among pictures whose looks (`verify_pictures.look_of`) are given; {} of a few.

    Returns:
        `levels`: of the three levels those below which 5, 50 and 95 % of the pictures lie; `tint`: the same of red and
        blue above green, of those that are not grey; `layout`: the mean of the grids, each of mean 0 and norm 1;
        `likeness`: 5, 50 and 95 % of the pictures correlate less with it.
    """
    if len(looks) < FEWEST:
        return {}
    levels, tints, grids = _parts(looks)
    tints = tints[~np.isnan(tints[:, 0])]
    layout = _unit(grids.mean(axis=0))
    return {
        "levels": np.quantile(levels, _USUAL, axis=0).round(1).tolist(),
        "tint": np.quantile(tints, _USUAL, axis=0).round(1).tolist() if len(tints) >= FEWEST else [],
        "layout": layout.round(4).tolist(),
        "likeness": np.quantile(grids @ layout, _USUAL).round(4).tolist(),
    }


def differences(look: str, usual: Mapping[str, Any], what: str) -> list[str]:
    """How a picture differs from others, in sentences that go behind its name.

    What this cannot see: black and white exchanged where the others have nothing in common, as grey tiles, and their
    levels are as usual.

    Args:
        look: of the picture.
        usual: of the others, see `summed_up`.
        what: they are called.
    """
    if not usual:
        return []
    (own,), (tint,), (grid,) = _parts([look])
    low, middle, high = np.array(usual["levels"])
    said = []
    limits = own[2] < low[2] - _LIMITED or own[0] > high[0] + _LIMITED
    if limits or own[1] < low[1] - _SHIFTED or own[1] > high[1] + _SHIFTED:
        shown = [f"{first:.0f} to {last:.0f} (half below {half:.0f})" for first, half, last in (own, middle)]
        said.append(f"holds grey levels from {shown[0]}, {what} from {shown[1]}; is its window right?")
    if usual["tint"]:
        low, middle, high = np.array(usual["tint"])
        if (tint < low - _TINTED).any() or (tint > high + _TINTED).any():  # not so of grey, which is NaN
            shown = ["red {:+.0f}, blue {:+.0f}".format(*values) for values in (tint, middle)]
            text = f"has other colours ({shown[0]} against green) than {what} ({shown[1]})"
            said.append(f"{text}; are its channels exchanged, or is it stained otherwise?")
    likeness = usual["likeness"]
    if likeness[1] >= _ALIKE and (alike := float(grid @ usual["layout"])) < min(_OPPOSITE, likeness[0]):
        text = f"is dark where {what} are bright (correlation {alike:.2f}, theirs {likeness[1]:.2f})"
        said.append(f"{text}; are black and white exchanged, or is it turned?")
    return said


def _parts(looks: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The levels (N, 3), red and blue above green (N, 2), NaN of grey, and grids (N, 64) with mean 0 and norm 1."""
    values = np.frombuffer(b"".join(map(base64.b64decode, looks)), np.uint8).reshape(len(looks), -1).astype(float)
    levels, tints, grids = np.split(values, [len(SHARES), len(SHARES) + 2], axis=1)
    tints = np.where(tints == 0, np.nan, 2 * (tints - NEUTRAL))
    return levels, tints, _unit(grids - grids.mean(axis=1, keepdims=True))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-6)
