"""2D images: preparing them once, reading them ever after, memory, and a training step that waits for none of it.

Four measurements on radiographs of 1024 x 1024, the size of the NIH release: the PNGs of --images enlarged, or drawn.

- build: `ImageCache` decodes, equalises and resizes each file once (images/s).
- read: crops/s at 224 x 224 from our cache (loader, random resized crop, flip, normalisation) against a MONAI `Dataset`
  that does the same to the same PNGs, in turns.
- memory: what a process holds of its own while it reads from caches of 1,000 and of 100,000 small images, shuffled.
- train: pre-training steps of ViT-B/16 fed by the loader against steps on a batch that is already there.

    python benchmarks/images.py --images folder/of/pngs
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_dataset import ImageDataset
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.data.loading import EpochSampler
from bundle_runtime.data.loading import loader as batch_loader
from common import RATIO_NOTE, finish, interleave, memory_alone, parser, prepare, ratio, spread, table
from custom_components.augment import Normalise, Pipeline, RandomFlip, RandomResizedCrop
from mae_tools.demo_data.radiographs import radiograph
from monai.data import DataLoader, Dataset
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandFlipd,
    RandScaleCropd,
    Resized,
)
from PIL import Image
from pretrain_step import QUICK, SETTINGS, make_step

MEAN, STD = 0.5, 0.225


def write_images(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """`args.count` PNGs of `args.side`: enlarged, each a little brighter or darker so that no two are the same."""
    if args.images:
        sources = [
            np.asarray(Image.open(path).convert("L")) for path in sorted(args.images.glob("*.png"))[: args.count]
        ]
    else:
        sources = [radiograph(0, number, 0, set()) for number in range(min(args.count, 40))]
    rng = np.random.default_rng(0)
    items = []
    for number in range(args.count):
        large = Image.fromarray(sources[number % len(sources)]).resize((args.side, args.side), Image.Resampling.BICUBIC)
        noise = rng.integers(-2, 3, (args.side, args.side))  # a film's grain: without it PNG would shrink too well
        path = folder / f"{number:05d}.png"
        Image.fromarray(np.clip(np.asarray(large).astype(int) + noise, 0, 255).astype(np.uint8)).save(path)
        items.append({"image": str(path)})
    return items


def augmentation(size: int) -> Pipeline:
    """That of pre-training."""
    return Pipeline([RandomResizedCrop(size, (0.08, 1.0)), RandomFlip(0.5), Normalise(MEAN, STD)])


def our_loader(cache: ImageCache, args: argparse.Namespace, workers: int) -> Any:
    """The loader of the bundle."""
    dataset = ImageDataset(cache, draws=augmentation(args.crop).draws)
    return batch_loader(dataset, args.batch, EpochSampler(dataset), workers)


def monai_loader(items: list[dict[str, Any]], args: argparse.Namespace, workers: int) -> Any:
    """The nearest that MONAI's transforms offer: read the PNG, crop at random, resize, flip, normalise."""
    transform = Compose([
        LoadImaged("image", reader="PILReader"),
        EnsureChannelFirstd("image"),
        RandScaleCropd("image", roi_scale=0.3, max_roi_scale=1.0, random_size=True),
        Resized("image", (args.crop, args.crop), mode="bilinear"),
        RandFlipd("image", prob=0.5, spatial_axis=0),
        NormalizeIntensityd("image", subtrahend=255 * MEAN, divisor=255 * STD),
    ])  # fmt: skip
    dataset = Dataset(items[: args.monai_count], transform)
    return DataLoader(dataset, workers, batch_size=args.batch, shuffle=True, persistent_workers=workers > 0)


def read(cache: ImageCache, items: list[dict[str, Any]], workers: int, args: argparse.Namespace) -> dict[str, Any]:
    """Crops per second of both, with one number of loader processes."""
    pipeline, count = augmentation(args.crop), {"ours": args.passes * len(items), "MONAI": args.monai_count}
    ours, peer = our_loader(cache, args, workers), monai_loader(items, args, workers)

    def run_ours() -> None:
        for _ in range(args.passes):
            for batch in ours:
                pipeline(batch["image"], batch["random"])

    def run_peer() -> None:
        for _ in peer:
            pass

    times = interleave({"ours": run_ours, "MONAI": run_peer}, args.repeats, torch.device("cpu"))
    per_crop = {name: [value / count[name] for value in values] for name, values in times.items()}
    return {
        "measurement": "read",
        "num_workers": workers,
        "crops_per_second": {name: 1 / statistics.median(values) for name, values in per_crop.items()},
        "time_ratio": ratio(per_crop["MONAI"], per_crop["ours"]),
    }


def own_memory(count: int, folder: Path) -> int:
    """Bytes of its own (not those of the mapped file) that a process gains by opening the cache and reading it all."""

    def anonymous() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    before = anonymous()
    items = [{"image": str(folder / f"{number:06d}.png")} for number in range(count)]
    listed = anonymous()  # the list of paths is what any program would hold
    cache = ImageCache(items, folder / "cache", Recipe(16, equalise="none"), progress=False)
    dataset = ImageDataset(cache, draws=augmentation(16).draws)
    for batch in batch_loader(dataset, 256, EpochSampler(dataset)):
        batch["image"].float().mean()
    print(f"of these for the list of paths: {listed - before}")
    return anonymous() - listed


