"""Training crops per second from cached volumes: ours against MONAI's data sets, and against what training consumes.

The transforms are those of bundles/btcv_unetr_mae/configs/train.yaml, read from that file, on drawn volumes of the
paper's typical size. Loaders run in turns, one pass over the volumes each. "RAM" compares our `PreparedDataset` with
MONAI's `CacheDataset`, "folder" with `PersistentDataset`. What a step consumes is measured here (one ViT-B pre-training
step at 96^3, mask 0.125) or given.

    python benchmarks/loader.py
    python benchmarks/loader.py --step_crops_per_second 300 --num_workers 8
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from bundle_runtime.data.datalist import items
from bundle_runtime.data.dataset import PreparedDataset
from bundle_runtime.data.loading import EpochSampler, loader
from common import RATIO_NOTE, finish, interleave, parser, prepare, ratio, seconds, spread, table
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader, PersistentDataset
from monai.data.utils import pickle_hashing
from pretrain_step import QUICK, SETTINGS, batch_of, make_step

CONFIG = Path(__file__).parents[1] / "bundles" / "btcv_unetr_mae" / "configs" / "train.yaml"
CLASSES = ["background", *map(str, range(1, 14))]
PEERS = {"ours, RAM": "MONAI CacheDataset", "ours, folder": "MONAI PersistentDataset"}


def draw_volume(shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A body in air: CT-like (X, Y, Z) float32 Hounsfield units, and labels 1 .. classes - 1 as balls inside it."""
    axes = np.meshgrid(*[np.linspace(-1, 1, length, dtype=np.float32) for length in shape], indexing="ij")
    body = sum(axis**2 for axis in axes) < 0.97
    image = np.where(body, 40.0, -1000.0).astype(np.float32) + rng.standard_normal(shape, dtype=np.float32) * 25
    label = np.zeros(shape, np.uint8)
    for number in range(1, classes):
        centre = rng.uniform(-0.5, 0.5, 3)
        ball = sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) < rng.uniform(0.1, 0.3) ** 2
        label[ball] = number
        image[ball] += 10.0 * number
    return image, label


def write_dataset(folder: Path, count: int, shape: tuple[int, ...], spacing: list[float], classes: int) -> Path:
    """Draw `count` cases as NIfTI and return their datalist; the spacing is the config's, so shapes stay."""
    rng = np.random.default_rng(0)
    entries = []
    for number in range(count):
        image, label = draw_volume(shape, classes, rng)
        for kind, array in (("image", image), ("label", label)):
            nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), folder / f"{kind}{number}.nii")
        entries.append({"image": f"image{number}.nii", "label": f"label{number}.nii", "patient_id": str(number)})
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": entries}))
    return path


def read_config(roi: int) -> ConfigParser:
    """train.yaml with the given crop size."""
    config = ConfigParser()
    config.read_config(str(CONFIG))
    config["roi_size"], config["class_names"] = [roi] * 3, CLASSES
    return config


def build_datasets(folder: Path, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, float]]:
    """The four data sets with filled caches, and how long filling took in seconds."""
    config = read_config(args.roi)
    data = items(write_dataset(folder, args.volumes, tuple(args.shape), config["spacing"], len(CLASSES)), "training")

    def transform() -> Any:
        return read_config(args.roi).get_parsed_content("train#preprocessing")

    def persistent() -> PersistentDataset:
        dataset = PersistentDataset(data, transform(), folder / "monai", hash_transform=pickle_hashing)
        for position in range(len(dataset)):
            dataset[position]
        return dataset

    makers = {
        "ours, RAM": lambda: PreparedDataset(data, transform(), "ram", progress=False),
        "ours, folder": lambda: PreparedDataset(data, transform(), folder / "ours", progress=False),
        "MONAI CacheDataset": lambda: CacheDataset(data, transform(), num_workers=1, progress=False),
        "MONAI PersistentDataset": persistent,
    }
    datasets, filling = {}, {}
    for name, make in makers.items():
        start = time.perf_counter()
        datasets[name] = make()
        filling[name] = time.perf_counter() - start
    return datasets, filling


def make_loader(name: str, dataset: Any, batch_volumes: int, num_workers: int) -> Iterable[Any]:
    """Each program's own loader; workers stay alive in all of them."""
    if name.startswith("ours"):
        return loader(dataset, batch_volumes, EpochSampler(dataset), num_workers)
    return DataLoader(
        dataset, batch_size=batch_volumes, shuffle=True, num_workers=num_workers, persistent_workers=num_workers > 0
    )


