"""One pre-training step (forward, loss, backward, AdamW): ours against MONAI's MaskedAutoEncoderViT.

Both have the same sizes, optimiser, batch and loss: mean squared error on the hidden patches, each normalised by its
own mean and standard deviation. Before anything is timed, the two losses are compared at equal weights and an equal
mask. Then the steps run in turns in one process.

Share of matmul: the arithmetic of our step (PyTorch's FlopCounterMode, forward and backward) by its fastest time,
against the rate of the machine's own large matrix product at its fastest, measured in the same turns.

    python benchmarks/pretrain_step.py                                  # all settings on the CPU
    python benchmarks/pretrain_step.py --device cuda --dtype bf16       # on a GPU, autocast
    python benchmarks/pretrain_step.py --settings 3d_0.125 --predict_ratio 0.5
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import common
import torch
from custom_components.networks.masked_autoencoder import MaskedAutoencoder, ReconstructionLoss
from custom_components.networks.vit import ViT, patch_statistics, patchify
from monai.networks.nets import MaskedAutoEncoderViT
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Step = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """Sizes of a masked autoencoder and of its batch, the same for both programs."""

    name: str
    channels: int
    size: tuple[int, ...]
    mask_ratio: float
    batch: int  # on the CPU: a step of one to a few seconds on two cores
    batch_gpu: int
    decoder: tuple[int, int, int]  # width, layers, heads
    encoder: tuple[int, int, int, int] = (768, 3072, 12, 12)  # width, MLP width, layers, heads
    patch: int = 16


TWO_D, THREE_D = (256, 8, 8), (384, 8, 12)
SETTINGS = [
    Setting("2d_0.75", 3, (224, 224), 0.75, 16, 256, TWO_D),
    Setting("2d_0.125", 3, (224, 224), 0.125, 4, 128, TWO_D),
    Setting("3d_0.75", 1, (96, 96, 96), 0.75, 8, 96, THREE_D),
    Setting("3d_0.125", 1, (96, 96, 96), 0.125, 4, 24, THREE_D),
    Setting("brats_0.125", 4, (128, 128, 128), 0.125, 2, 24, THREE_D),
]
QUICK = [
    Setting("2d_0.75", 3, (32, 32), 0.75, 2, 2, (24, 1, 2), (48, 96, 2, 2), patch=8),
    Setting("3d_0.125", 1, (16, 16, 16), 0.125, 2, 2, (24, 1, 2), (48, 96, 2, 2), patch=8),
]


class PeerLoss(nn.Module):
    """The loss that MONAI leaves to its users: all patches cut and normalised, the mean taken over the hidden ones."""

    def __init__(self, patch: list[int]) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, pred: Tensor, mask: Tensor, image: Tensor) -> Tensor:
        patches = patchify(image, self.patch)
        mean, std = patch_statistics(patches)
        error = (pred.float() - (patches - mean) / std).square().mean(dim=-1)  # (B, N)
        return (error * mask).sum() / mask.sum()


def build_ours(setting: Setting, predict_ratio: float = 1.0) -> MaskedAutoencoder:
    """Our network; LayerNorm's epsilon is MONAI's, so that equal weights give equal losses."""
    width, layers, heads = setting.decoder
    encoder = ViT(
        setting.channels, setting.size, setting.patch, *setting.encoder, spatial_dims=len(setting.size),
        pos_embed_type="sincos", norm_eps=1e-5,
    )  # fmt: skip
    return MaskedAutoencoder(
        encoder, decoder_size=width, decoder_layers=layers, decoder_heads=heads, mask_ratio=setting.mask_ratio,
        predict_ratio=predict_ratio,
    )  # fmt: skip


def build_peer(setting: Setting) -> MaskedAutoEncoderViT:
    """MONAI's network at the same sizes (its own defaults are smaller and leave out the bias of q, k and v)."""
    width, layers, heads = setting.decoder
    return MaskedAutoEncoderViT(
        setting.channels, setting.size, setting.patch, *setting.encoder, masking_ratio=setting.mask_ratio,
        decoder_hidden_size=width, decoder_mlp_dim=4 * width, decoder_num_layers=layers, decoder_num_heads=heads,
        spatial_dims=len(setting.size), qkv_bias=True,
    )  # fmt: skip


