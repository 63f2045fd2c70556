"""Which tiles of a slide are looked at: a regular grid, the places with tissue, in an order that suits the file."""

from dataclasses import dataclass

import numpy as np
from custom_components.errors import InputError

from .slide import Slide
from .tissue import OVERVIEW, Tissue, find_tissue

_NEIGHBOURS = 8  # tiles along the side of a block that is read together


@dataclass(frozen=True)
class Grid:
    """The tiles of one slide.

    Attributes:
        mpp: micrometres a pixel of a tile.
        tile_size: side of a tile in its pixels.
        side: that side in pixels of level 0.
        stride: distance of neighbours in pixels of level 0.
        shape: rows and columns of the whole grid.
        places: int32 (N, 2), row and column in the grid of the tiles that are looked at, neighbours together.
        tissue: float32 (N,), share of tissue in each.
    """

    mpp: float
    tile_size: int
    side: float
    stride: float
    shape: tuple[int, int]
    places: np.ndarray
    tissue: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def corner(self, number: int) -> tuple[float, float]:
        """Row and column of level 0 at the top left of tile `number`."""
        row, column = self.places[number]
        return float(row * self.stride), float(column * self.stride)

    def corners(self) -> np.ndarray:
        """Row and column of level 0 at the top left of every tile, (N, 2)."""
        return self.places * self.stride


def tissue_grid(
    slide: Slide,
    mpp: float,
    tile_size: int,
    stride: int | None = None,
    tissue_fraction: float = 0.5,
    whole_only: bool = True,
    min_area: float = 0.01,
) -> tuple[Grid, Tissue, np.ndarray]:
    """Lay a grid over a slide and keep the tiles with tissue.

    Args:
        slide: open; with a resolution.
        mpp: micrometres a pixel of the tiles.
        tile_size: their side in pixels.
        stride: distance of neighbours in pixels of the tiles; None: `tile_size`, no overlap.
        tissue_fraction: least share of a tile that is tissue, 0 to 1; 0 takes every tile of the slide, glass included.
        whole_only: leave out tiles that reach over the border of the slide; else they are filled up with white.
        min_area: of a piece of tissue, square millimetres.

    Returns:
        The grid, the tissue that was found, and the overview uint8 (H, W, 3).

    Raises:
        InputError: a size or share out of range, or the slide has no such resolution.
    """
    step = tile_size if stride is None else stride
    for name, value in (("tile_size", tile_size), ("stride", step)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}, expected a whole number of pixels from 1 on.")
    if not isinstance(tissue_fraction, int | float) or not 0 <= tissue_fraction <= 1:
        raise InputError(f"tissue_fraction is {tissue_fraction!r}, expected a share from 0 to 1.")
    side = slide.footprint(mpp, tile_size)
    distance = step * side / tile_size
    overview = slide.overview(OVERVIEW)
    tissue = find_tissue(overview, (slide.height, slide.width), slide.mpp or mpp, min_area)
    shape = tuple(_count(length, side, distance, whole_only) for length in (slide.height, slide.width))
    rows, columns = (axis.ravel() for axis in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    fraction = tissue.fraction(rows * distance, columns * distance, side)
    # Rounded to the mask's pixels a tile may miss its share by a hair.
    kept = np.flatnonzero(fraction >= tissue_fraction - 1e-9)
    order = np.lexsort((columns[kept], rows[kept], columns[kept] // _NEIGHBOURS, rows[kept] // _NEIGHBOURS))
    kept = kept[order]
    places = np.stack([rows[kept], columns[kept]], axis=1).astype(np.int32)
    grid = Grid(mpp, tile_size, side, distance, (shape[0], shape[1]), places, fraction[kept].astype(np.float32))
    return grid, tissue, overview


def _count(length: int, side: float, distance: float, whole_only: bool) -> int:
    """Tiles along one axis."""
    rest = (length - side) / distance
    if whole_only:
        return int(np.floor(rest + 1e-9)) + 1 if rest >= -1e-9 else 0
    return max(int(np.ceil(rest - 1e-9)) + 1, 1)