def memory(count: int, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Draw `count` different tiny PNGs, build their cache here, and read it in a process of its own."""
    place = folder / f"small_{count}"
    place.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(place / f"{number:06d}.png")
    start = time.perf_counter()
    items = [{"image": str(place / f"{number:06d}.png")} for number in range(count)]
    ImageCache(items, place / "cache", Recipe(16, equalise="none"), num_workers=args.workers, progress=False)
    build = count / (time.perf_counter() - start)
    size = memory_alone(__file__, str(place), "--count", str(count))
    return {"measurement": "memory", "images": count, "bytes": size, "small_images_built_per_second": build}


def train(cache: ImageCache, workers: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of steps with the loader, and of the same steps on a batch that is there."""
    setting = (QUICK if args.quick else SETTINGS)[0]
    options = {"dtype": "bf16" if args.device == "cuda" else "fp32", "optimizer": "fused", "compile": False, "batch": 0}
    options |= {"predict_ratio": 1.0}
    step = make_step("ours", setting, argparse.Namespace(**{**vars(args), **options}), torch.device(args.device))
    batch = setting.batch_gpu if args.device == "cuda" else setting.batch
    loader = our_loader(cache, argparse.Namespace(**{**vars(args), "batch": batch}), workers)
    pipeline = augmentation(setting.size[0])
    feed = iter(loader)

    def fed() -> None:
        entry = next(feed)
        pipeline(entry["image"].to(args.device, non_blocking=True), entry["random"])
        step()

    repeats = min(args.repeats, len(loader) - 1)
    times = interleave({"fed": fed, "alone": step}, repeats, torch.device(args.device))
    fed_time, alone = statistics.median(times["fed"]), statistics.median(times["alone"])
    return {
        "measurement": "train",
        "num_workers": workers,
        "images_per_second": batch / fed_time,
        "without_loading": batch / alone,
        "share_of_waiting": max(0.0, 1 - alone / fed_time),
    }


def main() -> None:
    options = parser(__doc__, repeats=5)
    options.add_argument("--images", type=Path, help="folder of PNGs to enlarge; default: drawn radiographs")
    options.add_argument("--count", type=int, help="images (1000)")
    options.add_argument("--side", type=int, help="their side in pixels (1024)")
    options.add_argument("--crop", type=int, help="side of a crop (224)")
    options.add_argument("--batch", type=int, default=64, help="crops a batch (%(default)s)")
    options.add_argument("--workers", type=int, default=2, help="processes that build the cache (%(default)s)")
    options.add_argument("--num_workers", nargs="+", type=int, default=[0, 2], help="loader processes, a row each")
    options.add_argument("--passes", type=int, default=3, help="passes over our images for one of MONAI's")
    options.add_argument("--monai_count", type=int, help="of the PNGs, how many MONAI reads a pass (100)")
    options.add_argument("--memory_images", nargs="+", type=int, help="caches whose memory is compared (1000 100000)")
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.count = args.count or (12 if args.quick else 1000)
    args.side, args.crop = args.side or (64 if args.quick else 1024), args.crop or (32 if args.quick else 224)
    args.monai_count = args.monai_count or min(args.count, 12 if args.quick else 100)
    args.memory_images = args.memory_images or ([20, 60] if args.quick else [1000, 100_000])
    args.batch = min(args.batch, max(1, args.count // 4))
    prepare(args)
    if args.memory_of:
        print(own_memory(args.count, Path(args.memory_of)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = write_images(folder, args)
        start = time.perf_counter()
        size = 256 * args.crop // 224
        cache = ImageCache(items, folder / "cache", Recipe(size), num_workers=args.workers, progress=False)
        rate = args.count / (time.perf_counter() - start)
        rows: list[dict[str, Any]] = [{"measurement": "build", "images_per_second": rate}]
        rows += [read(cache, items, workers, args) for workers in args.num_workers]
        rows += [memory(count, folder, args) for count in args.memory_images]
        rows += [train(cache, workers, args) for workers in args.num_workers]
    notes = [
        f"{args.count} PNGs of {args.side} x {args.side}, {'enlarged from --images' if args.images else 'drawn'}; "
        f"built with {args.workers} processes, histogram equalised",
        "MONAI: Dataset with LoadImaged (PILReader), RandScaleCropd, Resized, RandFlipd, NormalizeIntensityd",
        RATIO_NOTE,
        "memory: own pages (RssAnon) after reading everything, beyond the list of paths; images of 16 x 16",
    ]
    args.images = args.images is not None  # the folder is nobody's business
    finish("images", args, rows, show(rows), notes)


def show(rows: Iterable[dict[str, Any]]) -> str:
    """The table: one line a measurement."""
    return table(["measurement", "setting", "ours", "beside it"], [_LINES[row["measurement"]](row) for row in rows])


_LINES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "build": lambda row: ["cache built", "", f"{row['images_per_second']:.1f} images/s", ""],
    "read": lambda row: [
        "crops read",
        f"{row['num_workers']} workers",
        f"{row['crops_per_second']['ours']:,.0f} /s",
        f"MONAI {row['crops_per_second']['MONAI']:,.0f} /s; {spread(row['time_ratio'])}",
    ],
    "memory": lambda row: [
        "own memory",
        f"{row['images']:,} images",
        f"{row['bytes'] / 1e6:.1f} MB",
        f"built at {row['small_images_built_per_second']:,.0f} images/s",
    ],
    "train": lambda row: [
        "pre-training step",
        f"{row['num_workers']} workers",
        f"{row['images_per_second']:.1f} images/s",
        f"without loading {row['without_loading']:.1f}; waits {100 * row['share_of_waiting']:.1f} % of the time",
    ],
}

if __name__ == "__main__":
    main()