def loss_of(network: nn.Module, setting: Setting) -> Callable[[Any, Tensor], Tensor]:
    """(output of the network, image) -> loss."""
    if isinstance(network, MaskedAutoencoder):
        ours = ReconstructionLoss()
        return lambda output, image: ours(output)
    peer = PeerLoss([setting.patch] * len(setting.size))
    return lambda output, image: peer(*output, image)


def make_step(program: str, setting: Setting, args: argparse.Namespace, device: torch.device) -> Step:
    """A training step of one program, with its network, its optimiser and a fixed batch."""
    predict_ratio = args.predict_ratio if program == "ours_predict" else 1.0
    network = (build_peer(setting) if program == "monai" else build_ours(setting, predict_ratio)).to(device).train()
    dtype = (args.peer_dtype or args.dtype) if program == "monai" else args.dtype
    if program == "monai" and dtype == "bf16":
        # Under autocast MONAI's forward writes bfloat16 tokens into a float32 tensor and stops; this is the least cure.
        network.decoder_embed.register_forward_hook(lambda module, inputs, output: output.float())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.05, fused=args.optimizer == "fused")
    loss = loss_of(network, setting)
    run = torch.compile(network) if args.compile else network
    image = torch.rand(batch_of(setting, args, device), setting.channels, *setting.size, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16) if dtype == "bf16" else nullcontext():
            output = run(image)
        loss(output, image).backward()
        optimizer.step()

    return step


def batch_of(setting: Setting, args: argparse.Namespace, device: torch.device) -> int:
    """Images of one step."""
    return args.batch or (setting.batch if device.type == "cpu" else setting.batch_gpu)


@torch.no_grad()
def loss_difference(setting: Setting) -> float:
    """Relative difference of the two losses with equal weights and equal masks, in float32 on the CPU."""
    peer, ours = build_peer(setting).eval(), build_ours(setting).eval()
    ours.load_state_dict(common.mae_state(peer.state_dict()))
    image = torch.rand(1, setting.channels, *setting.size)
    noise = torch.rand(1, ours.decoder_position_embeddings.shape[1])
    visible, _ = ours.split(image, noise)
    with mock.patch("torch.multinomial", return_value=visible):  # how MONAI draws its visible patches
        theirs = loss_of(peer, setting)(peer(image), image)
    return abs(loss_of(ours, setting)(ours(image, noise), image) / theirs - 1).item()


def count_flops(setting: Setting, batch: int) -> int:
    """Floating-point operations of our forward and backward pass: 2 for each multiply-add of a matrix product."""
    with torch.device("meta"):
        network = build_ours(setting)
        image = torch.empty(batch, setting.channels, *setting.size)
    # The counter does not know the CPU's fused attention; written out, its two products are counted as such.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        ReconstructionLoss()(network(image)).backward()
    return counter.get_total_flops()


def matrix_product(args: argparse.Namespace, device: torch.device) -> tuple[Step, int]:
    """A large square matrix product in the dtype of the step, and its floating-point operations."""
    size = 256 if args.quick else 2048 if device.type == "cpu" else 8192
    left, right = (
        torch.randn(size, size, device=device, dtype=torch.bfloat16 if args.dtype == "bf16" else torch.float32)
        for _ in range(2)
    )
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out), 2 * size**3


