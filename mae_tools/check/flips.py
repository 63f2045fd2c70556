"""Is one case of a list flipped against the others? A wrong sign in an affine shows in no single file.

The brain images of the Medical Segmentation Decathlon carry a RAS-like affine although their voxels lie as LPS does
(Project-MONAI/model-zoo issue 766): read with other heads they are turned left-right and front-back.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from bundle_runtime.data.verify import Problem
from nibabel.orientations import apply_orientation, io_orientation
from scipy import ndimage
from skimage.filters import threshold_otsu

from .case_report import CaseReport

SIDE = 20  # voxels of a coarse picture along each axis
_SAMPLES = 64  # at least so many voxels along an axis are looked at, where there are so many
# A flip counts where the flipped case fits the rest better by `_GAIN` (of a correlation), and where the part of it that
# changes sign under that flip correlates with that of the rest by less than `-_OPPOSITE`; the latter alone would judge
# two symmetric bodies by their noise. Measured for cases that lie right: 0.3 to 0.8 over 130 hippocampi, 0.5 to 0.8 in
# heads (left-right -0.1), and never below -0.15, not even among four abdomens of different extent. Left-right needs
# more, as what differs between the sides of a head is the tumour (in hippocampi a mirrored one gains 0.4).
_GAIN = 0.03
_GAIN_SIDES = 0.1
_OPPOSITE = 0.3
_ALIKE = 0.5  # least correlation with the rest, once flipped
_FEWEST = 4  # cases: below, there is no "rest of the list"
_SWEEPS = 20

Flip = tuple[int, ...]
_FLIPS: tuple[Flip, ...] = tuple(axes for count in range(4) for axes in itertools.combinations(range(3), count))
_WORDS = ("left-right", "front-back", "head-foot")


def coarse_picture(image: Any, volume: np.ndarray) -> np.ndarray | None:
    """A volume's largest bright body, in RAS order and cropped to its bounding box, on a small common grid.

    Outside the body it is 0, inside 0.5 (2nd percentile of the body) to 1 (98th), so shape and content weigh alike.

    Args:
        image: the nibabel image, for its affine.
        volume: (X, Y, Z) as stored.

    Returns:
        (SIDE, SIDE, SIDE) float32 of mean 0 and norm 1; None for a volume without contrast or with values not finite.
    """
    small = apply_orientation(volume, io_orientation(image.affine))
    small = small[tuple(slice(None, None, max(1, n // _SAMPLES)) for n in small.shape)].astype(np.float32)
    if not np.isfinite(small).all() or small.min() == small.max():
        return None
    parts, count = ndimage.label(small > threshold_otsu(small.ravel()))
    # The largest part alone: the table under a patient would stretch the box.
    body = parts == np.bincount(parts.ravel(), minlength=count + 1)[1:].argmax() + 1
    low, high = np.percentile(small[body], (2, 98))
    inside = 0.5 + 0.5 * np.clip((small - low) / max(float(high - low), 1e-6), 0, 1)
    picture = np.where(body, inside, 0)[ndimage.find_objects(body.astype(np.int8))[0]]
    for axis in range(3):
        picture = _block_means(picture, axis)
    picture = picture - picture.mean()
    norm = float(np.linalg.norm(picture))
    return (picture / norm).astype(np.float32) if norm > 1e-6 else None


def _block_means(volume: np.ndarray, axis: int) -> np.ndarray:
    """`SIDE` means over (overlapping, where there are fewer voxels than that) blocks along an axis."""
    n = volume.shape[axis]
    edges = np.arange(SIDE + 1) * n / SIDE
    first, end = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    sums = np.concatenate([np.zeros_like(np.take(volume, [0], axis)), np.cumsum(volume, axis)], axis)
    width = (end - first).reshape([-1 if other == axis else 1 for other in range(3)])
    return (np.take(sums, end, axis) - np.take(sums, first, axis)) / width


def flips_against_the_rest(pictures: Sequence[np.ndarray]) -> list[list[Flip]]:
    """For each picture the axes along which it must be flipped to look like the rest.

    The pictures are first turned front-back and head-foot, one by one and repeatedly, to agree among themselves, so
    that the rest is no blur even where nearly half of the list is flipped; not left-right, as that would gather all
    tumours on one side.

    Returns:
        For each picture [] where it fits as it is, else the flip; two of them where left and right are too alike to
        tell which, the shorter one first.
    """
    states: list[Flip] = [()] * len(pictures)
    total = np.sum(pictures, axis=0)
    for _ in range(_SWEEPS):
        before = list(states)
        for index, picture in enumerate(pictures):
            rest = total - np.flip(picture, states[index])
            fit = dict(zip(_FLIPS, _fits(picture, rest), strict=True))
            states[index] = max((flip for flip in _FLIPS if 0 not in flip), key=fit.__getitem__)
            total = rest + np.flip(picture, states[index])
        if states == before:
            break
    rests = [_unit(total - np.flip(picture, state)) for picture, state in zip(pictures, states, strict=True)]
    return [
        _verdict(_fits(picture, rest), 2 * _asymmetry(picture) * _asymmetry(rest))
        for picture, rest in zip(pictures, rests, strict=True)
    ]


def _fits(picture: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The correlation of a picture, flipped in each of the eight ways, with the rest."""
    return np.array([(np.flip(picture, flip) * rest).sum() for flip in _FLIPS])


