"""A whole slide, tile by tile: ours against MONAI's `SlidingPatchWSIDataset`, both with OpenSlide and the same network.

The slide is written for the purpose (JPEG tiles of 256, three levels) with the stained noise that JPEG finds hard, all
of it tissue. "read" only reads the tiles, "network" also asks a ViT-S/16 about each batch. Memory is measured at a
quarter of the tiles, too: it should not grow with them.

    python benchmarks/slides.py --threads 1
    python benchmarks/slides.py --side 32256 --repeats 1       # 20,736 tiles
    python benchmarks/slides.py --device cuda --side 32256 --num_workers 8 --batch 256
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import tifffile
import torch
from bundle_runtime.data.inference import CaseLoader
from bundle_runtime.slides.stream import SlideInputs, SlideTiles
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.vit import ViT
from monai.data import DataLoader
from monai.data.wsi_datasets import SlidingPatchWSIDataset
from torch import Tensor, nn

TILE = 224
PROGRAMS = ("ours", "monai")


def write_slide(path: Path, side: int) -> None:
    """A slide that looks stained, a tile of the file at a time; 0.5 micrometres a pixel, two coarser levels."""
    rng = np.random.default_rng(0)
    stock = [(np.array([190, 120, 170]) + 40 * rng.standard_normal((256, 256, 1))).clip(0, 255) for _ in range(4)]
    with tifffile.TiffWriter(path) as writer:
        for factor in (1, 4, 16):
            across = -(-side // factor // 256)
            size = {"shape": (side // factor, side // factor, 3), "dtype": np.uint8, "tile": (256, 256)}
            tiles = (stock[number % 4].astype(np.uint8) for number in range(across**2))
            writer.write(
                tiles, **size, photometric="rgb", compression="jpeg", metadata=None, subfiletype=int(factor > 1),
                resolution=(20000 / factor, 20000 / factor), resolutionunit="CENTIMETER",
            )  # fmt: skip


def batches(program: str, path: Path, args: argparse.Namespace) -> Iterator[Tensor]:
    """The first `tiles` of the slide (all, if 0) in batches, uint8 (B, 3, S, S)."""
    loader: Any
    if program == "ours":
        with tempfile.TemporaryDirectory() as folder:
            inputs = SlideInputs(str(path), folder, TILE, mpp=0.5, tissue_fraction=0.0)
        loader = CaseLoader(SlideTiles(inputs, args.batch), args.num_workers, batched=True)
    else:
        dataset = SlidingPatchWSIDataset([{"image": str(path)}], (TILE, TILE), 0, reader="openslide", dtype=np.uint8)
        loader = DataLoader(dataset, batch_size=args.batch, num_workers=args.num_workers)
    left = args.tiles or (args.side // TILE) ** 2
    for batch in loader:
        yield torch.as_tensor(batch["image"])[:left]
        left -= len(batch["image"])
        if left <= 0:
            return


def build(args: argparse.Namespace, device: torch.device) -> nn.Module:
    """A ViT-S/16 with nine classes."""
    torch.manual_seed(0)
    width, heads, layers = (32, 2, 2) if args.quick else (384, 6, 12)
    encoder = ViT(3, TILE, 16, width, 4 * width, layers, heads, spatial_dims=2, class_token=False)
    return ViTClassifier(encoder, 9, pool="mean").to(device).eval()


def passes(path: Path, args: argparse.Namespace, device: torch.device) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Work -> program -> one pass over the slide, which returns a sum that is equal for both."""
    network = build(args, device)

    @torch.no_grad()
    def classify(program: str) -> Tensor:
        total = torch.zeros(9, device=device, dtype=torch.float64)
        for images in batches(program, path, args):
            total += network(images.to(device, non_blocking=True).float() / 255).double().sum(dim=0)
        return total

    def read(program: str) -> Tensor:
        return torch.stack([images.sum() for images in batches(program, path, args)]).sum()

    return {
        work: {program: lambda call=call, program=program: call(program) for program in PROGRAMS}
        for work, call in (("read", read), ("network", classify))
    }


def measure(path: Path, args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """A row for reading and one for reading with the network."""
    tiles = sum(len(images) for images in batches("ours", path, args))
    given = ["--slide", str(path), "--side", str(args.side), "--batch", str(args.batch)]
    given += ["--threads", str(args.threads), *(["--quick"] if args.quick else [])]
    memory = {
        name: [
            common.memory_alone(__file__, name, *given, "--tiles", str(count)) for count in (max(tiles // 4, 1), tiles)
        ]
        for name in PROGRAMS
    }
    rows = []
    for work, both in passes(path, args, device).items():
        said = {name: call() for name, call in both.items()}
        times = common.interleave(both, args.repeats, device, warmup=0)
        difference = (said["ours"] - said["monai"]).abs().max() / said["monai"].abs().max()
        rows.append(
            {
                "work": work,
                "tiles": tiles,
                "tiles_per_second": {name: tiles / statistics.median(times[name]) for name in PROGRAMS},
                "time_ratio": common.ratio(times["monai"], times["ours"]),
                "peak_memory_bytes": memory,
                "relative_difference": difference.item(),
            }
        )
    return rows


def main() -> None:
    options = common.parser(__doc__, repeats=3)
    options.add_argument("--side", type=int, help="pixels of the slide, a multiple of 1792 (8960)")
    options.add_argument("--tiles", type=int, default=0, help="stop after so many tiles; 0 = the whole slide")
    options.add_argument("--batch", type=int, help="tiles at a time (16)")
    options.add_argument("--num_workers", type=int, default=0, help="loader processes, for both (%(default)s)")
    options.add_argument("--slide", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.side = args.side or (1792 if args.quick else 8960)
    if args.side % 1792:
        options.error(f"--side is {args.side}, and whole tiles of 224 and of 256 need a multiple of 1792")
    args.batch = args.batch or (4 if args.quick else 16)
    device = common.prepare(args)
    if args.memory_of:
        job = passes(args.slide, args, torch.device("cpu"))["read"][args.memory_of]
        print(common.peak_memory(job, torch.device("cpu")))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, args.side)
        rows = measure(path, args, device)
    lines = [
        [
            row["work"],
            *(f"{row['tiles_per_second'][name]:.1f}" for name in PROGRAMS),
            common.spread(row["time_ratio"]),
            *(" -> ".join(map(common.megabytes, row["peak_memory_bytes"][name])) for name in PROGRAMS),
        ]
        for row in rows
    ]
    args.slide = None
    notes = [
        f"{rows[0]['tiles']} tiles of {TILE} from a slide of {args.side} x {args.side} pixels, "
        f"batches of {args.batch}, {args.num_workers} loader processes; {common.RATIO_NOTE}",
        "memory of reading a quarter of the tiles -> all of them; " + common.MEMORY_NOTE["cpu"],
        f"sums of all pixels differ by {rows[0]['relative_difference']:.0e} (relative), of all logits by "
        f"{rows[1]['relative_difference']:.0e}",
    ]
    columns = ["work", "ours, tiles/s", "MONAI, tiles/s", "MONAI / ours", "memory ours", "memory MONAI"]
    common.finish("slides", args, rows, common.table(columns, lines), notes)


if __name__ == "__main__":
    main()
