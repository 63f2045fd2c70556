"""The network of each bundle at inference, as its inference.yaml has it: seconds a volume, pictures a second.

Network, windows and precision are the config's; weights are random, images are noise that fills them. `--dtype` and
`--compile` lay other choices over it.

    python benchmarks/bundles.py
    python benchmarks/bundles.py --device cuda --dtype bf16 --compile
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from common import MEMORY_NOTE, finish, interleave, megabytes, memory_alone, parser, peak_memory, prepare, table
from monai.bundle import ConfigParser

FOLDER = Path(__file__).parents[1] / "bundles"
BUNDLES = sorted(path.name for path in FOLDER.iterdir() if (path / "configs" / "inference.yaml").exists())
TINY = {"hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "feature_size": 4}


class Job:
    """Network and inferer of a bundle, and an image or a batch of pictures."""

    def __init__(self, bundle: str, args: argparse.Namespace, device: torch.device) -> None:
        config = ConfigParser()
        config.read_config(str(FOLDER / bundle / "configs" / "inference.yaml"))
        config.update({"bundle_root": str(FOLDER / bundle), "device": device, "record": None})
        volume = config.get("roi_size") is not None
        if args.dtype:
            config["amp"] = "off" if args.dtype == "fp32" else args.dtype
        if args.quick:
            config.update({key: value for key, value in TINY.items() if config.get(key) is not None})
            config.update({"roi_size": [32] * 3} if volume else {"img_size": 32, "patch_size": 8})
        network = config.get_parsed_content("network_def").to(device).eval()
        self.network = torch.compile(network) if args.compile else network
        self.inferer = config.get_parsed_content("inferer")
        size = args.size if volume else [config["img_size"]] * 2
        self.count = 1 if volume else args.batch
        channels = config.get_parsed_content("network_def#encoder#in_channels")
        self.image = torch.rand(self.count, channels, *size, device=device) + 0.1

    @torch.no_grad()
    def __call__(self) -> Any:
        return self.inferer(self.image, self.network)


def measure(bundle: str, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Time and memory of one bundle."""
    given = ["--size", *map(str, args.size), "--batch", str(args.batch), "--threads", str(args.threads)]
    given += ["--dtype", args.dtype] if args.dtype else []
    given += ["--quick"] * args.quick + ["--compile"] * args.compile
    memory = (
        peak_memory(lambda: Job(bundle, args, device)(), device)
        if device.type == "cuda"
        else memory_alone(__file__, bundle, *given)
    )
    job = Job(bundle, args, device)
    times = interleave({bundle: job}, args.repeats, device)[bundle]
    return {
        "bundle": bundle,
        "image": list(job.image.shape[1:]),
        "images": job.count,
        "seconds": statistics.median(times),
        "images_per_second": job.count / statistics.median(times),
        "peak_memory_bytes": memory,
    }


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--bundles", nargs="+", choices=BUNDLES, default=BUNDLES)
    options.add_argument("--size", nargs=3, type=int, help="voxels of a volume on the network's grid (240 240 150)")
    options.add_argument("--batch", type=int, help="pictures at a time (16)")
    options.add_argument("--dtype", choices=["fp32", "bf16", "fp16"], help="default: what the config finds (amp: auto)")
    options.add_argument("--compile", action="store_true", help="torch.compile")
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.size = args.size or ([48, 40, 32] if args.quick else [240, 240, 150])
    args.batch = args.batch or (2 if args.quick else 16)
    device = prepare(args)
    if args.memory_of:
        print(peak_memory(lambda: Job(args.memory_of, args, device)(), device))
        return
    rows = [measure(bundle, args, device) for bundle in args.bundles]
    lines = [
        [
            row["bundle"],
            " x ".join(map(str, row["image"])),
            f"{row['seconds'] / row['images']:.3f} s",
            f"{row['images_per_second']:.1f}",
            megabytes(row["peak_memory_bytes"]),
        ]
        for row in rows
    ]
    notes = [
        f"median of {args.repeats} passes; pictures {args.batch} at a time; precision: {args.dtype or 'auto'}, "
        f"torch.compile {'on' if args.compile else 'off'}",
        MEMORY_NOTE[device.type],
    ]
    finish("bundles", args, rows, table(["bundle", "image", "seconds an image", "images/s", "memory"], lines), notes)


if __name__ == "__main__":
    main()
