"""The pieces of `gpu.sh`, one after the other until the time is over; a piece that is finished is not done again.

Each piece is one of the other benchmarks or a command of a bundle, in a process of its own. The last one pre-trains and
fine-tunes ViT-B/16 at 96^3, from scratch beside, for as long as there is time; its trainings save themselves when they
are stopped and go on in the next call. What a piece printed stays in <out>/<piece>.txt, its numbers in <piece>.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "btcv_unetr_mae"
DRAWN = ["background", "liver", "spleen", "right kidney", "left kidney", "aorta"]  # of the drawn abdomens
GRACE = 25.0  # seconds that a training may take to save itself
SMALL = {"hidden_size": 24, "mlp_dim": 48, "num_layers": 4, "num_heads": 2, "roi_size": [32, 32, 32], "patch_size": 8}


@dataclass(frozen=True)
class Piece:
    """A name and the commands that follow one another; what a later one needs is there when its turn comes."""

    name: str
    commands: list[list[str]]


def benchmarks(args: argparse.Namespace) -> list[Piece]:
    """The other benchmarks, what matters most first."""
    cuda = args.device != "cpu"
    sizes = {  # beside what --quick sets
        "inference": ["--repeats", "2", "--sw_batch", "8"],
        "bundles": ["--batch", "256"],
        "images": ["--count", "400", "--workers", str(args.workers), "--memory_images", "1000"],
        "loader": ["--step_crops_per_second", "0"],
        "slides": ["--side", "16128", "--repeats", "1", "--batch", "256", "--num_workers", str(args.workers)],
        "first_start": ["--repeats", "1", "--workers", str(args.workers)],
    }
    sizes["images"] += ["--num_workers", str(args.workers)]
    wanted: list[tuple[str, str, list[str]]] = [
        ("pretrain_step_bf16", "pretrain_step", ["--dtype", "bf16"]),
        ("pretrain_step_bf16_compile", "pretrain_step", ["--dtype", "bf16", "--compile"]),
        ("pretrain_step_beside_fp32", "pretrain_step", ["--dtype", "bf16", "--peer_dtype", "fp32", "--repeats", "3"]),
        ("finetune_step_bf16", "finetune_step", ["--dtype", "bf16"]),
        ("finetune_step_bf16_compile", "finetune_step", ["--dtype", "bf16", "--compile"]),
        ("finetune_step_beside_fp32", "finetune_step", ["--dtype", "bf16", "--peer_dtype", "fp32", "--repeats", "3"]),
        ("bundles_bf16", "bundles", ["--dtype", "bf16"]),
        ("bundles_bf16_compile", "bundles", ["--dtype", "bf16", "--compile"]),
        ("inference", "inference", []),
        ("images", "images", []),
        ("loader", "loader", []),
        ("slides", "slides", []),
        ("first_start", "first_start", []),
    ]
    pieces = []
    for name, script, options in wanted:
        words = [sys.executable, str(ROOT / "benchmarks" / f"{script}.py"), "--device", args.device, "--name", name]
        words += [] if args.quick else sizes.get(script, [])
        words += ["--quick", "--repeats", "1"] if args.quick else []
        pieces.append(Piece(name, [[*words, *options, "--out", str(args.out)]]))
    return [piece for piece in pieces if cuda or "compile" not in piece.name]  # on a CPU a compiler may be missing


def bundle(stage: str, args: argparse.Namespace, arm: str, **settings: object) -> list[str]:
    """A command of the bundle; `arm` names the folder of its outputs."""
    out = args.out / "runs"
    settings = {
        "bundle_root": str(BUNDLE), "dataset_dir": str(args.dataset_dir), "datalist": str(args.datalist),
        "output_dir": str(out / f"{stage}_{arm}"), "model_dir": str(out / f"model_{arm}"),
        "encoder_file": str(out / "encoder.safetensors"), "num_workers": 0 if args.quick else args.workers,
        "device": args.device, **(SMALL if args.quick else {}), **settings,
    }  # fmt: skip
    settings = {key: value for key, value in settings.items() if stage != "evaluate" or key != "encoder_file"}
    said = [
        word
        for key, value in settings.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    ]
    return ["-m", "monai.bundle", "run", "--config_file", str(BUNDLE / "configs" / f"{stage}.yaml"), *said]


def runs(args: argparse.Namespace) -> list[Piece]:
    """Two processes as one training, and the comparison."""
    python = [sys.executable]
    drawn = [*python, "-m", "mae_tools", "draw", "abdomen", str(args.dataset_dir)]
    drawn += ["--cases", "8"] if args.quick else []
    names = {} if args.given else {"class_names": DRAWN}
    names |= {"class_names": json.loads(args.class_names)} if args.class_names else {}
    short = {"max_epochs": 2, "warmup_epochs": 0, "val_interval": 2}
    processes = "2" if args.device == "cpu" else "1"
    multi = [*python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", processes]
    smoke = bundle("pretrain", args, "ddp", **{**SMALL, **short}, decoder_size=24, decoder_layers=1, decoder_heads=2)
    place = smoke.index("--device")
    del smoke[place : place + 2]  # each process finds its own
    config = smoke.index("--config_file") + 1
    smoke[config] = json.dumps([smoke[config], str(BUNDLE / "configs" / "multi_gpu_train.yaml")])
    long = short if args.quick else {"max_epochs": 400, "warmup_epochs": 10, "val_interval": 50}
    tuned = short if args.quick else {"max_epochs": 100, "warmup_epochs": 5, "val_interval": 20}
    commands = [[*python, *bundle("pretrain", args, "mae", **long)]]
    for arm in ("scratch", "mae"):
        commands.append([*python, *bundle("train", args, arm, init=arm, **names, **tuned)])
        commands.append([*python, *bundle("evaluate", args, arm, **names)])
    draw = [] if args.given else [Piece("drawn", [drawn])]
    return [*draw, Piece("ddp", [[*multi, *smoke]]), Piece("comparison", commands)]


def carry_out(piece: Piece, end: float, out: Path) -> bool | None:
    """Run the commands that are not done yet; True: finished, False: one failed, None: the time is over."""
    for number, command in enumerate(piece.commands):
        done = out / "done" / f"{piece.name}_{number}"
        if done.exists():
            continue
        left = end - time.monotonic()
        if left < 5:
            return None
        with open(out / f"{piece.name}.txt", "a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                code = process.wait(left)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                return None
        if code:
            return False
        done.parent.mkdir(exist_ok=True)
        done.touch()
    return True


def report(piece: Piece, out: Path) -> str:
    """What a piece printed after its last empty beginning: its table and notes, or its end where it failed."""
    path = out / f"{piece.name}.txt"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    table = [number for number, line in enumerate(lines) if line.startswith("| ")]
    return "\n".join(lines[table[0] :] if table else lines[-12:])


def scores(out: Path) -> str:
    """The comparison's scores side by side."""
    found = {}
    for arm in ("scratch", "mae"):
        path = out / "runs" / f"evaluate_{arm}" / "scores.json"
        if path.exists():
            found[arm] = json.loads(path.read_text())
    return json.dumps(
        {arm: {k: v for k, v in said.items() if not isinstance(v, dict | list)} for arm, said in found.items()}
    )


