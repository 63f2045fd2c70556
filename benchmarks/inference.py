"""A CT from its file to a label map on its own grid: ours against stock MONAI, with equal weights.

Ours is bundles/btcv_unetr_mae/configs/inference.yaml: its preprocessing, its windows (amp auto, no empty windows) and
its way back. Stock is MONAI's transforms, `UNETR`, `SlidingWindowInferer` and `Invertd` of the softmax, then argmax, in
float32, with the same windows, overlap and blending. The three parts run in turns in one process; memory is that of the
whole way, above the weights, in a process of its own.

    python benchmarks/inference.py                                     # 512 x 512 x 300 at 0.8 x 0.8 x 1 mm
    python benchmarks/inference.py --size 512 512 800 --parts back --only_memory ours   # of smooth logits, untimed
    python benchmarks/inference.py --device cuda --repeats 5
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
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
from custom_components.networks.unetr import UNETR
from custom_components.networks.vit import ViT
from loader import draw_volume
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNETR as MonaiUNETR
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from torch import Tensor, nn
from torch.nn import functional

CONFIG = Path(__file__).parents[1] / "bundles" / "btcv_unetr_mae" / "configs" / "inference.yaml"
PARTS = ("read", "windows", "back")
VOXEL = (0.8, 0.8, 1.0)  # mm, of the file


class Program:
    """One program: its parts share what the one before has made."""

    def __init__(self, name: str, path: Path, args: argparse.Namespace, device: torch.device) -> None:
        self.path, self.args, self.device = path, args, device
        self.classes = len(read_config(args).get_parsed_content("classes"))
        self.network: nn.Module | None = None
        self.data: dict[str, Any] = {}
        self.steps, self.inferer, self.way_back = {"ours": ours, "stock": stock}[name](args)
        if "windows" in args.parts:
            self.network = build(name, self.classes, args).to(device).eval()

    def read(self) -> None:
        """The file -> what the network sees."""
        self.data = dict(self.steps({"image": str(self.path)}))

    @torch.no_grad()
    def windows(self) -> None:
        """The image -> logits on the network's grid."""
        if self.network is None:  # only the way back is asked for
            self.data["pred"] = smooth_logits(self.classes, tuple(self.data["image"].shape[1:]))
        else:
            self.data["pred"] = self.inferer(self.data["image"][None].to(self.device), self.network)[0]

    def back(self) -> Tensor:
        """Logits -> labels (1, X, Y, Z) on the grid of the file."""
        return self.way_back(dict(self.data))

    def whole(self) -> Tensor:
        """All of it."""
        self.read()
        self.windows()
        return self.back()


def read_config(args: argparse.Namespace) -> ConfigParser:
    """inference.yaml for a network without a file of weights."""
    config = ConfigParser()
    config.read_config(str(CONFIG))
    config.update(
        {
            "bundle_root": str(CONFIG.parents[1]),
            "record": None,
            "pictures": 0,
            "shared": None,
            "roi_size": [args.roi] * 3,
            "overlap": args.overlap,
        }
    )
    config.update({"sw_batch_size": args.sw_batch})
    return config


def ours(args: argparse.Namespace) -> tuple[Any, ...]:
    """Preprocessing, inferer and way back of our config."""
    config = read_config(args)
    back = config.get_parsed_content("postprocessing#transforms#0")
    return (
        config.get_parsed_content("preprocessing"),
        config.get_parsed_content("inferer"),
        lambda data: back(data)["pred"],
    )


def stock(args: argparse.Namespace) -> tuple[Any, ...]:
    """The same of MONAI alone."""
    config = read_config(args)
    low, high = config["intensity_range"]
    steps = Compose(
        [
            LoadImaged("image", dtype=np.float32),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=config["spacing"], mode="bilinear"),
            ScaleIntensityRanged("image", low, high, 0, 1, clip=True),
            CropForegroundd("image", source_key="image", allow_smaller=True),
        ]
    )
    inferer = SlidingWindowInferer([args.roi] * 3, args.sw_batch, args.overlap, mode="gaussian")
    invert = Invertd("probabilities", transform=steps, orig_keys="image", nearest_interp=False)

    def back(data: dict[str, Any]) -> Tensor:
        made = invert({"probabilities": MetaTensor(data["pred"].softmax(dim=0)), "image": data["image"]})
        return made["probabilities"].argmax(dim=0, keepdim=True)

    return steps, inferer, back


def build(name: str, classes: int, args: argparse.Namespace) -> nn.Module:
    """UNETR at the sizes of the paper with equal weights; ours without a class token and with MONAI's epsilon."""
    width, mlp, heads, features = (48, 96, 2, 4) if args.quick else (768, 3072, 12, 16)
    torch.manual_seed(0)
    peer = MonaiUNETR(1, classes, args.roi, features, width, mlp, heads, qkv_bias=True)
    if name == "stock":
        return peer
    encoder = ViT(1, args.roi, 16, width, mlp, 12, heads, class_token=False, norm_eps=1e-5)
    network = UNETR(encoder, classes, feature_size=features)
    network.load_state_dict(unetr_state(peer.state_dict()))
    return network


