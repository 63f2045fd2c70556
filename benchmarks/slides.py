"""Tiles read from a whole slide: ours (OpenSlide) against MONAI's readers, and what a ViT-S/16 makes of them.

The slide is written for the purpose (JPEG tiles of 256, one level) with the stained noise that JPEG finds hard. MONAI's
`TiffFileWSIReader` decodes the whole level for every region, so it reads fewer tiles; times are a tile.

    python benchmarks/slides.py --threads 1
    python benchmarks/slides.py --device cuda --side 32768 --tiles 2000
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from common import (
    MEMORY_NOTE,
    RATIO_NOTE,
    finish,
    interleave,
    megabytes,
    memory_alone,
    parser,
    peak_memory,
    prepare,
    ratio,
    spread,
    table,
)
from monai.data.wsi_reader import WSIReader

from bundle_runtime.slides.slide import Slide
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.vit import ViT

TILE = 224
PROGRAMS = ("ours", "monai tifffile", "monai openslide")


def write_slide(path: Path, side: int) -> None:
    """A slide that looks stained, a tile of the file at a time."""
    rng = np.random.default_rng(0)
    stock = [(np.array([190, 120, 170]) + 40 * rng.standard_normal((256, 256, 1))).clip(0, 255) for _ in range(4)]

    def tiles() -> Iterator[np.ndarray]:
        for number in range((side // 256) ** 2):
            yield stock[number % 4].astype(np.uint8)

    with tifffile.TiffWriter(path) as writer:
        writer.write(
            tiles(), shape=(side, side, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb", compression="jpeg",
            metadata=None, resolution=(20000, 20000), resolutionunit="CENTIMETER",
        )  # fmt: skip


class Job:
    """One program reads `count` neighbouring tiles, row by row."""

    def __init__(self, program: str, path: Path, count: int) -> None:
        self.program, self.path = program, path
        self.reader = None if program == "ours" else WSIReader(program.split()[1], level=0)
        with tifffile.TiffFile(path) as file:
            across = file.pages.first.imagewidth // TILE
        self.places = [(number // across * TILE, number % across * TILE) for number in range(count)]

    def __call__(self) -> np.ndarray:
        last = np.zeros(0)
        if self.reader is None:
            with Slide(self.path) as slide:
                for row, column in self.places:
                    last = slide.read_at(0.5, row, column, TILE)
            return last
        wsi = self.reader.read(self.path)
        for place in self.places:
            last = self.reader.get_data(wsi, location=place, size=(TILE, TILE))[0]
        wsi.close()
        return np.moveaxis(last, 0, -1)


def network_rate(args: argparse.Namespace, device: torch.device) -> float:
    """Tiles/s of a ViT-S/16 alone."""
    width, heads, layers = (32, 2, 2) if args.quick else (384, 6, 12)
    encoder = ViT(3, TILE, 16, width, 4 * width, layers, heads, spatial_dims=2, class_token=False)
    network = ViTClassifier(encoder, 9, pool="mean")
    network = network.to(device).eval()
    batch = torch.rand(args.batch, 3, TILE, TILE, device=device)

    @torch.no_grad()
    def run() -> torch.Tensor:
        return network(batch)

    return args.batch / statistics.median(interleave({"network": run}, args.repeats, device)["network"])


def measure(path: Path, args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    counts = {name: args.few if name == "monai tifffile" else args.tiles for name in PROGRAMS}
    jobs = {name: Job(name, path, counts[name]) for name in PROGRAMS}
    difference = np.abs(Job("ours", path, args.few)().astype(int) - jobs["monai tifffile"]()).max()
    times = interleave(jobs, args.repeats, device)
    each = {name: [value / counts[name] for value in times[name]] for name in PROGRAMS}
    options = ["--side", str(args.side), "--slide", str(path), "--tiles", str(args.tiles), "--few", str(args.few)]
    rate = network_rate(args, device)
    return [
        {
            "program": name,
            "tiles_per_second": 1 / statistics.median(each[name]),
            "time_ratio": ratio(each[name], each["ours"]),
            "peak_memory_bytes": memory_alone(__file__, name, *options),
            "largest_difference": int(difference),
            "network_tiles_per_second": rate,
        }
        for name in PROGRAMS
    ]


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--side", type=int, help="pixels of the slide (8192)")
    options.add_argument("--tiles", type=int, help="tiles a call (400)")
    options.add_argument("--few", type=int, help="tiles a call of MONAI's tifffile reader (2)")
    options.add_argument("--batch", type=int, help="tiles at a time in the network (16)")
    options.add_argument("--slide", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.side = args.side or (1024 if args.quick else 8192)
    args.tiles = args.tiles or (16 if args.quick else 400)
    args.few = args.few or 2
    args.batch = args.batch or (4 if args.quick else 16)
    device = prepare(args)
    if args.memory_of:
        job = Job(args.memory_of, args.slide, args.few if args.memory_of == "monai tifffile" else args.tiles)
        print(peak_memory(job, torch.device("cpu")))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, args.side)
        rows = measure(path, args, device)
    lines = [
        [
            row["program"],
            f"{row['tiles_per_second']:.1f}",
            spread(row["time_ratio"]),
            megabytes(row["peak_memory_bytes"]),
        ]
        for row in rows
    ]
    args.slide = None
    notes = [
        f"slide of {args.side} x {args.side} pixels, tiles of {TILE}, one process; {RATIO_NOTE}",
        f"a ViT-S/16 alone, batches of {args.batch}, float32: {rows[0]['network_tiles_per_second']:.1f} tiles/s",
        f"largest difference of a pixel between ours and MONAI's tifffile reader: {rows[0]['largest_difference']}",
        MEMORY_NOTE["cpu"],
    ]
    finish("slides", args, rows, table(["reader", "tiles/s", "time / ours", "peak memory"], lines), notes)


if __name__ == "__main__":
    main()