def measure(datasets: dict[str, Any], num_workers: int, args: argparse.Namespace) -> dict[str, Any]:
    """Crops per second of each data set with one number of workers."""
    loaders = {name: make_loader(name, dataset, args.batch_volumes, num_workers) for name, dataset in datasets.items()}
    crops = {name: sum(len(batch["image"]) for batch in batches) for name, batches in loaders.items()}  # warm-up

    def one_pass(batches: Iterable[Any]) -> None:
        for _ in batches:
            pass

    calls = {name: lambda batches=batches: one_pass(batches) for name, batches in loaders.items()}
    times = interleave(calls, args.repeats, torch.device("cpu"), warmup=0)
    return {
        "num_workers": num_workers,
        "crops_per_pass": crops,
        "crops_per_second": {name: crops[name] / statistics.median(times[name]) for name in datasets},
        "time_ratio": {name: ratio(times[peer], times[name]) for name, peer in PEERS.items()},
    }


def step_crops_per_second(args: argparse.Namespace, device: torch.device) -> float:
    """Crops that one pre-training step of ours consumes in a second."""
    setting = (QUICK if args.quick else SETTINGS)[-1]
    step = make_step("ours", setting, args, device)
    step()
    return batch_of(setting, args, device) / statistics.median(seconds(step, device) for _ in range(3))


def show(rows: list[dict[str, Any]], step: float) -> str:
    """The table: one line for each number of workers and kind of cache."""
    lines = []
    for row in rows:
        rates = row["crops_per_second"]
        for name, peer in PEERS.items():
            lines.append([
                name.removeprefix("ours, "),
                str(row["num_workers"]),
                f"{rates[name]:.1f} /s",
                f"{rates[peer]:.1f} /s ({peer.removeprefix('MONAI ')})",
                spread(row["time_ratio"][name]),
                f"{step:.1f} /s",
                f"{rates[name] / step:.1f}x",
            ])  # fmt: skip
    return table(["cache", "workers", "ours", "MONAI", "ours / MONAI", "a step consumes", "ours / step"], lines)


def main() -> None:
    options = parser(__doc__, repeats=5)
    options.add_argument("--volumes", type=int, help="cases (6)")
    options.add_argument("--shape", nargs=3, type=int, help="voxels of a case after resampling (240 200 160)")
    options.add_argument("--roi", type=int, help="edge of a crop (96)")
    options.add_argument("--batch_volumes", type=int, default=2, help="volumes a batch, 4 crops each (%(default)s)")
    options.add_argument("--num_workers", nargs="+", type=int, help="loader processes, one row each (0 2)")
    options.add_argument("--step_crops_per_second", type=float, help="what training consumes; default: measured")
    args = options.parse_args()
    args.volumes = args.volumes or (2 if args.quick else 6)
    args.shape = args.shape or ([40, 36, 32] if args.quick else [240, 200, 160])
    args.roi = args.roi or (16 if args.quick else 96)
    args.num_workers = args.num_workers if args.num_workers is not None else [0] if args.quick else [0, 2]
    device = prepare(args)
    with tempfile.TemporaryDirectory() as folder:
        datasets, filling = build_datasets(Path(folder), args)
        rows = [measure(datasets, num_workers, args) for num_workers in args.num_workers]
    step = args.step_crops_per_second
    if step is None:
        step_options = {"dtype": "bf16" if device.type == "cuda" else "fp32", "optimizer": "fused", "compile": False}
        step = step_crops_per_second(argparse.Namespace(**vars(args), **step_options, batch=0), device)
    for row in rows:
        row |= {"step_crops_per_second": step, "fill_seconds": filling}
    notes = [
        f"{args.volumes} volumes of {' x '.join(map(str, args.shape))}, crops of {args.roi}^3, "
        f"{args.batch_volumes} volumes a batch, transforms of {CONFIG.parent.parent.name}/configs/{CONFIG.name}",
        f"median of {args.repeats} passes in turns, nothing else consuming; {RATIO_NOTE}",
        f"filling the caches took {', '.join(f'{value:.1f} s ({name})' for name, value in filling.items())}",
    ]
    finish("loader", args, rows, show(rows, step), notes)


if __name__ == "__main__":
    main()
