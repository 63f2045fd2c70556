"""Synthetic whole slides: a tiled TIFF pyramid with planted tumour foci, and their outlines as GeoJSON beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from tqdm import tqdm

from bundle_runtime.slides.geojson import polygon_feature, write_features
from custom_components.errors import InputError

from .stain import Stain
from .tissue import MICRONS_PER_PIXEL, paint_tissue

TILE = 256
STEPS = (4, 16)  # downsamples of the coarser levels
_PIECE = 384  # side of a painted piece; larger than a tile, so that each use shows another part
_PIECES = 5  # of each kind at most; a small slide needs fewer
_RED = (200, 30, 60)
_INKS = ((40, 70, 165), (30, 120, 60))
_CORNERS = 48  # of the outline of a focus


@dataclass(frozen=True)
class _Plan:
    """Where things are on a slide; all coordinates are pixels of level 0.

    Attributes:
        size: side.
        tissue: float32 field on a coarse grid; above 0 is tissue.
        kinds: likewise; says which of the harmless kinds there is.
        foci: (n, 2) outlines, x and y.
        bubbles: x, y, radius.
        pen: colour, then (n, 2) points of the stroke; None without.
        stain: of the slide.
    """

    size: int
    tissue: np.ndarray
    kinds: np.ndarray
    foci: list[np.ndarray]
    bubbles: np.ndarray
    pen: tuple[tuple[int, int, int], np.ndarray] | None
    stain: Stain


def make_slides(folder: str | Path, slides: int = 2, seed: int = 0, size: int = 4096) -> list[Path]:
    """Draw slides with the levels 1, 4 and 16, 0.8 micrometres a pixel, JPEG tiles of 256, and their annotations.

    Most of a slide is glass, normal glands, stroma and lymphocytes; one to five foci of tumour are outlined in
    `<slide>.geojson` (none on every fourth slide). Pen marks and air bubbles are there to be ignored. A slide is drawn
    a tile at a time, from a stock of painted pieces that are turned and mirrored.

    Args:
        folder: made if it does not exist; gets `synthetic_000.tif`, `synthetic_000.geojson` and so on.
        slides: how many, each of another patient.
        seed: decides everything; slides do not depend on how many follow.
        size: side in pixels, a multiple of 256.

    Returns:
        The slides' files.

    Raises:
        InputError: no slide, or a size that does not fit.
    """
    if slides < 1:
        raise InputError(f"slides is {slides}, expected at least 1.")
    if size < 2 * TILE or size % TILE:
        raise InputError(f"size is {size}, expected a multiple of {TILE} pixels from {2 * TILE} on.")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(slides):
        path = root / f"synthetic_{number:03d}.tif"
        foci = draw_slide(path, seed, number, size, with_foci=number % 4 != 3)
        features = [polygon_feature([outline], "tumour", _RED, {}) for outline in foci]
        write_features(path.with_suffix(".geojson"), features)
        files.append(path)
    return files


def draw_slide(path: Path, seed: int, number: int, size: int, with_foci: bool = True) -> list[np.ndarray]:
    """Draw one slide and return the outlines of its foci, (n, 2) x and y each."""
    rng = np.random.default_rng([seed, number])
    plan = _plan(rng, size, with_foci)
    stock = {
        kind: [paint_tissue(rng, _PIECE, _PIECE, kind, plan.stain)[0] for _ in range(min(1 + size // 1024, _PIECES))]
        for kind in ("normal", "stroma", "lymphocytes", "tumour")
    }
    small = [np.empty((size // step, size // step, 3), np.uint8) for step in STEPS]
    partial = path.with_name(f".{path.name}")
    with tifffile.TiffWriter(partial) as writer:
        _write_level(writer, _tiles(rng, plan, stock, small, path.name), size, 1)
        for step, level in zip(STEPS, small, strict=True):
            _write_level(writer, _cut(level), size // step, step)
    partial.replace(path)
    return plan.foci


def _write_level(writer: tifffile.TiffWriter, tiles: Iterator[np.ndarray], side: int, step: int) -> None:
    per_cm = 10000 / (MICRONS_PER_PIXEL * step)
    writer.write(
        tiles, shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb", compression="jpeg",
        compressionargs={"level": 90}, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", metadata=None,
        subfiletype=0 if step == 1 else 1, description="synthetic slide, drawn by a program" if step == 1 else None,
    )  # fmt: skip


def _cut(level: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, len(level), TILE):
        for left in range(0, level.shape[1], TILE):
            tile = np.full((TILE, TILE, 3), 255, np.uint8)
            part = level[top : top + TILE, left : left + TILE]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def _plan(rng: np.random.Generator, size: int, with_foci: bool) -> _Plan:
    y, x = np.mgrid[:64, :64] / 63 * 2 - 1  # the whole slide, -1 to 1
    wobble = gaussian_filter(rng.standard_normal((64, 64)), 6)
    middle = rng.uniform(-0.1, 0.1, 2)
    tissue = 0.68 - np.hypot(y - middle[0], (x - middle[1]) * rng.uniform(0.85, 1.1)) + 0.22 * wobble / wobble.std()
    kinds = gaussian_filter(rng.standard_normal((64, 64)), 4)
    tissue = np.minimum(tissue, 1.5 * (0.93 - np.maximum(abs(y), abs(x))))  # glass all around
    foci: list[np.ndarray] = []
    for _ in range(400):
        if not with_foci or len(foci) == 5:
            break
        centre, radius = rng.uniform(0.2, 0.8, 2) * size, size * rng.uniform(0.045, 0.085)
        outline = _outline(rng, centre, radius)
        near = any(np.hypot(*(outline.mean(axis=0) - other.mean(axis=0))) < 0.26 * size for other in foci)
        if not near and _sample(tissue, outline[:, 1], outline[:, 0], size).min() > 0.08:
            foci.append(outline)
    count = int(rng.integers(1, 6))
    bubbles = np.column_stack([rng.uniform(0.03, 0.97, (3, 2)) * size, rng.uniform(0.012, 0.03, 3) * size])
    start, turn = rng.uniform(0.1, 0.9) * size, rng.uniform(0.2, 0.5)
    along = np.linspace(0, 0.35, 12) * size
    stroke = np.column_stack([0.02 * size + 0.03 * size * np.sin(along / size * 20), (start + along * turn) % size])
    pen = (_INKS[int(rng.integers(2))], stroke) if rng.random() < 0.7 else None
    return _Plan(size, tissue, (kinds - kinds.mean()) / kinds.std(), foci[:count], bubbles, pen, Stain.draw(rng))


def _outline(rng: np.random.Generator, centre: np.ndarray, radius: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    wave = np.zeros(_CORNERS)
    for order in (2, 3, 4, 5):
        wave += rng.normal(0, 0.14 / order) * np.cos(order * turn + rng.uniform(0, 2 * np.pi))
    return centre + (radius * (1 + wave))[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])


def _sample(field: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray:
    places = np.stack([rows, columns]) / (size - 1) * (len(field) - 1)
    return map_coordinates(field, places, order=1, mode="nearest")


def _tiles(
    rng: np.random.Generator, plan: _Plan, stock: dict[str, list[np.ndarray]], small: list[np.ndarray], name: str
) -> Iterator[np.ndarray]:
    """The tiles of level 0 in the order of the file; fills the coarser levels on the way."""
    starts = range(0, plan.size, TILE)
    for top in tqdm(starts, desc=f"draw {name}", unit="row"):
        for left in starts:
            tile = _tile(rng, plan, stock, top, left)
            for step, level in zip(STEPS, small, strict=True):
                side = TILE // step
                mean = tile.reshape(side, step, side, step, 3).mean(axis=(1, 3))
                level[top // step : top // step + side, left // step : left // step + side] = np.rint(mean)
            yield tile


def _tile(rng: np.random.Generator, plan: _Plan, stock: dict[str, list[np.ndarray]], top: int, left: int) -> np.ndarray:
    coarse = np.linspace(0, TILE - 1, 17)
    rows, columns = np.meshgrid(top + coarse, left + coarse, indexing="ij")
    field, kinds = (
        zoom(_sample(values, rows.ravel(), columns.ravel(), plan.size).reshape(rows.shape), TILE / 17, order=1)
        for values in (plan.tissue, plan.kinds)
    )
    glass = np.array(plan.stain.white) + rng.normal(0, plan.stain.noise, (TILE, TILE, 3))
    solid = np.clip(field * 25, 0, 1)[..., None]
    tile = glass
    if solid.any():
        ground = _piece(rng, stock["normal"])
        for kind, share in (("stroma", -0.35 - kinds), ("lymphocytes", kinds - 1.2)):
            if share.max() > 0:
                ground = _blend(ground, _piece(rng, stock[kind]), np.clip(share * 8, 0, 1)[..., None])
        inside = _inside(plan.foci, top, left)
        if inside.any():
            ground = _blend(ground, _piece(rng, stock["tumour"]), inside[..., None])
        tile = _blend(glass, ground, solid)
    _dirt(tile, plan, top, left)
    return np.rint(tile.clip(0, 255)).astype(np.uint8)


def _blend(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    return below + share * (above - below)


def _piece(rng: np.random.Generator, pieces: list[np.ndarray]) -> np.ndarray:
    """A part of a painted piece, turned and mirrored: float (TILE, TILE, 3)."""
    piece = pieces[int(rng.integers(len(pieces)))]
    row, column = rng.integers(_PIECE - TILE + 1, size=2)
    part = np.rot90(piece[row : row + TILE, column : column + TILE], int(rng.integers(4)))
    return (part[:, ::-1] if rng.random() < 0.5 else part).astype(np.float32)


def _inside(foci: list[np.ndarray], top: int, left: int) -> np.ndarray:
    """How far each pixel of a tile belongs to a focus, 0 to 1."""
    image = Image.new("L", (TILE, TILE))
    draw = ImageDraw.Draw(image)
    for outline in foci:
        if (outline.max(axis=0) >= (left, top)).all() and (outline.min(axis=0) <= (left + TILE, top + TILE)).all():
            draw.polygon([tuple(point) for point in outline - (left, top)], fill=255)
    return gaussian_filter(np.asarray(image, np.float32) / 255, 2)


def _dirt(tile: np.ndarray, plan: _Plan, top: int, left: int) -> None:
    """Air bubbles, and a stroke of a pen, over what is there."""
    y, x = np.mgrid[top : top + TILE, left : left + TILE].astype(np.float32)
    for column, row, radius in plan.bubbles:
        if abs(column - left - TILE / 2) < radius + TILE and abs(row - top - TILE / 2) < radius + TILE:
            rim = np.exp(-(((np.hypot(y - row, x - column) - radius) / (0.08 * radius)) ** 2))
            tile *= 1 - 0.45 * rim[..., None]
    if plan.pen is not None:
        colour, stroke = plan.pen
        image = Image.new("L", (TILE, TILE))
        ImageDraw.Draw(image).line([tuple(point) for point in stroke - (left, top)], fill=255, width=plan.size // 90)
        ink = 0.85 * np.asarray(image, np.float32)[..., None] / 255
        tile += ink * (np.array(colour) - tile)
