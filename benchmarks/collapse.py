"""Does SD-MAE's teacher tell images apart? Five forms of the loss on the same tiles, several seeds, a small network.

    python benchmarks/collapse.py --threads 1
    python benchmarks/collapse.py --datalist /data/tiles/datalist.json --threads 1

Without a datalist the images are eight kinds of texture, drawn here. The forms:

    released                 gradients through the teacher, centre on its probabilities (SD-MAE's released code)
    detached                 teacher detached, centre on its probabilities
    detached, logits         teacher detached, centre on its logits (the bundle's default)
    detached, logits, patch  the same, a target for each patch in place of one for the image
    MAE                      no distillation, at the same mask ratio
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from bundle_runtime.data.datalist import items, parse
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.engine.collapse import TeacherStatistics
from bundle_runtime.files import write_atomically
from bundle_runtime.probes.features import probe_scores
from common import RESULTS, finish, prepare, table
from custom_components.augment import CentreCrop, Normalise, Pipeline, RandomResizedCrop
from custom_components.losses.distillation import SelfDistillationLoss
from custom_components.networks.sd_mae import SelfDistillationMAE
from custom_components.networks.vit import ViT
from custom_components.seeding import mix_seed, uniform
from custom_components.training.optim import WarmupCosine, param_groups
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

FORMS: dict[str, dict[str, Any]] = {
    "released": {"teacher_grad": True, "centre_on": "probabilities"},
    "detached": {"centre_on": "probabilities"},
    "detached, logits": {},
    "detached, logits, patch": {"level": "patch"},
    "MAE": {"weight": 0.0},
}
COLUMNS = {
    "information": "MI (nats)", "entropy": "teacher entropy", "prototypes": "prototypes in use",
    "centre": "max centre", "reconstruction": "L_rec", "accuracy": "probe accuracy",
}  # fmt: skip
TEXTURES = 8
MARGIN = 1.15  # images are held so much larger than a crop


class Images(NamedTuple):
    """Training and validation images, (N, 3, H, W) uint8, with their classes, (N,)."""

    train: Tensor
    train_labels: NDArray[np.int64]
    val: Tensor
    val_labels: NDArray[np.int64]
    class_names: list[str]


def draw_textures(count: int, size: int, seed: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Eight kinds of wave pattern, four shapes in two periods, with random phase, contrast, noise and a slight tint.

    Periods divide a patch of 8 pixels, so that hidden patches can be told from visible ones.
    """
    rng = np.random.default_rng(mix_seed(seed))
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    pictures, labels = np.empty((count, 3, size, size), np.uint8), np.arange(count) % TEXTURES
    for row, kind in enumerate(labels):
        period = 8 if kind % 2 else 4
        across, down = (
            2 * np.pi * axis / period + shift for axis, shift in zip((x, y), rng.uniform(0, 2 * np.pi, 2), strict=True)
        )
        shapes = (np.sin(across), np.sin(down), np.sin(across) * np.sin(down), np.sin(across + down))
        picture = 0.5 + rng.uniform(-0.1, 0.1, (3, 1, 1)) + rng.uniform(0.15, 0.3) * shapes[kind // 2]
        picture = picture + rng.normal(0, 0.03, (3, size, size))
        pictures[row] = np.clip(255 * picture, 0, 255).astype(np.uint8)
    return torch.from_numpy(pictures), labels


def load(args: argparse.Namespace) -> Images:
    """The textures, or the training and validation lists of a datalist."""
    size = round(args.img_size * MARGIN)
    if args.datalist is None:
        train, val = (draw_textures(count, size, seed) for count, seed in ((args.images, 1), (args.images // 4, 2)))
        return Images(*train, *val, [f"texture {kind}" for kind in range(TEXTURES)])
    found = []
    for section, most in (("training", args.images), ("validation", args.images // 4)):
        listed = items(args.datalist, section, args.datalist.parent)
        chosen = np.linspace(0, len(listed) - 1, min(most, len(listed))).round().astype(int)
        with tempfile.TemporaryDirectory() as folder:
            cache = ImageCache([listed[row] for row in chosen], folder, Recipe(size, 3, equalise="none", fit="crop"))
            found += [cache.rows(range(len(cache))), np.array([item["label"] for item in cache.items], np.int64)]
    return Images(*found, parse(args.datalist)["class_names"])


class Training:
    """One form of the loss with one seed."""

    def __init__(self, form: str, seed: int, images: Images, args: argparse.Namespace, device: torch.device) -> None:
        torch.manual_seed(mix_seed(seed))
        options = dict(FORMS[form])
        level, weight = options.pop("level", "image"), options.pop("weight", args.weight)
        self.images, self.args, self.seed, self.device = images, args, seed, device
        encoder = ViT(
            3, args.img_size, args.patch_size, args.hidden_size, 4 * args.hidden_size, args.num_layers, 4,
            spatial_dims=2, class_token=False, pos_embed_type="sincos",
        )  # fmt: skip
        self.network = SelfDistillationMAE(
            encoder, decoder_size=args.hidden_size // 2, decoder_layers=2, decoder_heads=2,
            mask_ratio=0.6, norm_pix_per_channel=True, distil=weight > 0, level=level,
            teacher_grad=options.get("teacher_grad", False), prototypes=args.prototypes, projector_size=256,
            bottleneck=64,
        ).to(device)  # fmt: skip
        self.loss = SelfDistillationLoss(weight, prototypes=args.prototypes, **options).to(device)
        self.optimizer = torch.optim.AdamW(param_groups(self.network, args.learning_rate, 0.05, skip_decay=()))
        self.schedule = WarmupCosine(self.optimizer, args.steps // 20, args.steps)
        normalise = Normalise([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        self.augment = Pipeline([RandomResizedCrop(args.img_size, (args.crop_scale, 1.0)), normalise])
        self.prepare = Pipeline([CentreCrop(args.img_size), normalise])

    def run(self) -> list[dict[str, float]]:
        """Train; a row of numbers at each of the steps that are looked at."""
        rows, losses = [], []
        statistics_: TeacherStatistics | None = None
        looked_at = [max(round(share * self.args.steps), self.args.window) for share in (0.1, 0.25, 0.5, 1.0)]
        for step in range(1, self.args.steps + 1):
            if step + self.args.window - 1 in looked_at or (step == 1 and self.args.window in looked_at):
                statistics_, losses = TeacherStatistics(self.args.prototypes), []
                self.loss.observers[:] = [statistics_.add]
            losses.append(self.step(step))
            if statistics_ is not None:
                statistics_.end_batch()
            if step in looked_at:
                values = statistics_.result() if statistics_ is not None else {}
                row = {name.removeprefix("teacher_"): value for name, value in values.items()}
                if values:
                    row["centre"] = self.loss.centre.abs().max().item()
                rows.append({"step": step, **row, "reconstruction": torch.stack(losses).mean().item()})
                self.loss.observers.clear()
        rows[-1]["accuracy"] = self.probe()
        return rows

    def step(self, step: int) -> Tensor:
        """One update; returns the reconstruction error."""
        self.schedule.set(step - 1)
        count, batch = len(self.images.train), self.args.batch_size
        epoch, start = divmod((step - 1) * batch, count - batch + 1)
        order = np.random.default_rng(mix_seed(self.seed, epoch)).permutation(count)
        chosen = order[np.arange(start, start + batch) % count]
        random = torch.from_numpy(uniform(self.seed, np.full(batch, step), chosen, self.augment.draws))
        output = self.network(self.augment(self.images.train[chosen].to(self.device), random))
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(output).backward()
        self.optimizer.step()
        self.loss.update_centre()
        return F.mse_loss(output.pred.detach(), output.target)

    @torch.no_grad()
    def probe(self) -> float:
        """Accuracy of a logistic regression on the mean token of the frozen encoder."""
        self.network.eval()
        features = [
            np.concatenate([
                self.network.encoder(self.prepare(part.to(self.device))).tokens.mean(dim=1).float().cpu().numpy()
                for part in images.split(128)
            ])
            for images in (self.images.train, self.images.val)
        ]  # fmt: skip
        train_x, val_x = features
        labels = self.images.train_labels, self.images.val_labels
        scores = probe_scores(train_x, labels[0], val_x, labels[1], "multi_class", self.images.class_names)
        return float(scores["accuracy"] or 0.0)


def show(rows: Sequence[dict[str, Any]]) -> str:
    """The table: a line for each form, mean over the seeds and the range, at the last step."""
    lines = []
    for form in dict.fromkeys(row["form"] for row in rows):
        last = [row["history"][-1] for row in rows if row["form"] == form]
        cells = [form]
        for name in COLUMNS:
            values = [row[name] for row in last if name in row]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})" if values else "none")
        lines.append(cells)
    return table(["form", *COLUMNS.values()], lines)


def options() -> argparse.Namespace:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--datalist", type=Path, help="classified tiles; paths start from its folder")
    result.add_argument("--seeds", type=int, default=3, help="runs of each form (%(default)s)")
    result.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS), help="which (all)")
    result.add_argument("--steps", type=int, help="updates of a run (600)")
    result.add_argument("--batch_size", type=int, default=64, help="images per update (%(default)s)")
    result.add_argument("--images", type=int, help="training images; a quarter as many for the probe's test (1024)")
    result.add_argument("--img_size", type=int, default=40, help="pixels (%(default)s)")
    result.add_argument("--patch_size", type=int, default=8, help="pixels (%(default)s)")
    result.add_argument("--crop_scale", type=float, default=0.9, help="smallest crop, share of the area (%(default)s)")
    result.add_argument("--hidden_size", type=int, default=64, help="width of the encoder (%(default)s)")
    result.add_argument("--num_layers", type=int, default=4, help="of the encoder (%(default)s)")
    result.add_argument("--prototypes", type=int, default=512, help="outputs of the projectors (%(default)s)")
    result.add_argument("--weight", type=float, default=0.2, help="p, share of the distillation (%(default)s)")
    result.add_argument("--learning_rate", type=float, default=2e-3, help="peak (%(default)s)")
    result.add_argument("--window", type=int, default=16, help="updates over which the teacher is looked at")
    result.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    result.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = as PyTorch finds them")
    result.add_argument("--out", type=Path, default=RESULTS, help="folder for collapse_<device>.json and .md")
    result.add_argument("--quick", action="store_true", help="toy sizes: does it run?")
    args = result.parse_args()
    args.steps = args.steps or (20 if args.quick else 600)
    args.images = args.images or (128 if args.quick else 1024)
    args.seeds = min(args.seeds, 1) if args.quick else args.seeds
    return args


def main() -> None:
    args = options()
    device = prepare(args)
    images = load(args)
    rows = []
    for seed in range(args.seeds):
        for form in args.forms:
            start = time.perf_counter()
            rows.append({"form": form, "seed": seed, "history": Training(form, seed, images, args, device).run()})
            rows[-1]["seconds"] = time.perf_counter() - start
            last = ", ".join(f"{name} {value:.3f}" for name, value in rows[-1]["history"][-1].items())
            print(f"seed {seed}, {form}: {last} ({rows[-1]['seconds']:.0f} s)", flush=True)
    source = "a datalist" if args.datalist else f"{TEXTURES} kinds of drawn texture"
    args.datalist = None if args.datalist is None else args.datalist.parent.name  # results name no folder of anybody
    notes = [
        f"{len(images.train)} images of {source}, {args.steps} updates of {args.batch_size}, p = {args.weight}",
        f"mean over {args.seeds} seed(s) and their range, at the last step, over {args.window} updates",
        f"MI: mutual information of image and prototype within a batch, at most {np.log(args.batch_size):.2f} nats;"
        " prototypes in use: highest of some image of a batch",
        "probe: logistic regression on the frozen encoder, trained on the training images, scored on others",
    ]
    text = show(rows)
    path = finish("collapse", args, rows, text, notes)
    write_atomically(path.with_suffix(".md"), "\n".join([text, "", *(f"- {note}" for note in notes), ""]))


if __name__ == "__main__":
    main()
