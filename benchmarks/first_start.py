"""The first start of a pre-training on new images, beside building their cache and nothing else.

Both bundles are started by their own command, twice: the second time finds the cache of the first. What the first start
costs more is compared with building the same cache alone, in a process of its own, its imports not counted. 1,000 drawn
X-rays of 1024 x 1024 (PNG) for cxr14_mae, 30 drawn CTs for btcv_unetr_mae; tiny networks, one epoch.

    python benchmarks/first_start.py
    python benchmarks/first_start.py --bundles cxr14_mae --count 200 --repeats 1
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RATIO_NOTE, finish, parser, prepare, ratio, spread, table
from images import write_images
from loader import write_dataset
from monai.bundle import ConfigParser

ROOT = Path(__file__).parents[1]
# The parts of a config that fill the cache.
PARTS = {"cxr14_mae": ("train#images", "validate#images"), "btcv_unetr_mae": ("train#dataset", "validate#dataset")}
TINY = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 1, "num_heads": 2, "decoder_size": 24, "decoder_layers": 1}
TINY |= {"decoder_heads": 2, "max_epochs": 1, "warmup_epochs": 0, "val_interval": 1, "amp": "off"}


def draw(bundle: str, folder: Path, args: argparse.Namespace) -> None:
    """Images and their datalist; a tenth of them validates."""
    if bundle == "cxr14_mae":
        items = [{"image": entry["image"], "patient_id": str(n)} for n, entry in enumerate(write_images(folder, args))]
    else:
        path = write_dataset(folder, args.volumes, tuple(args.shape), [1.0, 1.0, 1.5], 2)
        items = [
            {key: entry[key] for key in ("image", "patient_id")} for entry in json.loads(path.read_text())["training"]
        ]
    held = max(len(items) // 10, 1)
    (folder / "datalist.json").write_text(json.dumps({"training": items[held:], "validation": items[:held]}))


def settings(bundle: str, folder: Path, cache: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What is set in the config of pre-training."""
    more: dict[str, Any] = {"num_workers": args.workers, "batch_size": 8}
    if args.quick:
        more |= (
            {"img_size": 32, "cache_size": 36} if bundle == "cxr14_mae" else {"roi_size": [16, 16, 16], "patch_size": 8}
        )
    places = {"dataset_dir": str(folder), "cache": str(cache), "bundle_root": str(ROOT / "bundles" / bundle)}
    return {
        **TINY,
        **more,
        **places,
        "output_dir": str(cache.with_suffix(".out")),
        "model_dir": str(cache.with_suffix(".model")),
    }


def command(bundle: str, chosen: dict[str, Any]) -> list[str]:
    """The bundle's own command."""
    config = ROOT / "bundles" / bundle / "configs" / "pretrain.yaml"
    options = [
        word
        for key, value in chosen.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), *options]


def run(words: list[str]) -> tuple[float, str]:
    """Seconds of a process, and its last line."""
    start = time.perf_counter()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{done.stderr[-4000:]}")
    return time.perf_counter() - start, done.stdout.strip().splitlines()[-1]


def build_alone(bundle: str, chosen: dict[str, Any]) -> float:
    """Seconds of filling the cache, of all else nothing."""
    config = ConfigParser()
    config.read_config(str(ROOT / "bundles" / bundle / "configs" / "pretrain.yaml"))
    config.update(chosen)
    config.get_parsed_content("train#data")  # with all imports
    start = time.perf_counter()
    for part in PARTS[bundle]:
        config.get_parsed_content(part)
    return time.perf_counter() - start


def measure(bundle: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """First start, second start and building alone, in turns."""
    draw(bundle, folder, args)
    extra, alone, again = [], [], []
    for turn in range(args.repeats):
        chosen = settings(bundle, folder, folder / f"cache{turn}", args)
        first = run(command(bundle, chosen))[0]
        again.append(run(command(bundle, {**chosen, "output_dir": chosen["output_dir"] + "2"}))[0])
        extra.append(first - again[-1])
        other = settings(bundle, folder, folder / f"alone{turn}", args)
        alone.append(float(run([sys.executable, __file__, "--alone", bundle, "--given", json.dumps(other)])[1]))
    return {
        "bundle": bundle,
        "images": len(list(folder.glob("*.png"))) or args.volumes,
        "seconds_more_at_the_first_start": statistics.median(extra),
        "seconds_alone": statistics.median(alone),
        "seconds_of_the_second_start": statistics.median(again),
        "time_ratio": ratio(extra, alone),
    }


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--bundles", nargs="+", choices=list(PARTS), default=list(PARTS))
    options.add_argument("--images", type=Path, help="folder of PNGs to enlarge; default: drawn radiographs")
    options.add_argument("--count", type=int, help="X-rays (1000)")
    options.add_argument("--side", type=int, help="their side in pixels (1024)")
    options.add_argument("--volumes", type=int, help="CTs (30)")
    options.add_argument("--shape", nargs=3, type=int, help="their voxels, of 1 x 1 x 1.5 mm (320 320 160)")
    options.add_argument("--workers", type=int, default=2, help="processes that fill the cache (%(default)s)")
    options.add_argument("--alone", help=argparse.SUPPRESS)
    options.add_argument("--given", type=json.loads, help=argparse.SUPPRESS)
    args = options.parse_args()
    args.count, args.side = args.count or (20 if args.quick else 1000), args.side or (64 if args.quick else 1024)
    args.volumes = args.volumes or (3 if args.quick else 30)
    args.shape = args.shape or ([32, 32, 24] if args.quick else [320, 320, 160])
    prepare(args)
    if args.alone:
        print(build_alone(args.alone, args.given))
        return
    rows = []
    for bundle in args.bundles:
        with tempfile.TemporaryDirectory() as name:
            rows.append(measure(bundle, Path(name), args))
    args.images = args.images is not None  # the folder is nobody's business
    lines = [
        [
            row["bundle"],
            f"{row['images']}",
            f"{row['seconds_alone']:.1f} s",
            f"{row['seconds_more_at_the_first_start']:.1f} s",
            spread(row["time_ratio"]),
            f"{row['seconds_of_the_second_start']:.1f} s",
        ]
        for row in rows
    ]
    columns = ["bundle", "images", "cache alone", "first start - second", "first / alone", "second start"]
    notes = [
        f"PNGs of {args.side} x {args.side}, CTs of {' x '.join(map(str, args.shape))}, {args.workers} processes",
        RATIO_NOTE.replace("above 1 means that ours is faster or smaller", "1 means that starting costs no more"),
    ]
    finish("first_start", args, rows, table(columns, lines), notes)


if __name__ == "__main__":
    main()
