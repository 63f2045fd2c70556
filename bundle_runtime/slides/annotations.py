"""What pathologists marked on a slide: polygons and points (GeoJSON) or a mask (TIFF), as class maps and as lesions."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from custom_components.errors import InputError
from monai.apps.pathology.utils import compute_isolated_tumor_cells, compute_multi_instance_mask
from PIL import Image, ImageDraw
from skimage.draw import disk

from .geojson import UNCLASSIFIED, Shape, read_shapes
from .slide import Slide

REST = "background"  # what is not annotated
MARKED = "annotated"  # a mask without names
_MASK_SUFFIXES = ("_mask.tif", "_mask.tiff")
_MASK_BYTES = 512 << 20
_LONGEST = 8192  # pixels of a class map


class Lesions(NamedTuple):
    """The lesions of a slide for scoring.

    Attributes:
        labels: int (H, W), 0 or the number of the lesion.
        scale: pixels of level 0 a pixel, down and across.
        excluded: numbers of lesions that neither count nor make a detection wrong: isolated tumour cells.
    """

    labels: np.ndarray
    scale: tuple[float, float]
    excluded: list[int]


class Annotation:
    """The annotation of one slide.

    Args:
        path: a GeoJSON file, or a one-channel TIFF of the slide's proportions whose values are class indices.
        slide: the open slide; used for its size and resolution.

    Raises:
        InputError: unreadable, of another shape than the slide, or with a feature outside it.
    """

    def __init__(self, path: str | Path, slide: Slide) -> None:
        self.path = Path(path)
        self.size = (slide.height, slide.width)
        self.mpp = slide.mpp
        self.shapes: list[Shape] | None = None
        if self.path.suffix.lower() in (".json", ".geojson"):
            self.shapes = read_shapes(self.path)
            self._refuse_outside(slide)
        else:
            _refuse_other_shape(self.path, slide)

    def names(self) -> list[str]:
        """The classes that a GeoJSON file names, sorted; a mask has none."""
        return sorted({shape.name for shape in self.shapes or []})

    def scale(self, mpp: float) -> float:
        """Level-0 pixels along a pixel of a map of about `mpp` micrometres a pixel; coarser where it were too large."""
        wanted = mpp / self.mpp if self.mpp else 1.0
        return max(wanted, max(self.size) / _LONGEST, 1.0)

    def class_map(self, class_names: Sequence[str], scale: float) -> np.ndarray:
        """Class index of every pixel of a small map; of shapes that overlap the later one counts.

        Args:
            class_names: index 0 is what is not annotated.
            scale: pixels of level 0 a pixel of the map.

        Returns:
            uint8 (H, W).

        Raises:
            InputError: the annotation has a class that is not named.
        """
        shape = self._shape(scale)
        if self.shapes is None:
            values = _read_mask(self.path, shape)
            if values.max(initial=0) >= len(class_names):
                raise InputError(
                    f"{self.path}: holds the value {values.max()} and there are the classes {list(class_names)} "
                    f"(0 to {len(class_names) - 1}); name one class for each value."
                )
            return values.astype(np.uint8)
        unknown = [name for name in self.names() if name not in class_names]
        if unknown:
            raise InputError(
                f"{self.path}: has the class {unknown[0]!r}, which is not among class_names {list(class_names)}; "
                "add it, or classify the annotation in QuPath."
            )
        result = np.zeros(shape, np.uint8)
        for marked in self.shapes:
            if not marked.is_point:
                _fill(result, marked, scale, class_names.index(marked.name))
        return result

    def lesions(
        self, targets: Sequence[str], mpp: float = 8.0, grow: float = 75.0, itc: float = 200.0, reach: float = 75.0
    ) -> Lesions:
        """The lesions as the Camelyon16 challenge defines them.

        Regions grow by half of `grow`, and those that then touch are one lesion; one whose longest axis stays below
        `itc` + `grow` is isolated tumour cells. A point is a lesion of its own, hit within `reach`.

        Args:
            targets: the classes that count; for a mask without names every value above 0 does. Unclassified shapes
                count if nothing in the file has a class.
            mpp: micrometres a pixel of the map.
            grow: micrometres.
            itc: micrometres; 0 lets every lesion count.
            reach: micrometres.

        Source:
            Ehteshami Bejnordi et al., JAMA 318:2199, 2017, and the challenge's evaluation, through MONAI.
        """
        scale = self.scale(mpp)
        size = scale * (self.mpp or 1.0)  # micrometres a pixel of the map
        shape = self._shape(scale)
        region = np.zeros(shape, bool)
        points: list[Shape] = []
        if self.shapes is None:
            region = _read_mask(self.path, shape) > 0
        else:
            wanted = set(targets) | ({UNCLASSIFIED} if self.names() == [UNCLASSIFIED] else set())
            chosen = [marked for marked in self.shapes if marked.name in wanted]
            points = [marked for marked in chosen if marked.is_point]
            for marked in chosen:
                if not marked.is_point:
                    _fill(region, marked, scale, True)
        labels, excluded = np.zeros(shape, np.int32), []
        if region.any():  # the distance to the nearest lesion has no meaning without one
            labels = compute_multi_instance_mask(region.astype(np.uint8), max(grow / (2 * size), 1e-3)).astype(np.int32)
            if itc > 0:
                excluded = compute_isolated_tumor_cells(labels, (itc + grow) / size)
        for number, marked in enumerate(points, start=int(labels.max()) + 1):
            x, y = marked.rings[0][0] / scale
            labels[disk((y, x), max(reach / size, 1.0), shape=shape)] = number
        exact = (self.size[0] / shape[0], self.size[1] / shape[1])
        return Lesions(labels, exact, excluded)

    def _shape(self, scale: float) -> tuple[int, int]:
        return max(round(self.size[0] / scale), 1), max(round(self.size[1] / scale), 1)

    def _refuse_outside(self, slide: Slide) -> None:
        for number, marked in enumerate(self.shapes or []):
            (left, top), (right, bottom) = marked.rings[0].min(axis=0), marked.rings[0].max(axis=0)
            if right < 0 or bottom < 0 or left > slide.width or top > slide.height:
                raise InputError(
                    f"{self.path}: annotation {number + 1} ({marked.name}) spans x {left:.0f} to {right:.0f} and y "
                    f"{top:.0f} to {bottom:.0f}, outside the slide of {slide.width} x {slide.height} pixels "
                    f"({slide.path.name}); annotations are in pixels of the finest level of the same slide."
                )


def find_annotation(place: str | Path | None, slide: str) -> Path | None:
    """The annotation file of a slide: `<slide>.geojson`, `.json`, `_mask.tif` or `_mask.tiff`; None if there is none.

    Args:
        place: a folder of annotations, a single file (whose name must begin with the slide's id), or None.
        slide: the slide's id.

    Raises:
        InputError: `place` does not exist, or there are several files for the slide.
    """
    if place is None:
        return None
    root = Path(place)
    if root.is_file():
        return root if root.name.startswith(slide) else None
    if not root.is_dir():
        raise InputError(f"annotations {place} does not exist; give a folder of annotations or a single file.")
    names = [f"{slide}{ending}" for ending in (".geojson", ".json", *_MASK_SUFFIXES)]
    found = [root / name for name in names if os.path.isfile(root / name)]  # which a name too long is not
    if len(found) > 1:
        raise InputError(f"{root}: {found[0].name} and {found[1].name} both annotate slide {slide}; keep one.")
    return found[0] if found else None


def _fill(result: np.ndarray, marked: Shape, scale: float, value: int) -> None:
    """Write `value` into (H, W) inside a polygon and outside its holes; a tiny polygon covers at least a pixel."""
    low = np.floor(marked.rings[0].min(axis=0) / scale).astype(int).clip(0)  # x, y
    high = np.ceil(marked.rings[0].max(axis=0) / scale).astype(int) + 1
    left, top, right, bottom = low[0], low[1], min(high[0], result.shape[1]), min(high[1], result.shape[0])
    if right <= left or bottom <= top:
        return  # it touches the border from outside
    image = Image.new("1", (int(right - left), int(bottom - top)))
    draw = ImageDraw.Draw(image)
    for number, ring in enumerate(marked.rings):
        # Pillow's coordinates are those of pixel centres.
        draw.polygon([tuple(point) for point in ring / scale - 0.5 - (left, top)], fill=int(number == 0))
    result[top:bottom, left:right][np.array(image)] = value


def _mask_pages(path: Path) -> tuple[tifffile.TiffFile, list[Any]]:
    try:
        file = tifffile.TiffFile(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: the mask cannot be read as a TIFF ({error}).") from error
    first = file.pages.first
    pages = [page for page in [*file.pages, *(first.pages or ())] if hasattr(page, "imagelength")]
    return file, sorted(pages, key=lambda page: -page.imagelength)


def _refuse_other_shape(path: Path, slide: Slide) -> None:
    file, pages = _mask_pages(path)
    with file:
        page = pages[0]
        if page.samplesperpixel != 1 or page.dtype is None or page.dtype.kind not in "bu":
            raise InputError(
                f"{path}: a mask has one channel of whole numbers; found {page.samplesperpixel} x {page.dtype}."
            )
        down, across = slide.height / page.imagelength, slide.width / page.imagewidth
        if abs(down / across - 1) > 0.02 + 2 / min(page.imagelength, page.imagewidth):
            raise InputError(
                f"{path}: the mask has {page.imagelength} x {page.imagewidth} pixels and slide {slide.path.name} "
                f"{slide.height} x {slide.width}: other proportions; give the mask of this slide."
            )


def _read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The mask scaled to `shape` by its nearest pixels, from its coarsest level that is fine enough."""
    file, pages = _mask_pages(path)
    with file:
        fine = [page for page in pages if page.imagelength >= shape[0] and page.imagewidth >= shape[1]] or pages[:1]
        page = fine[-1]
        if page.imagelength * page.imagewidth * page.dtype.itemsize > _MASK_BYTES:
            raise InputError(
                f"{path}: the mask is too large to be read whole; store it with coarser levels (a pyramid)."
            )
        try:
            values = page.asarray()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: the mask cannot be decoded ({error}); write it again.") from error
    rows = ((np.arange(shape[0]) + 0.5) * values.shape[0] / shape[0]).astype(int)
    columns = ((np.arange(shape[1]) + 0.5) * values.shape[1] / shape[1]).astype(int)
    return values[rows[:, None], columns]
