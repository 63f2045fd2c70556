"""Check masks of pictures: read, of the picture's size, with values that mean something, and not cut off at 255."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects, label
from tqdm import tqdm

from custom_components.errors import InputError

from ..data.mask_file import class_map, read_mask
from ..data.schema import MASK_KINDS, Item
from .check_report import Problem
from .image_inspect import Seen

_FULL_BYTE = 255
_SPLIT = 0.25  # share of the numbers in pieces from which on they are not those of objects
_CORNERS = np.ones((3, 3), int)  # pixels that touch at a corner belong together


class SeenMask(NamedTuple):
    """What was found in a mask.

    Attributes:
        problem: why it cannot be used; "" if it can. The rest is only filled then.
        height: in pixels, as `width`.
        width: in pixels.
        pixels: number of pixels of each class.
        objects: how many numbers it holds, without 0, where these count objects.
        pieces: how many of these numbers lie in several separate pieces.
        doubt: what looks wrong about its numbers, or "".
    """

    problem: str = ""
    height: int = 0
    width: int = 0
    pixels: tuple[int, ...] = ()
    objects: int = 0
    pieces: int = 0
    doubt: str = ""


def mask_problems(
    part: str, items: Sequence[Item], seen: Mapping[str, Seen], class_names: Sequence[str] | None, num_workers: int = 0
) -> tuple[list[Problem], dict[str, int]]:
    """Read the masks of a list.

    Args:
        part: name of the list.
        items: those whose `label` is the path of a mask, with `mask_kind` where the datalist says it.
        seen: what their pictures hold.
        class_names: background first; None for two classes.
        num_workers: threads that read; 0 reads one after the other.

    Returns:
        What is wrong, and how many masks show each class.
    """
    names = list(class_names) if class_names is not None else ["background", "foreground"]
    kinds = {item.get("mask_kind", MASK_KINDS[0]) for item in items}

    def look(item: Item) -> SeenMask:
        return inspect_mask(item["label"], item.get("mask_kind", MASK_KINDS[0]), len(names))

    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        bar = tqdm(pool.map(look, items), "check masks", len(items), unit="mask", file=sys.stderr)
        found = list(bar)
    problems = [
        Problem(part, item["case"], item["label"], "error", text)
        for item, mask in zip(items, found, strict=True)
        if (text := mask.problem or _size_problem(mask, seen[item["file"]]))
    ]
    good = [(item, mask) for item, mask in zip(items, found, strict=True) if not mask.problem]
    problems += [Problem(part, item["case"], item["label"], "warning", mask.doubt) for item, mask in good if mask.doubt]
    problems += _list_problems(part, good, kinds)
    shows = {name: sum(mask.pixels[index] > 0 for _, mask in good) for index, name in enumerate(names)}
    learning = part in ("", "training")
    for name, count in shows.items():
        if good and not count:
            use = "so it cannot be learnt" if learning else "so it has no score there"
            text = f"class {name!r} occurs in no mask{f' of {part}' if part else ''}, {use}"
            problems.append(Problem(part, "", "", "error" if learning and len(names) == 2 else "warning", text))
    return problems, shows


def inspect_mask(file: str, mask_kind: str, classes: int) -> SeenMask:
    """Look into one mask.

    Args:
        file: its path.
        mask_kind: classes, binary or instance.
        classes: number of classes, background included.
    """
    try:
        values = read_mask(file)
        mapped = class_map(values, mask_kind, classes, file)
    except InputError as error:
        return SeenMask(problem=str(error).removeprefix(f"{file}: ").removesuffix("."))
    height, width = mapped.shape
    pixels = tuple(np.bincount(mapped.ravel(), minlength=classes).tolist())
    if mask_kind != "instance":
        return SeenMask("", height, width, pixels)
    numbers, pieces = _separate_pieces(values)
    several = [number for number, count in zip(numbers, pieces, strict=True) if count > 1]
    problem, doubt = _cut_off(file, numbers, pieces)
    return SeenMask(problem, height, width, pixels, len(numbers), len(several), doubt)


def _separate_pieces(values: np.ndarray) -> tuple[list[int], list[int]]:
    """The numbers of a mask, and in how many separate pieces each lies; corners connect."""
    numbers, inverse = np.unique(values, return_inverse=True)
    ranks = inverse.reshape(values.shape) + (numbers[0] != 0)  # 0 stays background, the others count from 1 on
    pieces = [
        int(label(ranks[box] == rank, _CORNERS)[1]) for rank, box in enumerate(find_objects(ranks), start=1) if box
    ]
    return numbers[numbers > 0].tolist(), pieces


def _cut_off(file: str, numbers: list[int], pieces: list[int]) -> tuple[str, str]:
    """Whether the numbers of an 8-bit file can be those of its objects: an error and a doubt, each "" for none."""
    if not numbers or max(numbers) > _FULL_BYTE or not _has_8_bits(file):
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


def _has_8_bits(file: str) -> bool:
    with Image.open(file) as image:  # it was read before: this looks at the head only
        return image.mode in ("L", "P", "RGB", "RGBA", "LA", "PA")


def _size_problem(mask: SeenMask, picture: Seen) -> str:
    if picture.problem or (mask.height, mask.width) == (picture.height, picture.width):
        return ""
    return (
        f"is a mask of {mask.height}x{mask.width} pixels for a picture of {picture.height}x{picture.width}; expected "
        "the same size, export it again without scaling or cropping"
    )


def _list_problems(part: str, good: Sequence[tuple[Item, SeenMask]], kinds: set[str]) -> Iterator[Problem]:
    """What concerns many masks: empty ones, full ones, and objects in pieces, one sentence each."""
    place = f" of {part}" if part else ""
    texts = {
        "is empty (no object is drawn)": [item for item, mask in good if sum(mask.pixels[1:]) == 0],
        "has no background": [item for item, mask in good if mask.pixels[0] == 0],
    }
    if "instance" in kinds:
        texts["has objects in several separate pieces"] = [item for item, mask in good if mask.pieces]
    for text, items in texts.items():
        if items:
            yield Problem(
                part, "", items[0]["label"], "warning", f"{text}, as {len(items)} of {len(good)} masks{place}"
            )
