"""One fine-tuning step (forward, loss, backward, AdamW): ours against MONAI's `UNETR` and `ViT`.

Segmentation with Dice and cross-entropy on 14 classes, classification with binary cross-entropy on 14 findings; the
same sizes, optimiser and batch for both, no drop path. The steps run in turns in one process.

    python benchmarks/finetune_step.py                                  # all settings on the CPU
    python benchmarks/finetune_step.py --device cuda --dtype bf16       # on a GPU, autocast for both
    python benchmarks/finetune_step.py --peer_dtype fp32 --dtype bf16   # ours in bf16 beside MONAI in float32
"""

import argparse
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import common
import torch
from custom_components.losses.segmentation import PartialDiceCELoss
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.unetr import UNETR
from custom_components.networks.vit import ViT
from monai.losses import DiceCELoss
from monai.networks.nets import UNETR as MonaiUNETR
from monai.networks.nets import ViT as MonaiViT
from torch import Tensor, nn

CLASSES = 14
Step = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """Sizes of a network and of its batch, the same for both programs."""

    name: str
    channels: int
    size: tuple[int, ...]
    batch: int
    batch_gpu: int
    encoder: tuple[int, int, int, int] = (768, 3072, 12, 12)  # width, MLP width, layers, heads
    patch: int = 16
    features: int = 16


SETTINGS = [
    Setting("unetr_96", 1, (96, 96, 96), 1, 8),
    Setting("unetr_4x128", 4, (128, 128, 128), 1, 4),
    Setting("vit_224", 3, (224, 224), 4, 128),
]
QUICK = [
    Setting("unetr_96", 1, (32, 32, 32), 1, 1, (48, 96, 12, 2), features=4),
    Setting("vit_224", 3, (32, 32), 2, 2, (48, 96, 2, 2), patch=8),
]


def build(program: str, setting: Setting) -> nn.Module:
    """The network of one program."""
    width, mlp, layers, heads = setting.encoder
    if len(setting.size) == 3:
        if program == "monai":
            return MonaiUNETR(setting.channels, CLASSES, setting.size, setting.features, width, mlp, heads)
        encoder = ViT(setting.channels, setting.size, setting.patch, *setting.encoder, class_token=False)
        return UNETR(encoder, CLASSES, feature_size=setting.features)
    if program == "monai":
        return MonaiViT(
            setting.channels, setting.size, setting.patch, width, mlp, layers, heads, classification=True,
            num_classes=CLASSES, spatial_dims=2, post_activation=None, qkv_bias=True,
        )  # fmt: skip
    encoder = ViT(setting.channels, setting.size, setting.patch, *setting.encoder, spatial_dims=2)
    return ViTClassifier(encoder, CLASSES)


def loss_of(program: str, setting: Setting, target: Tensor) -> Callable[[Any], Tensor]:
    """Output of the network -> loss."""
    if len(setting.size) == 2:
        bce = nn.BCEWithLogitsLoss()
        return lambda output: bce((output[0] if isinstance(output, tuple) else output).float(), target)
    if program == "monai":
        theirs = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True)
        return lambda output: theirs(output.float(), target)
    ours = PartialDiceCELoss()
    drawn = {"label": target, "unlabelled": torch.zeros(len(target), CLASSES, dtype=torch.bool, device=target.device)}
    return lambda output: ours(output, drawn)


def make_step(program: str, setting: Setting, args: argparse.Namespace, device: torch.device) -> Step:
    """A training step of one program, with its network, its optimiser and a fixed batch."""
    network = build(program, setting).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    batch = args.batch or (setting.batch if device.type == "cpu" else setting.batch_gpu)
    image = torch.rand(batch, setting.channels, *setting.size, device=device)
    shape = (batch, 1, *setting.size) if len(setting.size) == 3 else (batch, CLASSES)
    target = torch.randint(0, CLASSES if len(setting.size) == 3 else 2, shape, device=device)
    loss = loss_of(program, setting, target.to(torch.uint8) if len(setting.size) == 3 else target.float())
    run = torch.compile(network) if args.compile else network
    dtype = args.dtype if program == "ours" else args.peer_dtype or args.dtype

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16) if dtype == "bf16" else nullcontext():
            output = run(image)
        loss(output).backward()
        optimizer.step()

    return step


def measure(setting: Setting, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Everything about one setting."""
    memory = {program: memory_of(program, setting, args, device) for program in ("ours", "monai")}
    steps = {program: make_step(program, setting, args, device) for program in ("ours", "monai")}
    times = common.interleave(steps, args.repeats, device, warmup=2)
    return {
        "setting": setting.name,
        "size": list(setting.size),
        "step_seconds": {program: statistics.median(times[program]) for program in times},
        "time_ratio": common.ratio(times["monai"], times["ours"]),
        "peak_memory_bytes": memory,
        "memory_ratio": memory["monai"] / memory["ours"],
    }


def memory_of(program: str, setting: Setting, args: argparse.Namespace, device: torch.device) -> int:
    """Peak memory of one program, in bytes."""
    make = partial(make_step, program, setting, args, device)
    return common.memory_of_step(__file__, program, setting.name, make, args)


def show(rows: list[dict[str, Any]]) -> str:
    """The table: one line for each setting."""
    lines = [
        [
            row["setting"],
            f"{row['step_seconds']['ours']:.3f} s",
            f"{row['step_seconds']['monai']:.3f} s",
            common.spread(row["time_ratio"]),
            common.megabytes(row["peak_memory_bytes"]["ours"]),
            common.megabytes(row["peak_memory_bytes"]["monai"]),
            f"{row['memory_ratio']:.2f}x",
        ]
        for row in rows
    ]
    columns = ["setting", "ours", "MONAI", "MONAI / ours", "memory ours", "memory MONAI", "MONAI / ours"]
    return common.table(columns, lines)


def main() -> None:
    options = common.step_parser(__doc__, 5, [setting.name for setting in SETTINGS])
    args = options.parse_args()
    device = common.prepare(args)
    rows = common.step_rows(
        args,
        QUICK if args.quick else SETTINGS,
        lambda setting: measure(setting, args, device),
        lambda setting: memory_of(args.memory_of, setting, args, device),
    )
    notes = [
        f"times: median of {args.repeats} steps in turns; {common.RATIO_NOTE}",
        f"ours {args.dtype}, MONAI {args.peer_dtype or args.dtype}, torch.compile {'on' if args.compile else 'off'}",
        common.MEMORY_NOTE[device.type],
    ]
    common.finish("finetune_step", args, rows, show(rows), notes)


if __name__ == "__main__":
    main()