def measure(setting: Setting, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Everything about one setting."""
    programs = ["ours", "monai"] + ["ours_predict"] * (args.predict_ratio is not None)
    batch = batch_of(setting, args, device)
    difference = loss_difference(setting)
    memory = {program: memory_of(program, setting, args, device) for program in programs}
    product, product_flops = matrix_product(args, device)
    steps: dict[str, Step] = {program: make_step(program, setting, args, device) for program in programs}
    times = common.interleave({**steps, "product": product}, args.repeats, device, warmup=2)
    waits = count_waits(steps["ours"]) if device.type == "cuda" else None
    flops = count_flops(setting, batch)
    product_rate = product_flops / min(times["product"])
    return {
        "setting": setting.name,
        "batch": batch,
        "size": list(setting.size),
        "mask_ratio": setting.mask_ratio,
        "step_seconds": {program: statistics.median(times[program]) for program in programs},
        "step_seconds_fastest": {program: min(times[program]) for program in programs},
        "crops_per_second": {program: batch / statistics.median(times[program]) for program in programs},
        "time_ratio": {
            program: common.ratio(times["monai"], times[program]) for program in programs if program != "monai"
        },
        "peak_memory_bytes": memory,
        "memory_ratio": {name: memory["monai"] / memory[name] for name in programs if name != "monai"},
        "step_flops": flops,
        "product_flops_per_second": product_rate,
        "product_share": flops / min(times["ours"]) / product_rate,
        "loss_difference": difference,
        "host_device_waits": waits,
    }


def count_waits(step: Step) -> int:
    """How often the host waits for the GPU in a step, by PyTorch's own warnings."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def memory_of(program: str, setting: Setting, args: argparse.Namespace, device: torch.device) -> int:
    """Peak memory of one program, in bytes."""
    make = partial(make_step, program, setting, args, device)
    options = ["--optimizer", args.optimizer]
    options += ["--predict_ratio", str(args.predict_ratio)] if args.predict_ratio else []
    return common.memory_of_step(__file__, program, setting.name, make, args, options)


def show(rows: list[dict[str, Any]]) -> str:
    """The table: one line for each setting and program of ours."""
    lines = []
    for row in rows:
        for name, value in row["time_ratio"].items():
            lines.append([
                row["setting"] + ("" if name == "ours" else " (fewer predicted)"),
                str(row["batch"]),
                f"{row['step_seconds'][name]:.3f} s",
                f"{row['step_seconds']['monai']:.3f} s",
                common.spread(value),
                common.megabytes(row["peak_memory_bytes"][name]),
                common.megabytes(row["peak_memory_bytes"]["monai"]),
                f"{row['memory_ratio'][name]:.2f}x",
                f"{row['product_share']:.0%}" if name == "ours" else "",
            ])  # fmt: skip
    columns = ["setting", "batch", "ours", "MONAI", "MONAI / ours", "memory ours", "memory MONAI", "MONAI / ours"]
    return common.table([*columns, "share of matmul"], lines)


def main() -> None:
    options = common.step_parser(__doc__, 7, [setting.name for setting in SETTINGS])
    options.add_argument("--optimizer", default="fused", choices=["fused", "default"], help="AdamW's form, for both")
    options.add_argument("--predict_ratio", type=float, help="also time ours with this share of hidden patches decoded")
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
        f"ours {args.dtype}, MONAI {args.peer_dtype or args.dtype}, AdamW ({args.optimizer}), "
        f"torch.compile {'on' if args.compile else 'off'}",
        common.MEMORY_NOTE[device.type],
        "losses with equal weights and masks differ by at most "
        f"{max(row['loss_difference'] for row in rows):.0e} (relative)",
        "at 2d_0.125 MONAI hides 25 of 196 patches and we 24, as each rounds",
    ]
    if any(row["host_device_waits"] is not None for row in rows):
        notes.append(f"waits of the host for the GPU in a step: {max(row['host_device_waits'] for row in rows)}")
    if (args.peer_dtype or args.dtype) == "bf16":
        notes.append("MONAI's network stops under autocast; here a hook casts its decoder's input back to float32")
    common.finish("pretrain_step", args, rows, show(rows), notes)


if __name__ == "__main__":
    main()
