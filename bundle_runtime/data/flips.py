"""Is one case flipped against others? Found by the coarse pictures (`body.coarse_picture`) of both.

A wrong sign in an affine shows in no single file. The brain images of the Medical Segmentation Decathlon carry a
RAS-like affine although their voxels lie as LPS does (Project-MONAI/model-zoo issue 766): read with other heads they
are turned left-right and front-back.
"""

import base64
import itertools
from collections.abc import Sequence

import numpy as np

SIDE = 20  # voxels of a coarse picture along each axis
FEWEST = 4  # cases: below, there is no "rest of the list"
# A flip counts where the flipped case fits the rest better by `_GAIN` (of a correlation), and where the part of it that
# changes sign under that flip correlates with that of the rest by less than `-_OPPOSITE`; the latter alone would judge
# two symmetric bodies by their noise. Measured for cases that lie right: 0.3 to 0.8 over 130 hippocampi, 0.5 to 0.8 in
# heads (left-right -0.1), and never below -0.15, not even among four abdomens of different extent. Left-right needs
# more, as what differs between the sides of a head is the tumour (in hippocampi a mirrored one gains 0.4).
_GAIN = 0.03
_GAIN_SIDES = 0.1
_OPPOSITE = 0.3
_ALIKE = 0.5  # least correlation with the rest, once flipped

Flip = tuple[int, ...]
FLIPS: tuple[Flip, ...] = tuple(axes for count in range(4) for axes in itertools.combinations(range(3), count))
_WORDS = ("left-right", "front-back", "head-foot")


def packed(picture: np.ndarray) -> str:
    """A coarse picture as a text, in steps of 1/127 of its largest value."""
    steps = np.round(picture * (127 / max(float(np.abs(picture).max()), 1e-6))).astype(np.int8)
    return base64.b64encode(steps.tobytes()).decode()


def unpacked(text: str) -> np.ndarray:
    """The coarse picture of a text."""
    steps = np.frombuffer(base64.b64decode(text), np.int8).reshape(SIDE, SIDE, SIDE)
    return _unit(steps.astype(np.float32))


def fits(picture: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The correlation of a picture, flipped in each of the eight ways, with the rest."""
    return np.array([(np.flip(picture, flip) * rest).sum() for flip in FLIPS])


def flips_against(picture: np.ndarray, rest: np.ndarray) -> list[Flip]:
    """The flips that make one case fit the others clearly better.

    What this cannot see: heads and trunks that are flipped left-right alone, which are nearly symmetric; and bodies
    that show different parts, such as a chest among abdomens.

    Args:
        picture: a coarse picture.
        rest: the sum of those of the others.

    Returns:
        [] where it fits as it is, else the flip; two of them where left and right are too alike to tell which, the
        shorter one first.
    """
    rest = _unit(rest)
    fit = fits(picture, rest)
    # How much of it a flip can change: all of it where the parts that change sign are each other's negative.
    scale = 2 * _asymmetry(picture) * _asymmetry(rest)
    best = int(fit.argmax())
    mirrored = FLIPS.index(tuple(sorted(set(FLIPS[best]) ^ {0})))
    sides_tell = fit[best] - fit[mirrored] > max(_GAIN_SIDES, _OPPOSITE * scale[FLIPS.index((0,))])
    if fit[best] - fit[0] <= max(_GAIN, _OPPOSITE * scale[best]) or fit[best] < _ALIKE:
        return []
    if FLIPS[best] == (0,) and not sides_tell:
        return []
    return [FLIPS[best]] if sides_tell else sorted([FLIPS[best], FLIPS[mirrored]], key=len)


def in_words(found: Sequence[Flip]) -> str:
    """`front-back`, with a word on the sides where they do not tell."""
    unsure = " (and perhaps left-right: the two sides are too alike to tell)" if len(found) > 1 else ""
    return " and ".join(_WORDS[axis] for axis in found[0]) + unsure


def _asymmetry(picture: np.ndarray) -> np.ndarray:
    """The norm of the part of a picture of norm 1 that changes sign under each of the eight flips."""
    return np.sqrt(np.maximum(1 - fits(picture, picture), 0) / 2)


def _unit(picture: np.ndarray) -> np.ndarray:
    return picture / max(float(np.linalg.norm(picture)), 1e-6)
