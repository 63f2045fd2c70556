"""What a classifier loses and saves by looking at fewer patches: accuracy, operations, time, memory over keep ratios.

    python benchmarks/efficiency.py --config_file bundles/medcls_msmae/configs/evaluate.yaml --threads 1 \\
        --dataset_dir /data/skin --datalist /data/skin.json --model_dir bundles/medcls_msmae/models
    python benchmarks/efficiency.py ... --mae_dir <folder of model.pt of plain MAE>
    python benchmarks/efficiency.py --config_file .../evaluate.yaml .../demo.yaml --set img_size=64 num_layers=5 ...

The network is that of the evaluation (`TokenClassifier`), with one set of weights throughout; beside it stand a
network fine-tuned from plain MAE on all patches, and MONAI's `ViT` of the same sizes and weights. Nothing is left out:
the choice of the patches is part of what is counted and timed. Memory is the most that the tensors of a forward pass
take at a time, besides weights and images, whatever the device. Operations are those of PyTorch's FlopCounterMode for
one image, a multiplication and an addition as two. The fused attention of a CPU is unknown to that counter and would
count as none, so attention is taken apart into its two products while counting.
"""

import argparse
import io
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from bundle_runtime.files import write_atomically
from bundle_runtime.scores.intervals import bootstrap_interval
from common import finish, interleave, parser, prepare, table
from custom_components.networks.token_classifier import MAP_SOURCES, TokenClassifier
from custom_components.networks.vit import ViT
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from monai.networks.nets import ViT as MonaiViT
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

ALL = {"eval_tokens": "all"}


def operations(network: nn.Module, image: Tensor) -> int:
    """Floating-point operations of one forward pass; the attention products are counted on any device."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make while they live; `peak` is the most at a time."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._live: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, then count what it made and what has gone."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._known:
                self._live[StorageWeakRef(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
        self._live = {storage: size for storage, size in self._live.items() if not storage.expired()}
        self.peak = max(self.peak, sum(self._live.values()))
        return made


def memory(network: nn.Module, batch: Tensor) -> int:
    """The most bytes that the tensors of a forward pass take at a time, besides weights and images."""
    with torch.no_grad(), LiveTensors(batch, *network.parameters(), *network.buffers()) as live:
        network(batch)
    return live.peak


class Logits(nn.Module):
    """MONAI's `ViT` with the weights of one of ours that sees all patches; the logits alone."""

    def __init__(self, ours: TokenClassifier, batch: Tensor) -> None:
        super().__init__()
        vit, head = ours.vit, ours.head
        self.vit = MonaiViT(
            vit.in_channels, vit.img_size, vit.patch_size, vit.hidden_size, vit.mlp_dim, vit.num_layers, vit.num_heads,
            classification=True, num_classes=head.out_features, post_activation="", spatial_dims=2, qkv_bias=True,
        ).to(batch.device)  # fmt: skip
        for module in self.vit.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = vit.norm_eps  # MONAI's is 1e-5
        state = dict(vit.state_dict())
        state |= {f"classification_head.{name}": value for name, value in head.state_dict().items()}
        lost = self.vit.load_state_dict(state, strict=False)
        missing = [name for name in lost.missing_keys if "cross_attn" not in name]  # registered there, never used
        if missing or lost.unexpected_keys:
            raise SystemExit(f"MONAI's ViT does not fit: {missing} are missing, {lost.unexpected_keys} left over.")
        self.eval()
        ours.set_tokens(**ALL)
        with torch.no_grad():
            torch.testing.assert_close(self(batch), ours(batch), atol=1e-3, rtol=1e-3)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, (B, K)."""
        return self.vit(image)[0]


def settings_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All tokens, and every way to keep some that the command line asks for."""
    found: list[dict[str, Any]] = [ALL]
    for source in args.map_sources:
        blocks = args.select_blocks if source == "early_block" else args.select_blocks[:1]
        for block in blocks:
            for keep in args.keep:
                for ratio in args.ratios:
                    found.append(
                        {
                            "eval_tokens": "kept",
                            "map_source": source,
                            "select_block": block,
                            "keep": keep,
                            "keep_ratio": ratio,
                        }
                    )
    return found


