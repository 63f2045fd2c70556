"""What a mask of a picture showed: the picture's size, values that mean something and are not cut off at 255."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects, label

from .mask_file import Mask
from .verify import Problem

_FULL_BYTE = 255
_8_BITS = ("L", "P", "RGB", "RGBA", "LA", "PA")  # modes of Pillow
_SPLIT = 0.25  # share of the numbers in pieces from which on they are not those of objects
_CORNERS = np.ones((3, 3), int)  # pixels that touch at a corner belong together


class SeenMask(NamedTuple):
    """What was found in a mask.

    Attributes:
        problem: why it cannot be used; "" if it can. The rest is only filled then.
        pixels: number of pixels of each class.
        objects: how many numbers it holds, without 0, where these count objects.
        pieces: how many of these numbers lie in several separate pieces.
        doubt: what looks wrong about its numbers, or "".
    """

    problem: str = ""
    pixels: tuple[int, ...] = ()
    objects: int = 0
    pieces: int = 0
    doubt: str = ""

    def remarks(self, instances: bool) -> list[str]:
        """What is unusual about it; many masks of a list may be so, and nothing need be wrong."""
        found = {
            "is empty (no object is drawn)": sum(self.pixels[1:]) == 0,
            "has no background": self.pixels[0] == 0,
            "has objects in several separate pieces": instances and self.pieces > 0,
        }
        return [text for text, holds in found.items() if holds]


def look_at_mask(mask: Mask, classes: np.ndarray, mask_kind: str, count: int) -> SeenMask:
    """The facts of a decoded mask.

    Args:
        mask: of `mask_file.decode_mask`.
        classes: (H, W), of `mask_file.class_map`.
        mask_kind: classes, binary or instance.
        count: number of classes, background included.
    """
    pixels = tuple(np.bincount(classes.ravel(), minlength=count).tolist())
    if mask_kind != "instance":
        return SeenMask("", pixels, doubt=_soft(mask) if mask_kind == "binary" and mask.lossy else "")
    numbers, pieces = _separate_pieces(mask.values)
    problem, doubt = _cut_off(mask.mode, numbers, pieces)
    return SeenMask(problem, pixels, len(numbers), sum(several > 1 for several in pieces), doubt)


def _soft(mask: Mask) -> str:
    """What a lossy file made of a binary mask."""
    values = mask.values.max(axis=2) if mask.values.ndim == 3 else mask.values
    highest = values.max(initial=0)
    between = float(((values > 0) & (values < highest)).mean())
    return (
        f"is a JPEG or the like: {between:.1%} of its pixels are neither 0 nor {highest}, and what lies above "
        f"{highest / 2:g} counts as drawn; store masks as PNG"
    )


def size_problem(mask: Sequence[int], picture: Sequence[int]) -> str:
    """What is wrong where height and width of a mask are not those of its picture; "" where they are."""
    if tuple(mask[:2]) == tuple(picture[:2]):
        return ""
    return (
        f"is a mask of {mask[0]}x{mask[1]} pixels for a picture of {picture[0]}x{picture[1]}; expected the same size, "
        "export it again without scaling or cropping"
    )


def class_counts(masks: Sequence[SeenMask], class_names: Sequence[str]) -> dict[str, int]:
    """How many masks show each class."""
    return {name: sum(mask.pixels[index] > 0 for mask in masks) for index, name in enumerate(class_names)}


def list_problems(
    part: str, masks: Sequence[tuple[str, SeenMask]], class_names: Sequence[str], instances: bool
) -> Iterator[Problem]:
    """What concerns many masks: empty ones, full ones, objects in pieces, one sentence each, and absent classes.

    Args:
        part: name of the list.
        masks: the usable ones, by file.
        class_names: background first.
        instances: their numbers count objects.
    """
    place = f" of {part}" if part else ""
    texts: dict[str, list[str]] = {}
    for file, mask in masks:
        for text in mask.remarks(instances):
            texts.setdefault(text, []).append(file)
    for text, files in texts.items():
        yield Problem(part, "", files[0], "warning", f"{text}, as {len(files)} of {len(masks)} masks{place}")
    learning = part in ("", "training")
    use = "so it cannot be learnt" if learning else "so it has no score there"
    for name, count in class_counts([mask for _, mask in masks], class_names).items():
        if masks and not count:
            level = "error" if learning and len(class_names) == 2 else "warning"
            yield Problem(part, "", "", level, f"class {name!r} occurs in no mask{place}, {use}")


def _separate_pieces(values: np.ndarray) -> tuple[list[int], list[int]]:
    """The numbers of a mask, and in how many separate pieces each lies; corners connect."""
    numbers, inverse = np.unique(values, return_inverse=True)
    ranks = inverse.reshape(values.shape) + (numbers[0] != 0)  # 0 stays background, the others count from 1 on
    pieces = [
        int(label(ranks[box] == rank, _CORNERS)[1]) for rank, box in enumerate(find_objects(ranks), start=1) if box
    ]
    return numbers[numbers > 0].tolist(), pieces


def _cut_off(mode: str, numbers: list[int], pieces: list[int]) -> tuple[str, str]:
    """Whether the numbers of an 8-bit file can be those of its objects: an error and a doubt, each "" for none."""
    if not numbers or max(numbers) > _FULL_BYTE or mode not in _8_BITS:
        return "", ""
    split = sum(count > 1 for count in pieces)
    if len(numbers) == 1 and pieces[0] > 1:
        text = f"holds the number {numbers[0]} alone, in {pieces[0]} separate pieces, as a mask of foreground does"
        return f"{text}; set mask_kind to binary, or number the objects", ""
    if max(numbers) < _FULL_BYTE:
        return "", ""
    if pieces[-1] > 1 or (split > 1 and split > _SPLIT * len(numbers)):
        text = f"is an 8-bit file whose numbers were cut off at {_FULL_BYTE}: {split} of {len(numbers)} numbers lie in "
        return f"{text}several separate pieces; store the objects in 16 bits again", ""
    text = f"is an 8-bit file with the number {_FULL_BYTE}, its highest"
    return "", f"{text}; if the tile has more than {_FULL_BYTE} objects they were cut off, store them in 16 bits"