def _asymmetry(picture: np.ndarray) -> np.ndarray:
    """The norm of the part of a picture of norm 1 that changes sign under each of the eight flips."""
    return np.sqrt(np.maximum(1 - _fits(picture, picture), 0) / 2)


def _verdict(fit: np.ndarray, scale: np.ndarray) -> list[Flip]:
    """The flips that make one case fit clearly better.

    Args:
        fit: correlation with the rest, for each of `_FLIPS`.
        scale: how much of it a flip can change: all of it where the parts that change sign are each other's negative.
    """
    best = int(fit.argmax())
    mirrored = _FLIPS.index(_both(_FLIPS[best], (0,)))
    sides_tell = fit[best] - fit[mirrored] > max(_GAIN_SIDES, _OPPOSITE * scale[_FLIPS.index((0,))])
    if fit[best] - fit[0] <= max(_GAIN, _OPPOSITE * scale[best]) or fit[best] < _ALIKE:
        return []
    if _FLIPS[best] == (0,) and not sides_tell:
        return []
    return [_FLIPS[best]] if sides_tell else sorted([_FLIPS[best], _FLIPS[mirrored]], key=len)


def compare_flips(reports: Sequence[CaseReport]) -> list[Problem]:
    """Warn in each case that looks flipped against the other cases of the list.

    What this cannot see: heads and trunks that are flipped left-right alone, which are nearly symmetric; bodies that
    show different parts, such as a chest among abdomens; a list in which every case is flipped alike; and lists of
    fewer than four.

    Returns:
        A warning for the whole list where the flipped cases are those that are stored in one way.
    """
    pictured = [(report, report.coarse) for report in reports if report.coarse is not None]
    if len(pictured) < _FEWEST:
        return []
    flips = flips_against_the_rest([coarse for _, coarse in pictured])
    flipped: dict[str, list[str]] = {}
    for (report, _), found in zip(pictured, flips, strict=True):
        if found:
            flipped.setdefault(str(report.orientation), []).append(_words(found))
            text = f"looks flipped {_words(found)} against the other cases of the list; look at its thumbnail"
            report.add("warning", report.image, text)
    straight = {str(report.orientation) for (report, _), found in zip(pictured, flips, strict=True) if not found}
    problems = []
    for axes in sorted(set(flipped) - straight):
        if len(flipped[axes]) > 1:
            how = max(flipped[axes], key=flipped[axes].count)
            text = (
                f"all {len(flipped[axes])} cases stored as {axes} look flipped {how}, those stored as "
                f"{', '.join(sorted(straight))} do not: one of the two kinds carries affines with wrong signs, as the "
                "brain images of the Medical Segmentation Decathlon do; correct the affines before mixing them"
            )
            problems.append(Problem("datalist", "", "", "warning", text))
    return problems


def _both(one: Flip, other: Flip) -> Flip:
    """Both flips, one after the other."""
    return tuple(sorted(set(one) ^ set(other)))


def _unit(picture: np.ndarray) -> np.ndarray:
    return picture / max(float(np.linalg.norm(picture)), 1e-6)


def _words(found: list[Flip]) -> str:
    """`front-back`, with a word on the sides where they do not tell."""
    unsure = " (and perhaps left-right: the two sides are too alike to tell)" if len(found) > 1 else ""
    return " and ".join(_WORDS[axis] for axis in found[0]) + unsure