def smooth_logits(classes: int, shape: tuple[int, ...]) -> Tensor:
    """Blobs of all classes in much background, (K, *S): labels as a trained network gives them."""
    coarse = torch.randn(
        1, classes, *(max(length // 12, 2) for length in shape), generator=torch.Generator().manual_seed(0)
    )
    coarse[:, 0] += 1.5
    return functional.interpolate(coarse, shape, mode="trilinear", align_corners=False)[0] * 4


def measure(path: Path, args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """A row for each part and one for the whole."""
    both = {name: Program(name, path, args, device) for name in ("ours", "stock")}
    labels = {name: program.whole() for name, program in both.items()}
    same = (labels["ours"].cpu() == labels["stock"].cpu()).float().mean().item()
    times: dict[str, dict[str, list[float]]] = {}
    for part in [part for part in PARTS if part in args.parts]:
        calls: dict[str, Callable[[], object]] = {name: getattr(both[name], part) for name in both}
        times[part] = interleave(calls, args.repeats, device, warmup=0)
    if len(times) > 1:
        rounds = range(args.repeats)
        times["whole"] = {
            name: [sum(times[part][name][turn] for part in args.parts) for turn in rounds] for name in both
        }
    del both, labels
    memory = {name: memory_of(name, path, args, device) for name in ("ours", "stock")}
    voxels = int(np.prod(args.size))
    return [
        {
            "part": part,
            "seconds": {name: statistics.median(taken[name]) for name in taken},
            "time_ratio": ratio(taken["stock"], taken["ours"]),
            "peak_memory_bytes": memory,
            "bytes_a_voxel_of_the_file": {name: memory[name] / voxels for name in memory},
            "memory_ratio": memory["stock"] / memory["ours"],
            "equal_labels": same,
        }
        for part, taken in times.items()
    ]


def measure_memory(path: Path, args: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """One row, without times: for sizes at which one program, or a comparison, takes too long."""
    memory = {name: memory_of(name, path, args, device) for name in args.only_memory}
    voxels = int(np.prod(args.size))
    each = {name: size / voxels for name, size in memory.items()}
    return [{"part": " and ".join(args.parts), "peak_memory_bytes": memory, "bytes_a_voxel_of_the_file": each}]


def memory_of(name: str, path: Path, args: argparse.Namespace, device: torch.device) -> int:
    """Peak bytes of the parts that are asked for; on the CPU in a process of its own."""
    given = ["--file", str(path), "--roi", str(args.roi), "--overlap", str(args.overlap), "--parts", *args.parts]
    given += ["--sw_batch", str(args.sw_batch), "--threads", str(args.threads), *(["--quick"] if args.quick else [])]
    return memory_here(name, path, args, device) if device.type == "cuda" else memory_alone(__file__, name, *given)


def memory_here(name: str, path: Path, args: argparse.Namespace, device: torch.device) -> int:
    """The same in this process. What only serves the parts asked for, as the image for the way back, is made before."""
    program = Program(name, path, args, device)
    if "windows" in args.parts:
        return peak_memory(program.whole, device)
    program.read()
    program.windows()
    return peak_memory(program.back, device)


def show_memory(row: dict[str, Any]) -> str:
    """The table of a run without times: one line for each program."""
    sizes, each = row["peak_memory_bytes"], row["bytes_a_voxel_of_the_file"]
    rows = [[name, megabytes(sizes[name]), f"{each[name]:.1f} bytes"] for name in sizes]
    return table(["", "memory", "a voxel"], rows)


def show(rows: list[dict[str, Any]]) -> str:
    """The table: one line for each part."""
    lines = [
        [
            row["part"],
            f"{row['seconds']['ours']:.2f} s",
            f"{row['seconds']['stock']:.2f} s",
            spread(row["time_ratio"]),
            *([megabytes(row["peak_memory_bytes"][name]) for name in ("ours", "stock")] if last else ["", ""]),
            f"{row['memory_ratio']:.2f}x" if last else "",
        ]
        for row, last in zip(rows, [row is rows[-1] for row in rows], strict=True)
    ]
    return table(["part", "ours", "stock", "stock / ours", "memory ours", "memory stock", "stock / ours"], lines)


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--size", nargs=3, type=int, help="voxels of the file (512 512 300)")
    options.add_argument("--roi", type=int, help="edge of a window (96)")
    options.add_argument("--overlap", type=float, default=0.5, help="of neighbouring windows (%(default)s)")
    options.add_argument("--sw_batch", type=int, default=4, help="windows at a time (%(default)s)")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="of the way (all)")
    options.add_argument("--file", type=Path, help="a CT of your own; default: drawn")
    options.add_argument("--only_memory", nargs="+", choices=["ours", "stock"], help="of these, and no times")
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.size = args.size or ([96, 96, 40] if args.quick else [512, 512, 300])
    args.roi = args.roi or (32 if args.quick else 96)
    device = prepare(args)
    if args.memory_of:
        print(memory_here(args.memory_of, args.file, args, device))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or Path(folder) / "ct.nii"
        if args.file is None:
            image, _ = draw_volume(tuple(args.size), 14, np.random.default_rng(0))
            nib.save(nib.Nifti1Image(image.astype(np.int16), np.diag([*VOXEL, 1.0])), path)
        args.size = list(nib.load(path).shape)
        rows = (measure_memory if args.only_memory else measure)(path, args, device)
    args.file = args.file is not None  # the folder is nobody's business
    what = (
        f"file of {' x '.join(map(str, args.size))}, windows of {args.roi}^3, {args.sw_batch} at a time, overlap "
        f"{args.overlap}, Gaussian"
    )
    if args.only_memory:
        finish("inference", args, rows, show_memory(rows[0]), [what, MEMORY_NOTE[device.type]])
        return
    notes = [
        what,
        f"times: median of {args.repeats} passes in turns; {RATIO_NOTE}",
        f"{MEMORY_NOTE[device.type]}; a voxel of the file: ours "
        f"{rows[-1]['bytes_a_voxel_of_the_file']['ours']:.1f} bytes, stock "
        f"{rows[-1]['bytes_a_voxel_of_the_file']['stock']:.1f}",
        f"equal labels: {100 * rows[-1]['equal_labels']:.3f} % of the voxels",
    ]
    finish("inference", args, rows, show(rows), notes)


if __name__ == "__main__":
    main()
