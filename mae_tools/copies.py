"""Copies: the same picture or scan under several names, in whatever container, type of number or orientation."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from bundle_runtime.data.verify import Problem

_RANKED = 1 << 16  # numbers below are ranked by a table of this length, others by sorting


class Place(NamedTuple):
    """Where an image stands: its list, case and file, and what its label says (None where that is a file)."""

    section: str
    case: str
    file: str
    label: Any = None

    @classmethod
    def of(cls, item: Item, file: str | None = None) -> "Place":
        """The place of a prepared item, of its first file or another one."""
        label = item.get("label")
        return cls(item["section"], item["case"], file or item["file"], None if isinstance(label, str) else label)


def picture_digest(pixels: np.ndarray) -> bytes:
    """A digest of a picture (C, H, W) that its storing does not change: grey as colour, more bits, turned or mirrored.

    Only the order of its values counts, so a picture whose contrast was stretched without loss has it too.
    """
    if len(pixels) > 1 and all(np.array_equal(pixels[0], other) for other in pixels[1:]):
        pixels = pixels[:1]
    if pixels.dtype.kind in "ub" and pixels.size and pixels.max() < _RANKED:
        ranks = (np.cumsum(np.bincount(pixels.ravel()) > 0) - 1)[pixels]
    else:
        ranks = np.unique(pixels, return_inverse=True)[1].reshape(pixels.shape)
    ranks = ranks.astype(np.uint32)
    if ranks.size and ranks.min() == ranks.max():  # blank: only its value tells it from another
        ranks = ranks + pixels.ravel()[0].astype(np.uint32)
    return _digest(_upright(ranks))


def volume_digest(voxels: np.ndarray) -> bytes:
    """A digest of a volume (X, Y, Z) that type of number, order of axes and direction along each do not change.

    Axes are put in an order that follows from the voxels alone, so a copy with another or a wrong affine has it too.
    """
    bits = (voxels.astype(np.float32) + np.float32(0)).view(np.int32)  # + 0: there are two zeros
    return _digest(_upright(bits[None]))


def _upright(values: np.ndarray) -> np.ndarray:
    """(C, ...) whole numbers, spatial axes flipped and ordered by their sums, which are exact."""
    profiles = []
    for axis in range(1, values.ndim):
        others = tuple(other for other in range(values.ndim) if other != axis)
        sums = values.sum(axis=others, dtype=np.int64).tolist()
        if sums[::-1] < sums:
            values, sums = np.flip(values, axis), sums[::-1]
        profiles.append(sums)
    order = sorted(range(len(profiles)), key=lambda axis: (len(profiles[axis]), profiles[axis]))
    return values.transpose(0, *(axis + 1 for axis in order))


def _digest(values: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(values.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    return digest.digest()


def find_copies(places: Iterable[tuple[Place, bytes]]) -> list[list[Place]]:
    """The places of equal digest that name different files, group by group, in the order of the lists."""
    groups: dict[bytes, list[Place]] = {}
    for place, digest in places:
        groups.setdefault(digest, []).append(place)
    return [group for group in groups.values() if len({place.file for place in group}) > 1]


def copy_problems(copies: Sequence[Sequence[Place]], what: str, parity: bool = False) -> list[Problem]:
    """One problem a group: an error where it reaches into two lists, else a warning.

    Args:
        copies: of `find_copies`.
        what: "pixels" or "voxels".
        parity: the test list may repeat the validation list.
    """
    problems = []
    for first, *others in copies:
        sections = {place.section for place in (first, *others)}
        lists = {"validation" if parity and section == "test" else section for section in sections}
        if parity and lists == {"validation"}:
            continue
        crossing = len(lists) > 1
        twin = next((place for place in others if place.section != first.section), others[-1])
        where = f"{first.file} in {first.section}"
        rest = [f"{place.file} in {place.section}" for place in others if place is not twin]
        text = f"holds the same {what} as {where}" + (f" and as {some(rest, 3)}" if rest else "")
        if any(place.label != first.label for place in others):
            text += ", with another label"
        advice = "one may stand in one list only" if crossing else "keep one"
        text += f"; {advice}: datalist ... --copies drop (or together) writes the lists so"
        problems.append(Problem(twin.section, twin.case, twin.file, "error" if crossing else "warning", text))
    return problems
