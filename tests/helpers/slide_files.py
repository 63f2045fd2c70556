"""Small slides written for tests."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

PINK = (200, 120, 170)  # stained tissue
GLASS = (243, 241, 244)


def picture(height: int = 512, width: int = 640) -> np.ndarray:
    """Smooth colours in which every place differs from the next: uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // width, y * 255 // height, (x // 4 + y // 8) % 256]
    return np.stack(channels, -1).astype(np.uint8)


def with_tissue(size: int = 512, boxes: Sequence[tuple[int, int, int, int]] = ((128, 128, 256, 256),)) -> np.ndarray:
    """Glass with pink, slightly noisy squares (top, left, height, width)."""
    rng = np.random.default_rng(0)
    pixels = np.full((size, size, 3), GLASS, np.int16)
    for top, left, height, width in boxes:
        pixels[top : top + height, left : left + width] = PINK
    return (pixels + rng.integers(-3, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


def pyramid(
    path: Path,
    pixels: np.ndarray,
    steps: Sequence[int] = (1, 4),
    mpp: float | None = 0.5,
    tile: int | None = 64,
    **options: Any,
) -> Path:
    """Write pixels as a TIFF with levels; without `tile` in strips, without `mpp` without a resolution."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"photometric": "rgb", "compression": "zlib", "metadata": None, **options}
    with tifffile.TiffWriter(path) as writer:
        for step in steps:
            level = pixels[::step, ::step]
            place = {} if tile is None else {"tile": (tile, tile)}
            if mpp is not None:
                per_cm = 1e4 / (mpp * step)
                place |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            writer.write(level, subfiletype=0 if step == 1 else 1, **place, **settings)
    return path


def large(path: Path, side: int = 8192, tile: int = 256, mpp: float = 0.5) -> Path:
    """A slide of one level that would fill 200 MB, written a JPEG tile at a time."""

    def tiles() -> Iterator[np.ndarray]:
        stained = np.full((tile, tile, 3), PINK, np.uint8)
        for number in range((side // tile) ** 2):
            stained[:8, :8] = number % 200
            yield stained

    with tifffile.TiffWriter(path) as writer:
        writer.write(
            tiles(), shape=(side, side, 3), dtype=np.uint8, tile=(tile, tile), photometric="rgb", compression="jpeg",
            metadata=None, resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER",
        )  # fmt: skip
    return path


def damage(path: Path, level: int, number: int, length: int = 40) -> None:
    """Overwrite the beginning of one tile of a level."""
    with tifffile.TiffFile(path) as file:
        offset = file.pages[level].dataoffsets[number]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * length)
