"""From the network's grid to a label map on the grid of a CT file: ours beside MONAI's `Invertd` and argmax.

Both get the same logits of 14 classes at 1.5 x 1.5 x 2 mm: smooth blobs in the middle of a body, background elsewhere.
Memory is the peak above what stood before the call, in a process of its own, a voxel of the file.

    python benchmarks/way_back.py                     # 512 x 512 x 300
    python benchmarks/way_back.py --depth 800
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import finish, interleave, memory_alone, parser, peak_memory, prepare, ratio, spread, table
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, Invertd, Orientationd, Spacingd
from torch import Tensor
from torch.nn import functional

from custom_components.transforms.native import NativeArgmaxd

CLASSES = 14


def item(size: int, depth: int) -> tuple[dict[str, Any], Compose]:
    """A CT of 0.8 x 0.8 x 1 mm after the preprocessing, with logits beside it, and the preprocessing."""
    affine = torch.diag(torch.tensor([-0.8, -0.8, 1.0, 1.0], dtype=torch.float64))
    ramp = torch.arange(depth, dtype=torch.float32)[None, None] / depth
    voxels = ((torch.arange(size) - size / 2) ** 2 / (0.4 * size) ** 2 < 1).float()
    image = (voxels[:, None, None] * voxels[None, :, None] * (1 + ramp))[None]
    meta = {"original_affine": affine, "spatial_shape": list(image.shape[1:])}
    steps = Compose(
        [
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(1.5, 1.5, 2.0), mode="bilinear"),
            CropForegroundd("image", source_key="image", allow_smaller=True),
        ]
    )
    made = steps({"image": MetaTensor(image, affine=affine, meta=meta)})
    shape = tuple(made["image"].shape[1:])
    coarse = torch.randn(1, CLASSES, *(max(length // 12, 2) for length in shape))
    coarse[:, 0] += 1.5
    made["pred"] = functional.interpolate(coarse, shape, mode="trilinear", align_corners=False)[0] * 4
    return made, steps


def calls(made: dict[str, Any], steps: Compose) -> dict[str, Callable[[], Tensor]]:
    """Logits to a label map, by either."""
    back = Invertd("channel", transform=steps, orig_keys="image", nearest_interp=False)

    def monai() -> Tensor:
        data = {"channel": MetaTensor(made["pred"].softmax(dim=0)), "image": made["image"]}
        return back(data)["channel"].argmax(dim=0, keepdim=True)

    return {"ours": lambda: NativeArgmaxd("pred")(made)["pred"], "MONAI": monai}


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--size", type=int, help="voxels across (512)")
    options.add_argument("--depth", type=int, help="slices (300)")
    options.add_argument("--memory_of", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.size, args.depth = args.size or (64 if args.quick else 512), args.depth or (40 if args.quick else 300)
    device = prepare(args)
    both = calls(*item(args.size, args.depth))
    if args.memory_of:
        print(peak_memory(both[args.memory_of], device))
        return
    given = ["--size", str(args.size), "--depth", str(args.depth), "--threads", str(args.threads)]
    voxels = args.size**2 * args.depth
    bytes_a_voxel = {name: memory_alone(__file__, name, *given) / voxels for name in both}
    same = (both["ours"]() == both["MONAI"]()).float().mean().item()
    times = interleave(both, args.repeats, device)
    row = {"bytes_a_voxel": bytes_a_voxel, "ratio": ratio(times["MONAI"], times["ours"]), "equal": same, "times": times}
    shown = [f"{args.size}^2 x {args.depth}", *(f"{bytes_a_voxel[name]:.1f}" for name in ("ours", "MONAI"))]
    columns = ["file", "ours, bytes a voxel", "MONAI, bytes a voxel", "time, MONAI / ours", "equal labels"]
    text = table(columns, [[*shown, spread(row["ratio"]), f"{100 * same:.3f} %"]])
    finish("way_back", args, [row], text, [f"{CLASSES} classes; MONAI: all classes through Invertd, then argmax"])


if __name__ == "__main__":
    main()