def load(
    args: argparse.Namespace, device: torch.device, model_dir: Path | None
) -> tuple[TokenClassifier, list[Tensor], Tensor, list[str]]:
    """The trained network, the prepared images in batches, their classes and their patients."""
    if args.quick:
        torch.manual_seed(0)
        network = TokenClassifier(ViT(3, 32, 4, 32, 64, 4, 2, spatial_dims=2, pos_embed_type="sincos"), 3)
        return network.eval(), [torch.rand(8, 3, 32, 32) for _ in range(2)], torch.arange(16) % 3, list("abcdefgh") * 2
    config = ConfigParser()
    config.read_config(args.config_file)
    given = {
        "dataset_dir": args.dataset_dir,
        "datalist": args.datalist,
        "model_dir": model_dir,
        "section": args.section,
    }
    given |= {"cache": args.cache, "num_workers": 0, "device": f"$torch.device('{device}')"}
    for key, value in given.items():
        config[key] = str(value) if isinstance(value, Path) else value
    for entry in args.set:
        key, _, value = entry.partition("=")
        config[key] = yaml.safe_load(value)
    network = config.get_parsed_content("scored_network").eval()
    dataset, pipeline = config.get_parsed_content("dataset"), config.get_parsed_content("preprocessing")
    if dataset.labels is None or dataset.labels.ndim != 1:
        raise SystemExit("The benchmark needs a datalist with one class an image (task multi_class).")
    batches = [
        pipeline(dataset.cache.rows(list(range(start, min(start + args.batch_size, len(dataset))))).to(device))
        for start in range(0, len(dataset), args.batch_size)
    ]
    patients = [str(item.get("patient_id") or item["file"]) for item in dataset.data]
    return network, batches, torch.from_numpy(dataset.labels), patients


@torch.no_grad()
def right(network: nn.Module, batches: list[Tensor], labels: Tensor) -> np.ndarray:
    """Whether each image is called right, (N,) of 1 and 0."""
    torch.manual_seed(0)  # for keep: sample
    called = torch.cat([network(batch).argmax(dim=1).cpu() for batch in batches])
    return (called == labels).double().numpy()


class Forward:
    """One forward pass of a batch with some setting, to be timed."""

    def __init__(self, network: nn.Module, setting: dict[str, Any] | None, batch: Tensor) -> None:
        self.network, self.setting, self.batch = network, setting, batch

    @torch.no_grad()
    def __call__(self) -> Tensor:
        if self.setting is not None:
            self.network.set_tokens(**self.setting)
        return self.network(self.batch)


def measure(args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """One row a setting; the first is that of all tokens."""
    network, batches, labels, patients = load(args, device, args.model_dir)
    settings = settings_of(args)
    calls: dict[str, Callable[[], Tensor]] = {
        str(number): Forward(network, setting, batches[0]) for number, setting in enumerate(settings)
    }
    plain = load(args, device, args.mae_dir or args.model_dir)[0]
    yardsticks = {"MONAI ViT": Logits(plain, batches[0])} | ({"MAE": plain} if args.mae_dir or args.quick else {})
    calls |= {name: Forward(other, None, batches[0]) for name, other in yardsticks.items()}
    times = interleave(calls, args.repeats, device)
    rows: list[dict[str, Any]] = []
    asked = [(str(number), network, setting) for number, setting in enumerate(settings)]
    asked += [(name, other, {"eval_tokens": name}) for name, other in yardsticks.items()]
    for number, measured, setting in asked:
        if measured is network:
            network.set_tokens(**setting)
        hit = right(measured, batches, labels)
        if not rows:
            reference = hit
        low, high = bootstrap_interval(hit - reference, groups=patients) if rows else (0.0, 0.0)
        seconds = times[number]
        flops = operations(measured, batches[0][:1])
        rows.append({
            **setting, "tokens": network.kept if setting["eval_tokens"] == "kept" else network.patches,
            "images": len(hit),
            "accuracy": float(hit.mean()),
            "difference": {"mean": float((hit - reference).mean()), "low": low, "high": high},
            "flops": flops, "flops_share": flops / rows[0]["flops"] if rows else 1.0,
            "milliseconds": 1000 * statistics.median(seconds) / len(batches[0]),
            "memory": memory(measured, batches[0]) / len(batches[0]),
            # In each round all settings meet the same load of the machine.
            "time_share": statistics.median(own / whole for own, whole in zip(seconds, times["0"], strict=True)),
        })  # fmt: skip
    return rows


def name_of(row: dict[str, Any]) -> str:
    """What a curve is called."""
    if row["eval_tokens"] != "kept":
        return {"all": "all patches", "MAE": "MAE, all patches"}.get(row["eval_tokens"], row["eval_tokens"])
    where = f"block {row['select_block']}" if row["map_source"] == "early_block" else "low resolution"
    return f"{where}, {row['keep']}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Keep ratio against accuracy, operations, time and memory, with what sees all patches as lines; as PNG."""
    figure = Figure(figsize=(14, 3.6), dpi=110, layout="constrained")
    panels = figure.subplots(1, 4)
    labels = {
        "accuracy": ("accuracy", 1.0),
        "flops": ("GFLOP an image", 1e9),
        "milliseconds": ("milliseconds an image", 1.0),
        "memory": ("MB of activations an image", 1e6),
    }
    curves: dict[str, list[dict[str, Any]]] = {}
    whole = [row for row in rows if row["eval_tokens"] != "kept"]
    for row in rows:
        if row["eval_tokens"] != "kept":
            continue
        curves.setdefault(name_of(row), []).append(row)
    for panel, (key, (label, unit)) in zip(panels, labels.items(), strict=True):
        for row, colour, style in zip(whole, ("#8a93a3", "#000000", "#b0413e"), ("--", ":", "-."), strict=False):
            panel.axhline(row[key] / unit, color=colour, linestyle=style, linewidth=1.2, label=name_of(row))
        for name, curve in curves.items():
            points = sorted((row["keep_ratio"], row[key] / unit) for row in curve)
            panel.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.3, label=name)
        panel.set(xlabel="share of patches kept", ylabel=label)
        panel.grid(alpha=0.2)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8)
    for panel in panels[1:]:
        panel.set_ylim(bottom=0)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    write_atomically(path, stream.getvalue())


