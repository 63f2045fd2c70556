"""A bundle's network as PyTorch, TorchScript and ONNX (onnxruntime), beside each other on the CPU.

Exports come from MONAI's own commands (`ckpt_export`, `onnx_export`) with drawn weights; the batch of the ONNX file is
free. Outputs are compared with those of PyTorch for two batch sizes before anything is timed.

    python benchmarks/exported.py                                 # btcv_unetr_mae
    python benchmarks/exported.py --bundle bundles/cxr14_mae      # needs onnx, onnxscript and onnxruntime
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from common import finish, interleave, parser, prepare, ratio, spread, table
from monai.bundle import ConfigParser, ckpt_export, onnx_export

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-4  # of the largest output
# MONAI fixes the batch at one unless it is told which axes are free.
FREE_BATCH = {
    "input_names": ["image"],
    "output_names": ["pred"],
    "dynamic_axes": {"image": {0: "batch"}, "pred": {0: "batch"}},
}


def config_files(args: argparse.Namespace) -> list[str]:
    """The stage and, for a quick run, the demo's sizes."""
    configs = args.bundle / "configs"
    return [str(configs / "inference.yaml"), *([str(configs / "demo.yaml")] if args.quick else [])]


def build(args: argparse.Namespace) -> tuple[torch.nn.Module, list[int]]:
    """The network, and the shape of one image."""
    config = ConfigParser()
    config.read_config(config_files(args))
    config["bundle_root"] = str(args.bundle)
    network = config.get_parsed_content("network_def").eval()
    vit = network.vit if hasattr(network, "vit") else network.encoder
    return network, [vit.in_channels, *vit.img_size]


def export(args: argparse.Namespace, network: torch.nn.Module, shape: list[int], folder: Path) -> dict[str, Callable]:
    """Name -> what takes an array (B, C, *S) and gives an array."""
    weights = folder / "model.pt"
    torch.save(network.state_dict(), weights)
    given = {"config_file": config_files(args), "bundle_root": str(args.bundle), "ckpt_file": str(weights)}
    given |= {"meta_file": str(args.bundle / "configs" / "metadata.json"), "input_shape": [1, *shape]}
    ckpt_export("network_def", filepath=str(folder / "model.ts"), **given)
    onnx_export("network_def", filepath=str(folder / "model.onnx"), converter_kwargs=dict(FREE_BATCH), **given)
    script = torch.jit.load(folder / "model.ts").eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

    def torch_call(module: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
        def call(image: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return module(torch.from_numpy(image)).numpy()

        return call

    return {
        "PyTorch": torch_call(network),
        "TorchScript": torch_call(script),
        "onnxruntime": lambda image: session.run(["pred"], {"image": image})[0],
    }


def compare(programs: dict[str, Callable], shape: list[int], batch: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each program: how far it is from PyTorch, and its seconds."""
    image = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
    outputs = {name: program(image) for name, program in programs.items()}
    scale = np.abs(outputs["PyTorch"]).max()
    differences = {name: float(np.abs(made - outputs["PyTorch"]).max() / scale) for name, made in outputs.items()}
    if max(differences.values()) > TOLERANCE:
        raise SystemExit(f"The exports differ from PyTorch: {differences}")
    calls = {name: partial(program, image) for name, program in programs.items()}
    times = interleave(calls, repeats, torch.device("cpu"))
    return [
        {
            "program": name,
            "batch": batch,
            "seconds": min(seconds),
            "ratio": ratio(times["PyTorch"], seconds),
            "difference": differences[name],
        }
        for name, seconds in times.items()
    ]


def main() -> None:
    """Export, compare, time."""
    options = parser(__doc__, repeats=5)
    options.add_argument("--bundle", type=Path, default=ROOT / "bundles" / "btcv_unetr_mae")
    options.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="images at a time (%(default)s)")
    args = options.parse_args()
    prepare(args)
    network, shape = build(args)
    with tempfile.TemporaryDirectory() as folder:
        programs = export(args, network, shape, Path(folder))
        rows = [row for batch in args.batches for row in compare(programs, shape, batch, args.repeats)]
    args.bundle = args.bundle.name
    lines = [
        [row["program"], str(row["batch"]), f"{row['seconds']:.3f} s", spread(row["ratio"]), f"{row['difference']:.1e}"]
        for row in rows
    ]
    columns = ["program", "batch", "fastest call", "PyTorch / program", "largest difference"]
    notes = [
        f"{args.bundle}, drawn weights, one image is {' x '.join(map(str, shape))}",
        f"onnxruntime {onnxruntime.__version__} on the CPU",
        "ratio: median over rounds (quartiles; of the fastest calls), above 1 means faster than PyTorch",
        "difference: of the outputs from PyTorch's, relative to the largest of these",
    ]
    finish("exported", args, rows, table(columns, lines), notes)


if __name__ == "__main__":
    main()
