"""The result of a slide as small pictures: a value for every place of the grid, and what was found in it."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from monai.transforms.post.array import ProbNMS
from scipy.ndimage import find_objects
from skimage.measure import label

from .geojson import pieces, rings_of
from .grid import Grid

NOT_LOOKED_AT = 255  # in a map of classes


@dataclass(frozen=True)
class Point:
    """A detected point.

    Attributes:
        row: of level 0, pixels.
        column: likewise.
        probability: of the target classes together.
        target: number of the likeliest target class.
        region: number of the region that it lies in, from 1; 0 below the threshold.
    """

    row: float
    column: float
    probability: float
    target: int
    region: int


@dataclass(frozen=True)
class Region:
    """Connected cells above the threshold.

    Attributes:
        number: from 1.
        rings: (n, 2) x and y at level 0, the outline and then the holes, open.
        area: square micrometres.
        mean: mean probability.
        highest: highest probability.
        target: number of the target class with the highest mean probability.
    """

    number: int
    rings: list[np.ndarray]
    area: float
    mean: float
    highest: float
    target: int


class HeatMap:
    """Probabilities of the target classes, and the likeliest class, on the grid of a slide.

    A cell of the map is as large as the stride and centred on its tile: tiles may overlap, cells do not.

    Args:
        grid: of the slide.
        targets: how many target classes there are.
        mpp: micrometres a pixel at level 0.

    Attributes:
        values: float32 (T, H, W), NaN where nothing was looked at.
        classes: uint8 (H, W), `NOT_LOOKED_AT` likewise.
    """

    def __init__(self, grid: Grid, targets: int, mpp: float) -> None:
        self.grid, self.mpp = grid, mpp
        self.values = np.full((targets, *grid.shape), np.nan, np.float32)
        self.classes = np.full(grid.shape, NOT_LOOKED_AT, np.uint8)

    def put(self, tiles: np.ndarray, values: np.ndarray, classes: np.ndarray) -> None:
        """Enter results.

        Args:
            tiles: (B,) numbers in the grid.
            values: (B, T) probabilities of the targets.
            classes: (B,) likeliest class.
        """
        rows, columns = self.grid.places[tiles].T
        self.values[:, rows, columns] = values.T
        self.classes[rows, columns] = classes

    def total(self, exclusive: bool) -> np.ndarray:
        """(H, W) probability that there is any target: the sum of exclusive classes, else the highest; NaN stays."""
        return self.values.sum(axis=0).clip(max=1) if exclusive else self.values.max(axis=0)

    def points(self, total: np.ndarray, threshold: float, distance: float, regions: np.ndarray) -> list[Point]:
        """Maxima above `threshold`, from the highest down, none within `distance` micrometres of a higher one.

        Non-maximum suppression is MONAI's `ProbNMS` (the Camelyon16 baseline): a square of that half side is cleared.

        Args:
            total: from `total`.
            threshold: maxima above it count.
            distance: micrometres.
            regions: (H, W) numbers of the regions, from `regions`.
        """
        reach = round(distance / (self.grid.stride * self.mpp))
        # ProbNMS clears the half before a maximum and one less behind it: an odd box is symmetric.
        suppress = ProbNMS(spatial_dims=2, sigma=0.0, prob_threshold=threshold, box_size=2 * reach + 1)
        found = []
        for probability, row, column in suppress(np.nan_to_num(total, copy=True, nan=0.0)):
            centre = self.grid.side / 2 + np.array([row, column]) * self.grid.stride
            best = int(self.values[:, row, column].argmax())
            found.append(Point(float(centre[0]), float(centre[1]), float(probability), best, int(regions[row, column])))
        return found

    def regions(self, total: np.ndarray, threshold: float, min_area: float) -> tuple[list[Region], np.ndarray]:
        """Cells above `threshold` that touch at their sides.

        Args:
            total: from `total`.
            threshold: cells above it count.
            min_area: smaller regions are dropped, square micrometres.

        Returns:
            The regions, and (H, W) the number of the region of each cell, 0 for none.
        """
        with np.errstate(invalid="ignore"):
            marked = label(total > threshold, connectivity=1)
        cell = (self.grid.stride * self.mpp) ** 2
        found: list[Region] = []
        numbers = np.zeros_like(marked)
        for number, box in enumerate(find_objects(marked), start=1):
            inside = marked[box] == number
            if inside.sum() * cell < min_area:
                continue
            new = len(found) + 1
            numbers[box][inside] = new
            corner = (box[0].start, box[1].start)
            rings = [self.to_level_0(ring + corner) for ring in outlines(inside)]
            best = int(self.values[:, *box][:, inside].mean(axis=1).argmax())
            area, seen = float(inside.sum() * cell), total[box][inside]
            found.append(Region(new, rings, area, float(seen.mean()), float(seen.max()), best))
        return found, numbers

    def to_level_0(self, ring: np.ndarray) -> np.ndarray:
        """Corners of cells, (n, 2) row and column, as x and y at level 0."""
        margin = (self.grid.side - self.grid.stride) / 2
        return (ring * self.grid.stride + margin)[:, ::-1]

    def tiff(self, values: np.ndarray, about: dict[str, Any]) -> bytes:
        """A map (H, W) as a TIFF that says in its description where its cells lie on the slide."""
        offset = (self.grid.side - self.grid.stride) / 2
        place = {
            "cell_in_level_0_pixels": self.grid.stride,
            "top_left_in_level_0_pixels": [offset, offset],
            "level_0_micrometres_per_pixel": self.mpp,
        }
        per_cm = 10000 / (self.grid.stride * self.mpp)
        stream = io.BytesIO()
        tifffile.imwrite(
            stream, values, compression="zlib", description=json.dumps({**about, **place}), metadata=None,
            resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
        )  # fmt: skip
        return stream.getvalue()


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The border of one piece of cells that touch at their sides, along the edges of the cells.

    Args:
        mask: bool (H, W).

    Returns:
        (n, 2) row and column of corners, open, without points on straight lines: the outline, then the holes, which
        together are a valid polygon.
    """
    (piece,) = pieces(mask)
    return [ring[:-1, ::-1] for ring in rings_of(piece)]