def cells(row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    difference = "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**row["difference"])
    ratio = f"{row['keep_ratio']:g}" if row["eval_tokens"] == "kept" else "1"
    return [
        name_of(row), ratio, str(row["tokens"]), f"{row['accuracy']:.3f}",
        "-" if row["eval_tokens"] == "all" else difference,
        f"{row['flops'] / 1e9:.3f}", f"{row['flops_share']:.2f}", f"{row['milliseconds']:.2f}",
        f"{row['time_share']:.2f}", f"{row['memory'] / 1e6:.2f}",
    ]  # fmt: skip


def main() -> None:
    options = parser(__doc__, repeats=9)
    options.add_argument("--config_file", nargs="+", default=["bundles/medcls_msmae/configs/evaluate.yaml"])
    options.add_argument("--dataset_dir", type=Path)
    options.add_argument("--datalist", type=Path)
    options.add_argument("--section", default="test")
    options.add_argument("--model_dir", type=Path, help="folder of model.pt")
    options.add_argument("--mae_dir", type=Path, help="folder of model.pt of plain MAE, of the same sizes")
    options.add_argument("--cache", type=Path, default=Path("efficiency_cache"), help="folder of the prepared images")
    options.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of the config")
    options.add_argument("--batch_size", type=int, default=32)
    options.add_argument("--ratios", nargs="+", type=float, default=[0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
    options.add_argument("--keep", nargs="+", default=["high", "low"])
    options.add_argument("--map_sources", nargs="+", default=list(MAP_SOURCES), choices=MAP_SOURCES)
    options.add_argument("--select_blocks", nargs="+", type=int, default=[1, 2])
    args = options.parse_args()
    if not args.quick and None in (args.dataset_dir, args.datalist, args.model_dir):
        options.error("--dataset_dir, --datalist and --model_dir are needed (or --quick)")
    device = prepare(args)
    rows = measure(args, device)
    columns = [
        "choice",
        "kept",
        "patches",
        "accuracy",
        "difference",
        "GFLOP",
        "share",
        "ms an image",
        "share of time",
        "MB",
    ]
    text = table(columns, [cells(row) for row in rows])
    margin = 100 * math.sqrt(0.25 / rows[0]["images"])
    notes = [
        f"{rows[0]['images']} images, one set of weights (MAE: its own; MONAI: those of MAE, or else ours); a standard "
        f"error of accuracy is up to {margin:.1f} points",
        "difference: kept minus all patches on the same images, bootstrap 95 % interval over patients",
        "operations, time and memory include the choice of the patches; shares are of all patches, times by turns",
        "memory: the most that tensors of the forward pass take at a time, an image, without weights and images",
    ]
    for name in ("dataset_dir", "datalist", "model_dir", "mae_dir", "cache"):  # published: no paths
        setattr(args, name, getattr(args, name).name if getattr(args, name) is not None else None)
    args.config_file = [Path(file).name for file in args.config_file]
    path = finish("efficiency", args, rows, text, notes)
    draw(rows, path.with_suffix(".png"))
    lines = "\n".join(f"- {note}" for note in notes)
    write_atomically(path.with_suffix(".md"), f"# Fewer patches\n\n![curve]({path.stem}.png)\n\n{text}\n\n{lines}\n")


if __name__ == "__main__":
    main()
