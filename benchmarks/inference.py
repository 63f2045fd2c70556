"""Sliding-window segmentation of one volume: our UNETR against MONAI's, with equal weights.

Ours runs through the inferer of our inference.yaml, MONAI's through MONAI's SlidingWindowInferer; windows, overlap and
blending are the same, so the outputs must agree.

    python benchmarks/inference.py
    python benchmarks/inference.py --device cuda --size 320 320 160 --repeats 10
"""

import argparse
import statistics
from typing import Any

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
    unetr_state,
)
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNETR as MonaiUNETR
from torch import Tensor, nn

from custom_components.networks.unetr import UNETR
from custom_components.networks.vit import ViT
from custom_components.training.inferers import WindowInferer

# Name of the program -> its inferer.
INFERERS = {"ours": WindowInferer, "monai": SlidingWindowInferer}
CLASSES = 14


class Job:
    """One program: network, inferer and the volume."""

    def __init__(self, program: str, sw_batch: int, args: argparse.Namespace, device: torch.device) -> None:
        self.network = build(program, args).to(device).eval()
        self.inferer = INFERERS[program](
            roi_size=[args.roi] * 3, sw_batch_size=sw_batch, overlap=args.overlap, mode="gaussian"
        )
        self.volume = torch.rand(1, 1, *args.size, generator=torch.Generator().manual_seed(0)).to(device)

    @torch.no_grad()
    def __call__(self) -> Tensor:
        return self.inferer(self.volume, self.network)


def build(program: str, args: argparse.Namespace) -> nn.Module:
    """UNETR at the sizes of the paper: ours without a class token and with MONAI's epsilon, as MONAI's has it."""
    width, mlp, heads, features = (48, 96, 2, 4) if args.quick else (768, 3072, 12, 16)
    if program == "ours":
        encoder = ViT(1, args.roi, 16, width, mlp, 12, heads, class_token=False, norm_eps=1e-5)
        return UNETR(encoder, CLASSES, feature_size=features)
    return MonaiUNETR(1, CLASSES, args.roi, features, width, mlp, heads, qkv_bias=True)


def measure(sw_batch: int, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Everything about one number of windows at a time."""
    memory = {program: memory_of(program, sw_batch, args, device) for program in INFERERS}
    jobs = {program: Job(program, sw_batch, args, device) for program in INFERERS}
    jobs["ours"].network.load_state_dict(unetr_state(jobs["monai"].network.state_dict()))
    ours, theirs = jobs["ours"](), jobs["monai"]()  # also the warm-up
    difference, largest = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    agree = (ours.argmax(dim=1) == theirs.argmax(dim=1)).float().mean().item()
    del ours, theirs
    times = interleave(jobs, args.repeats, device, warmup=0)
    return {
        "sw_batch": sw_batch,
        "seconds": {program: statistics.median(times[program]) for program in INFERERS},
        "time_ratio": ratio(times["monai"], times["ours"]),
        "peak_memory_bytes": memory,
        "memory_ratio": memory["monai"] / memory["ours"],
        "largest_difference": difference,
        "largest_logit": largest,
        "same_class_share": agree,
    }


def memory_of(program: str, sw_batch: int, args: argparse.Namespace, device: torch.device) -> int:
    """Peak memory of building one program and segmenting the volume, in bytes; on the CPU in a process of its own."""
    if device.type == "cuda":
        return peak_memory(lambda: Job(program, sw_batch, args, device)(), device)
    options = ["--size", *map(str, args.size), "--roi", str(args.roi), "--overlap", str(args.overlap)]
    options += ["--sw_batch", str(sw_batch), "--threads", str(args.threads), *(["--quick"] if args.quick else [])]
    return memory_alone(__file__, program, *options)


def show(rows: list[dict[str, Any]]) -> str:
    """The table: one line for each number of windows at a time."""
    lines = [
        [
            str(row["sw_batch"]),
            f"{row['seconds']['ours']:.2f} s",
            f"{row['seconds']['monai']:.2f} s",
            spread(row["time_ratio"]),
            megabytes(row["peak_memory_bytes"]["ours"]),
            megabytes(row["peak_memory_bytes"]["monai"]),
            f"{row['memory_ratio']:.2f}x",
            f"{row['largest_difference']:.1e} of {row['largest_logit']:.1f}",
        ]
        for row in rows
    ]
    columns = ["windows at a time", "ours", "MONAI", "MONAI / ours", "memory ours", "memory MONAI", "MONAI / ours"]
    return table([*columns, "largest difference"], lines)


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--size", nargs=3, type=int, help="voxels of the volume (144 128 96)")
    options.add_argument("--roi", type=int, help="edge of a window (96)")
    options.add_argument("--overlap", type=float, default=0.5, help="of neighbouring windows (%(default)s)")
    options.add_argument("--sw_batch", nargs="+", type=int, help="windows at a time, one row each (1 4)")
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.size = args.size or ([48, 32, 32] if args.quick else [144, 128, 96])
    args.roi = args.roi or (32 if args.quick else 96)
    args.sw_batch = args.sw_batch or ([2] if args.quick else [1, 4])
    device = prepare(args)
    if args.memory_of:
        print(peak_memory(lambda: Job(args.memory_of, args.sw_batch[0], args, device)(), device))
        return
    rows = [measure(sw_batch, args, device) for sw_batch in args.sw_batch]
    notes = [
        f"volume {' x '.join(map(str, args.size))}, window {args.roi}^3, overlap {args.overlap}, Gaussian, float32",
        f"times: median of {args.repeats} passes in turns; {RATIO_NOTE}",
        MEMORY_NOTE[device.type],
        "largest difference: of any logit, with equal weights, beside the largest logit",
    ]
    finish("inference", args, rows, show(rows), notes)


if __name__ == "__main__":
    main()
