"""One forward pass of each network in other forms: memory format, `torch.compile`, bf16; beside the network as it is.

UNETR with a ViT-B encoder at 96^3 and the ViT-B classifier at 224. All forms have equal weights and run in turns in one
process; what their outputs differ by is told. A form that takes less time than one is worth having.

    python benchmarks/forms.py
    python benchmarks/forms.py --forms channels_last bf16 --device cuda
"""

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import torch
from common import RATIO_NOTE, finish, interleave, parser, prepare, ratio, spread, table
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.unetr import UNETR
from custom_components.networks.vit import ViT
from torch import Tensor, nn

FORMS = ("channels_last", "compile", "bf16")


def build(name: str, quick: bool) -> tuple[nn.Module, Tensor]:
    """A network and an input for it."""
    torch.manual_seed(0)
    width, mlp, heads, features = (48, 96, 2, 4) if quick else (768, 3072, 12, 16)
    if name == "unetr_96":
        side = 32 if quick else 96
        encoder = ViT(1, [side] * 3, 16, width, mlp, 12, heads, class_token=False)
        return UNETR(encoder, 14, feature_size=features), torch.rand(1, 1, side, side, side)
    side = 64 if quick else 224
    encoder = ViT(3, [side] * 2, 16, width, mlp, 12, heads, spatial_dims=2)
    return ViTClassifier(encoder, 14), torch.rand(4, 3, side, side)


def in_form(form: str, network: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    """A call of a copy of the network in that form; "as it is" is one, too."""
    network = copy.deepcopy(network)
    if form == "channels_last":
        layout = torch.channels_last_3d if image.ndim == 5 else torch.channels_last
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
        image = image.to(memory_format=layout)
    run = torch.compile(network) if form == "compile" else network

    @torch.no_grad()
    def call() -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=form == "bf16"):
            return run(image)

    return call


def measure(name: str, args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """A row for each form of one network."""
    network, image = build(name, args.quick)
    network, image = network.to(device).eval(), image.to(device)
    calls = {form: in_form(form, network, image) for form in ("as it is", *args.forms)}
    expected = calls["as it is"]().float()
    scale = expected.abs().max()
    apart = {form: ((call().float() - expected).abs().max() / scale).item() for form, call in calls.items()}
    times = interleave(calls, args.repeats, device)
    return [
        {
            "network": name,
            "form": form,
            "seconds": statistics.median(times[form]),
            "time_ratio": ratio(times["as it is"], times[form]),
            "relative_difference": apart[form],
        }
        for form in args.forms
    ]


def main() -> None:
    options = parser(__doc__, repeats=5)
    options.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    args = options.parse_args()
    device = prepare(args)
    rows = [row for name in ("unetr_96", "vit_224") for row in measure(name, args, device)]
    lines = [
        [
            row["network"],
            row["form"],
            f"{row['seconds']:.3f} s",
            spread(row["time_ratio"]),
            f"{row['relative_difference']:.1e}",
        ]
        for row in rows
    ]
    text = table(["network", "form", "seconds", "as it is / form", "outputs apart"], lines)
    finish("forms", args, rows, text, [f"forward passes, {args.repeats} of each in turns; {RATIO_NOTE}"])


if __name__ == "__main__":
    main()
