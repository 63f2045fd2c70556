"""Synthetic whole slides: a tiled TIFF pyramid with planted tumour foci, and their outlines as GeoJSON beside it."""

from pathlib import Path

import numpy as np
import tifffile
from bundle_runtime.slides.geojson import polygon_feature, write_features
from custom_components.errors import InputError
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates
from tqdm import tqdm

from .shapes import blend, need, noise, to_bytes
from .tissue import KINDS, MICRONS_PER_PIXEL, Stain, paint_tissue

TILE = 256
STEPS = (1, 4, 16)  # downsamples of the levels
_PIECE = 384  # side of a painted piece; larger than a tile, so that each use shows another part


def make_slides(folder: str | Path, slides: int = 2, seed: int = 0, size: int = 2048) -> list[Path]:
    """Draw slides with the levels 1, 4 and 16, 0.8 micrometres a pixel, JPEG tiles of 256, and their annotations.

    Most of a slide is glass, normal glands, stroma and lymphocytes; up to five foci of tumour are outlined in
    `<slide>.geojson` (none on every fourth slide). A slide is drawn from a stock of painted pieces.

    Args:
        folder: gets `synthetic_000.tif`, `synthetic_000.geojson` and so on; the slides are returned.
        slides: how many, each of another patient.
        seed: decides everything; slides do not depend on how many follow.
        size: side in pixels, a multiple of 256.

    Raises:
        InputError: no slide, or a size that does not fit.
    """
    need(slides, 1, "slides")
    if size < 2 * TILE or size % TILE:
        raise InputError(f"size is {size}, expected a multiple of {TILE} pixels from {2 * TILE} on.")
    files = []
    for number in range(slides):
        path = Path(folder) / f"synthetic_{number:03d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        foci = draw_slide(path, seed, number, size, with_foci=number % 4 != 3)
        features = [polygon_feature([outline], "tumour", (200, 30, 60), {}) for outline in foci]
        write_features(path.with_suffix(".geojson"), features)
        files.append(path)
    return files


def draw_slide(path: Path, seed: int, number: int, size: int, with_foci: bool = True) -> list[np.ndarray]:
    """Draw one slide and return the outlines of its foci, (n, 2) x and y each, in pixels of level 0."""
    rng = np.random.default_rng([seed, number])
    stain = Stain.draw(rng)
    tissue, kinds, foci = _plan(rng, size, with_foci)
    pieces = range(min(1 + size // 1024, 3))  # of each kind; a small slide needs fewer
    stock = {kind: [paint_tissue(rng, _PIECE, _PIECE, kind, stain)[0] for _ in pieces] for kind in KINDS}
    pixels = np.empty((size, size, 3), np.uint8)
    for top in tqdm(range(0, size, TILE), desc=f"draw {path.name}", unit="row"):
        for left in range(0, size, TILE):
            places = np.mgrid[top : top + TILE, left : left + TILE] / (size - 1) * (len(tissue) - 1)
            solid, kind = (map_coordinates(field, places, order=1) for field in (tissue, kinds))
            tile = stain.white + rng.normal(0, stain.noise, (TILE, TILE, 3))
            if solid.max() > 0:
                ground = _ground(rng, stock, kind, [outline - (left, top) for outline in foci])
                blend(tile, (25 * solid).clip(0, 1), ground)
            pixels[top : top + TILE, left : left + TILE] = to_bytes(tile)
    partial = path.with_name(f".{path.name}")
    with tifffile.TiffWriter(partial) as writer:
        for step in STEPS:
            level, per_cm = np.asarray(Image.fromarray(pixels).reduce(step)), 10000 / (MICRONS_PER_PIXEL * step)
            writer.write(
                level, tile=(TILE, TILE), photometric="rgb", compression="jpeg", compressionargs={"level": 90},
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", metadata=None, subfiletype=int(step > 1),
                description="synthetic slide, drawn by a program" if step == 1 else None,
            )  # fmt: skip
    partial.replace(path)
    return foci


def _plan(rng: np.random.Generator, size: int, with_foci: bool) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Where tissue is (above 0) and which of the harmless kinds, as coarse fields, and the outlines of the foci."""
    y, x = np.mgrid[:64, :64] / 63 * 2 - 1  # the whole slide, -1 to 1
    tissue = 0.72 - np.hypot(y, x * rng.uniform(0.85, 1.1)) + 0.16 * noise(rng, (64, 64), 12)
    tissue = np.minimum(tissue, 1.5 * (0.93 - np.maximum(abs(y), abs(x))))  # glass all around
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    foci: list[np.ndarray] = []
    for _ in range(400 if with_foci else 0):
        wave = np.sum([rng.normal(0, 0.14 / n) * np.cos(n * turns + rng.uniform(0, 6.3)) for n in (2, 3, 4, 5)], axis=0)
        radius = size * rng.uniform(0.045, 0.085) * (1 + wave)
        outline = rng.uniform(0.2, 0.8, 2) * size + radius[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
        near = any(np.hypot(*(outline.mean(axis=0) - other.mean(axis=0))) < 0.26 * size for other in foci)
        places = (outline / size * 63).round().astype(int)
        if not near and tissue[places[:, 1], places[:, 0]].min() > 0.1:
            foci.append(outline)
    return tissue, noise(rng, (64, 64), 8), foci[: int(rng.integers(1, 6))]


def _ground(
    rng: np.random.Generator, stock: dict[str, list[np.ndarray]], kinds: np.ndarray, foci: list[np.ndarray]
) -> np.ndarray:
    """A tile full of tissue, float (TILE, TILE, 3), of turned parts of painted pieces; `foci` count from its corner."""

    def piece(kind: str) -> np.ndarray:
        row, column = rng.integers(_PIECE - TILE + 1, size=2)
        part = stock[kind][int(rng.integers(len(stock[kind])))][row : row + TILE, column : column + TILE]
        return np.rot90(part, int(rng.integers(4))).astype(float)

    image = Image.new("L", (TILE, TILE))
    for outline in foci:
        ImageDraw.Draw(image).polygon([tuple(point) for point in outline], fill=255)
    focus = gaussian_filter(np.asarray(image, float) / 255, 2)
    ground = piece("normal")
    for kind, share in (("stroma", 8 * (-0.35 - kinds)), ("lymphocytes", 8 * (kinds - 1.2)), ("tumour", focus)):
        if share.max() > 0:
            blend(ground, share.clip(0, 1), piece(kind))
    return ground
