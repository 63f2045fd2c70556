"""What a picture file showed when it was decoded, and what is wrong with the pictures of a list."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .image_prepare import as_channels
from .picture_looks import NEUTRAL, SHARES
from .schema import Item, as_list
from .verify import Problem, of_list

_SMALL = 32  # pixels; below it a picture has next to no detail
_EQUAL = "all its pixels are equal"
_PATCH = 16  # pixels; what is smaller is not even one patch of the usual networks
_GRID = 8  # pixels of the small picture that shows where one is bright
_USUAL = ("8-bit grey", "RGB")
OBLONG = " of oblong pixels"  # ends the kind of DICOM whose header says so


class Seen(NamedTuple):
    """What was found in a file.

    Attributes:
        problem: why it cannot be used; "" if it can. The rest is only filled then.
        kind: as `image_file.Picture` has it.
        height: in pixels, as `width`.
        width: in pixels.
        digest: of the decoded pixels; a picture that was stored again without loss has the same.
        constant: whether all pixels are equal.
        patient: the patient id of a DICOM header, or "".
        modality: of a DICOM header, such as CR, or "".
        view: the view position of a DICOM header, such as PA or LL, or "".
        thumbnail: a small JPEG where one was asked for, or b"".
        tones: how bright it is, where that was asked for: mean and mean square (0..1) of each channel.
        look: its grey levels, colours and where it is bright, see `look_of`.
    """

    problem: str = ""
    kind: str = ""
    height: int = 0
    width: int = 0
    digest: bytes = b""
    constant: bool = False
    patient: str = ""
    modality: str = ""
    view: str = ""
    thumbnail: bytes = b""
    tones: tuple[tuple[float, float], ...] = ()
    look: str = ""

    @classmethod
    def of(cls, picture: Any) -> "Seen":
        """What a decoded `image_file.Picture` shows."""
        height, width = picture.pixels.shape[1:]
        constant = bool(picture.pixels.min() == picture.pixels.max())
        found = cls("", picture.kind, height, width, b"", constant, *picture.header)
        return found._replace(look=look_of(picture.pixels))

    def facts(self) -> dict[str, Any]:
        """Plain values that later pictures are compared with."""
        grey = "grey" in self.kind or self.kind == "bilevel"
        return {"side": min(self.height, self.width), "grey": grey, "look": self.look}

    def doubts(self) -> list[str]:
        """Why a network may get little from a file that can be read, in sentences that go behind its name."""
        found = [_EQUAL] if self.constant else []
        if min(self.height, self.width) < _SMALL:
            found.append(f"is only {self.height}x{self.width} pixels, smaller than {_SMALL}")
        return [*found, self.remark] if self.remark else found

    @property
    def remark(self) -> str:
        """What becomes of a file that holds neither what pictures are converted to nor the usual DICOM; "" else."""
        if self.kind.endswith(OBLONG):
            return f"holds {self.kind}, which are taken for squares"
        known = self.kind in _USUAL or self.kind.startswith("DICOM")
        return "" if known else f"holds {self.kind} and is converted to 8-bit grey or RGB"


def look_of(pixels: np.ndarray) -> str:
    """A few bytes of a picture, as a text: three grey levels, red and blue above green, and its means on a grid.

    Args:
        pixels: uint8 (1, H, W) or (3, H, W); the levels are those below which 0.5, 50 and 99.5 % of its luma lie.
    """
    below = np.cumsum(Image.fromarray(as_channels(pixels, 1)[0]).histogram())
    levels = np.searchsorted(below, np.multiply(SHARES, below[-1])).tolist()
    small = [Image.fromarray(channel).resize((_GRID, _GRID), Image.Resampling.BOX) for channel in pixels]
    grid = np.stack([np.asarray(channel) for channel in small])
    means = grid.mean(axis=(1, 2))
    tint = [0, 0] if len(pixels) == 1 else np.clip(NEUTRAL + (means[[0, 2]] - means[1]) / 2, 1, 255).round()
    return base64.b64encode(bytes([*levels, *map(int, tint), *as_channels(grid, 1).ravel().tolist()])).decode()


def file_problems(part: str, items: Sequence[Item], seen: Mapping[str, Seen], skip: bool = False) -> Iterator[Problem]:
    """Unusable files one by one; small and converted pictures as one warning each, because there may be thousands."""
    small: list[str] = []
    converted: dict[str, list[str]] = {}
    for item in items:
        if len(as_list(item["image"])) > 1:
            text = f"is one of {len(item['image'])} files of an item, expected one picture an item"
            yield Problem(part, item["case"], item["file"], "error", text)
        for file in as_list(item["image"]):
            found = seen[file]
            if found.problem:
                yield Problem(part, item["case"], file, "warning" if skip else "error", found.problem)
                continue
            if min(found.height, found.width) < _PATCH:
                text = f"is only {found.height}x{found.width} pixels, smaller than one patch of {_PATCH}"
                yield Problem(part, item["case"], file, "warning" if skip else "error", f"{text}; remove it")
            elif min(found.height, found.width) < _SMALL:
                small.append(file)
            for remark in filter(None, (_EQUAL * found.constant, found.remark)):
                converted.setdefault(remark, []).append(file)
    if small:
        size = f"{seen[small[0]].height}x{seen[small[0]].width}"
        text = f"is only {size} pixels, smaller than {_SMALL}, as {len(small)} picture(s){of_list(part)}"
        yield Problem(part, "", small[0], "warning", text)
    for remark, files in converted.items():
        yield Problem(part, "", files[0], "warning", f"{remark}, as {len(files)} picture(s){of_list(part)}")
