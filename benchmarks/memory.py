"""Memory of a fine-tuning step of UNETR at the brain bundle's full size, four sequences of 128^3.

Two numbers for each case. "Computed": weights, gradients and AdamW's two moments in float32, plus what the forward pass
keeps for the backward pass (counted tensor by tensor, storages that are kept anyway counted once). It leaves out what a
step needs for a moment only and what the allocator wastes. "Measured": the peak of the whole process (CPU) or of the
allocator (GPU), which has both.

    python benchmarks/memory.py                       # on the CPU, float32 and bf16
    python benchmarks/memory.py --device cuda         # on a GPU
"""

import argparse
from typing import Any

import torch
from common import MEMORY_NOTE, finish, megabytes, memory_alone, parser, peak_memory, prepare, table
from custom_components.losses.regions import RegionDiceLoss
from custom_components.networks.unetr import UNETR
from custom_components.networks.vit import ViT
from torch import Tensor

CLASS_NAMES = ("background", "TC", "WT", "ET")
CASES = [
    {"dtype": "fp32", "checkpointing": False},
    {"dtype": "fp32", "checkpointing": True},
    {"dtype": "bf16", "checkpointing": False},
    {"dtype": "bf16", "checkpointing": True},
]


def build(args: argparse.Namespace, checkpointing: bool) -> UNETR:
    """The fine-tuning network of the bundle."""
    width, mlp, layers, heads, features = (48, 96, 3, 2, 4) if args.quick else (768, 3072, 12, 12, 16)
    encoder = ViT(4, args.roi, 16, width, mlp, layers, heads, drop_path_rate=0.1, use_checkpoint=checkpointing)
    return UNETR(encoder, len(CLASS_NAMES) - 1, feature_size=features)


class Step:
    """Forward, loss, backward and AdamW on crops that stay the same."""

    def __init__(self, args: argparse.Namespace, case: dict[str, Any], device: torch.device) -> None:
        self.network = build(args, case["checkpointing"]).to(device).train()
        self.loss = RegionDiceLoss(CLASS_NAMES).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, fused=True)
        self.device, self.dtype = device, torch.bfloat16 if case["dtype"] == "bf16" else None
        shape = (args.micro_batch, 1, *[args.roi] * 3)
        generator = torch.Generator().manual_seed(0)
        self.image = torch.randn(args.micro_batch, 4, *shape[2:], generator=generator).to(device)
        unlabelled = torch.zeros(args.micro_batch, len(CLASS_NAMES), dtype=torch.bool)
        label = torch.randint(0, 4, shape, generator=generator).to(torch.uint8)
        self.target = {"label": label.to(device), "unlabelled": unlabelled.to(device)}

    def forward(self) -> Tensor:
        """The loss."""
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            logits = self.network(self.image)
        return self.loss(logits.float(), self.target)

    def __call__(self) -> None:
        """Two steps: the optimiser's moments exist from the end of the first."""
        for _ in range(2):
            self.optimizer.zero_grad(set_to_none=True)
            self.forward().backward()
            self.optimizer.step()


def kept_for_backward(step: Step) -> int:
    """Bytes that the forward pass keeps, each storage once, without the weights."""
    known = {parameter.untyped_storage().data_ptr() for parameter in step.network.parameters()}
    sizes: dict[int, int] = {}
    held = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step.forward()
    del loss
    return sum(sizes.values())


def measure(case: dict[str, Any], number: int, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Everything about one case."""
    step = Step(args, case, device)
    parameters = sum(parameter.nbytes for parameter in step.network.parameters())
    kept = kept_for_backward(step)
    del step
    if device.type == "cuda":
        peak = peak_memory(lambda: Step(args, case, device)(), device)
    else:  # a process of its own, so that nothing but this case is in its peak
        options = ["--roi", str(args.roi), "--micro_batch", str(args.micro_batch), "--threads", str(args.threads)]
        peak = memory_alone(__file__, str(number), *options, *(["--quick"] if args.quick else []))
    return {**case, "state_bytes": 4 * parameters, "kept_bytes": kept, "peak_bytes": peak}


def show(rows: list[dict[str, Any]]) -> str:
    """The table: one line a case."""
    lines = [
        [
            row["dtype"],
            "yes" if row["checkpointing"] else "no",
            megabytes(row["state_bytes"]),
            megabytes(row["kept_bytes"]),
            megabytes(row["state_bytes"] + row["kept_bytes"]),
            megabytes(row["peak_bytes"]),
        ]
        for row in rows
    ]
    columns = ["precision", "checkpointing", "weights, gradients, moments", "kept for backward", "computed"]
    return table([*columns, "measured peak"], lines)


def main() -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--roi", type=int, help="side of the crop in voxels (128)")
    options.add_argument("--micro_batch", type=int, default=1, help="crops at a time (%(default)s)")
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.roi = args.roi or (32 if args.quick else 128)
    device = prepare(args)
    if args.memory_of:
        print(peak_memory(lambda: Step(args, CASES[int(args.memory_of)], device)(), device))
        return
    rows = [measure(case, number, args, device) for number, case in enumerate(CASES)]
    notes = [
        f"UNETR, {args.micro_batch} crop(s) of 4 x {args.roi}^3, AdamW, Dice loss on three regions",
        MEMORY_NOTE[device.type],
        "computed: float32 weights, gradients and moments, and what the forward pass keeps for the backward pass",
    ]
    finish("memory", args, rows, show(rows), notes)


if __name__ == "__main__":
    main()
