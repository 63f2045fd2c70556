"""What was cut out of a slide, as a picture: the tissue that was found, and the tiles on it."""

import io
from collections.abc import Sequence

import numpy as np
from bundle_runtime.figures.panels import COLOURS
from bundle_runtime.slides.grid import Grid
from bundle_runtime.slides.tissue import Tissue
from PIL import Image, ImageDraw

_GLASS = 0.55  # brightness left of what is no tissue
_PLAIN = (20, 20, 20)
_UNLABELLED = (150, 150, 150)
_QUALITY = 85


def grid_picture(
    overview: np.ndarray, tissue: Tissue, grid: Grid, labels: Sequence[int | None], labelled: bool
) -> bytes:
    """A JPEG of the slide, darkened where no tissue was found, with a frame a tile in the colour of its class.

    Args:
        overview: uint8 (h, w, 3), the whole slide, small.
        tissue: what was found on it.
        grid: the tiles.
        labels: of each tile; None: none, the frame is grey.
        labelled: tiles have labels at all; else frames are black.
    """
    shown = np.where(tissue.mask[..., None], overview, overview * _GLASS).astype(np.uint8)
    image = Image.fromarray(shown)
    pen = ImageDraw.Draw(image)
    side = grid.side / np.array(tissue.scale)
    for (row, column), label in zip(grid.corners() / tissue.scale, labels, strict=True):
        colour = _PLAIN if not labelled else _UNLABELLED if label is None else _colour(label)
        pen.rectangle([column, row, column + side[1] - 1, row + side[0] - 1], outline=colour)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in COLOURS[label % len(COLOURS)][:3])
    return red, green, blue