def main(words: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    options.add_argument("--quick", action="store_true", help="toy sizes: does it run?")
    options.add_argument("--minutes", type=float, default=8.5, help="after which it ends (%(default)s)")
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "gpu_out", help="results (%(default)s)")
    options.add_argument("--pieces", nargs="+", help="only these")
    options.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="loader processes")
    options.add_argument("--dataset_dir", type=Path, help="CTs of the comparison; default: drawn ones")
    options.add_argument("--datalist", type=Path, help="their datalist; default: datalist.json in that folder")
    options.add_argument("--class_names", help="their classes as a JSON list; default: the bundle's")
    args = options.parse_args(words)
    end = time.monotonic() + 60 * args.minutes - (0 if args.quick else GRACE)
    args.out.mkdir(parents=True, exist_ok=True)
    args.given = args.dataset_dir is not None
    args.dataset_dir = args.dataset_dir or args.out / "drawn"
    args.datalist = args.datalist or args.dataset_dir / "datalist.json"
    if args.device != "cpu":
        print(f"{torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}", flush=True)
    pieces = [*benchmarks(args), *runs(args)]
    unknown = set(args.pieces or ()) - {piece.name for piece in pieces}
    if unknown:
        options.error(f"unknown pieces {sorted(unknown)}; there are {', '.join(piece.name for piece in pieces)}")
    ends = {}
    for piece in [piece for piece in pieces if not args.pieces or piece.name in args.pieces]:
        start = time.monotonic()
        ends[piece.name] = carry_out(piece, end, args.out)
        took = f"{time.monotonic() - start:.0f} s"
        print(f"\n=== {piece.name}: {_SAID[ends[piece.name]]}, {took}\n{report(piece, args.out)}", flush=True)
    print(f"\n{scores(args.out)}")
    for said in (False, None):
        names = [name for name, ended in ends.items() if ended is said]
        if names:
            print(f"{_SAID[said]}: {', '.join(names)}")
    return 1 if False in ends.values() else 0


_SAID = {True: "finished", False: "FAILED", None: "not finished; the next call goes on"}

if __name__ == "__main__":
    sys.exit(main())
