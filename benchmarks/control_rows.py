"""Does attention-driven masking help? Six ways to pre-train and fine-tune, each through the bundle's own commands.

    python benchmarks/control_rows.py --dataset_dir /data/skin --datalist /data/skin.json --threads 1
    python benchmarks/control_rows.py --dataset_dir ... --rows "attention in both" "uniform in both" --seeds 0 1 2 3 4

Rows (MSMAE, arXiv 2305.05871; the last one is what its released code does, whose maps are ones):

    MAE                            random masks at 0.75, no class loss; fine-tuned on all patches
    MAE + class loss               the same with the class loss
    attention, no class loss       masked by attention, as in AMT; fine-tuned on all patches
    attention in pre-training      and the class loss; fine-tuned on all patches
    attention in both              and fine-tuned on a quarter of the patches, drawn by attention
    uniform in both                the same with even weights

A run that is complete is not repeated: the same command goes on where it was stopped.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.data.datalist import parse
from bundle_runtime.files import write_atomically
from bundle_runtime.scores.intervals import bootstrap_interval
from common import finish, parser, prepare, table

RANDOM = {"mask_strategy": "random", "mask_warmup_epochs": 100_000}  # an endless warm-up: random 0.75, nothing thrown
ALL, DRAWN = {"train_tokens": "all"}, {"train_tokens": "sampled"}
# Row -> settings of pre-training and of fine-tuning.
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "MAE": ({**RANDOM, "cls_loss_weight": 0.0}, ALL),
    "MAE + class loss": (RANDOM, ALL),
    "attention, no class loss": ({"mask_strategy": "attention", "cls_loss_weight": 0.0}, ALL),
    "attention in pre-training": ({"mask_strategy": "attention"}, ALL),
    "attention in both": ({"mask_strategy": "attention"}, {**DRAWN, "mask_source": "attention"}),
    "uniform in both": ({"mask_strategy": "random"}, {**DRAWN, "mask_source": "uniform"}),
}
REFERENCE = "uniform in both"
SCORES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_auc": "macro AUC"}
BUNDLE = Path(__file__).parents[1] / "bundles" / "medcls_msmae"
# Smaller than demo.yaml, so that eighteen runs take about half an hour on one thread.
SIZES = {
    "cache_size": 72, "img_size": 64, "patch_size": 8, "hidden_size": 64, "mlp_dim": 256, "num_layers": 5,
    "num_heads": 4, "decoder_size": 48, "decoder_layers": 2, "decoder_heads": 4, "warmup_epochs": 2, "val_interval": 5,
}  # fmt: skip


class Runs:
    """The runs of all rows and seeds, each in `<folder>/<row>/<seed>`."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, args.work.resolve()
        self.names = args.class_names or parse(args.datalist)["class_names"]
        self.seconds: dict[str, float] = {}

    def run(self, row: str, seed: int) -> dict[str, Any]:
        """Pre-train, fine-tune and evaluate, unless that is done: what `scores.json` and `cases.csv` hold of it."""
        folder = self.folder / row.replace(" ", "_").replace(",", "").replace("+", "and") / str(seed)
        done = folder / "seconds.json"
        if not done.exists():
            pretraining, training = ROWS[row]
            start = time.monotonic()
            self._stage("pretrain", folder, seed, max_epochs=self.args.pretrain_epochs, **pretraining)
            self._stage("train", folder, seed, max_epochs=self.args.train_epochs, **training)
            self._stage("evaluate", folder, seed)
            write_atomically(done, json.dumps({"seconds": round(time.monotonic() - start, 1)}) + "\n")
        scores = json.loads((folder / "evaluate" / "scores.json").read_text())
        return {"row": row, "seed": seed, "folder": folder, "scores": scores, **json.loads(done.read_text())}

    def _stage(self, stage: str, folder: Path, seed: int, **settings: Any) -> None:
        files = [str(BUNDLE / "configs" / name) for name in (f"{stage}.yaml", "demo.yaml")]
        schedule = {"mask_warmup_epochs": max(1, self.args.pretrain_epochs // 5)} if stage == "pretrain" else {}
        refresh = {"refresh_interval": max(1, settings["max_epochs"] // 5)} if "max_epochs" in settings else {}
        values = {
            "bundle_root": BUNDLE, "dataset_dir": self.args.dataset_dir, "datalist": self.args.datalist,
            "class_names": self.names, "output_dir": folder / stage, "model_dir": folder,
            "cache": self.folder / "cache", "seed": seed, **SIZES, **schedule, **refresh, **settings,
        }  # fmt: skip
        if stage == "evaluate":
            absent = ("decoder_size", "decoder_layers", "decoder_heads", "warmup_epochs", "val_interval")
            values = {key: value for key, value in values.items() if key not in absent}
        else:
            values["overwrite"] = True
            if stage == "train":
                values = {key: value for key, value in values.items() if not key.startswith("decoder_")}
        flags = [part for key, value in values.items() for part in (f"--{key}", str(value))]
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files), *flags]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{stage}.log").open("w") as log:
            code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        if code:
            raise SystemExit(f"{stage} of {folder} failed; see {folder / stage}.log")


def hits(folder: Path) -> dict[str, tuple[float, str]]:
    """Whether each image of an evaluation was called right (1 or 0), and its patient."""
    with (folder / "evaluate" / "cases.csv").open() as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    return {row["case"]: (float(row["label"] == row["predicted"]), row["patient_id"]) for row in rows}


def score(run: dict[str, Any], name: str) -> float:
    """One of `SCORES` of an evaluation."""
    scores = run["scores"]
    return scores["macro"]["auc"]["mean"] if name == "macro_auc" else scores["overall"][name]["mean"]


def paired(runs: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Accuracy of a row minus that of another: each image's mean over the seeds, then an interval over patients."""
    sides = [[hits(run["folder"]) for run in side] for side in (runs, reference)]
    cases = sorted(sides[0][0])
    means = [np.array([[side[case][0] for case in cases] for side in group]).mean(axis=0) for group in sides]
    difference = means[0] - means[1]
    groups = [sides[0][0][case][1] or case for case in cases]
    low, high = bootstrap_interval(difference, groups=groups)
    return {"mean": float(difference.mean()), "low": low, "high": high}


def summarise(row: str, runs: Sequence[dict[str, Any]], reference: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds, and the paired difference to the reference row."""
    result: dict[str, Any] = {"row": row, "seeds": [run["seed"] for run in runs]}
    for name in SCORES:
        values = [score(run, name) for run in runs]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        result[name] = {"mean": float(np.mean(values)), "std": spread, "values": values}
    result["seconds"] = float(np.mean([run["seconds"] for run in runs]))
    result["difference"] = paired(runs, reference) if reference and row != REFERENCE else None
    return result


def cells(entry: dict[str, Any]) -> list[str]:
    """One line of the table."""
    difference = entry["difference"]
    told = "-" if difference is None else "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**difference)
    scores = [f"{entry[name]['mean']:.3f} ± {entry[name]['std']:.3f}" for name in SCORES]
    return [entry["row"], *scores, told, f"{entry['seconds']:.0f}"]


def main() -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--dataset_dir", type=Path, required=True, help="folder that the datalist's paths start from")
    options.add_argument("--datalist", type=Path, required=True)
    options.add_argument("--class_names", nargs="+", help="default: those of the datalist")
    options.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--pretrain_epochs", type=int, default=32)
    options.add_argument("--train_epochs", type=int, default=32)
    options.add_argument("--work", type=Path, default=Path("control_rows"), help="folder of the runs (%(default)s)")
    args = options.parse_args()
    if args.quick:
        args.pretrain_epochs, args.train_epochs, args.seeds = 2, 2, args.seeds[:1]
    prepare(args)
    jobs, runs = Runs(args), {row: [] for row in args.rows}
    for seed in args.seeds:  # all rows of a seed first: stopped early, the table still compares like with like
        for row in args.rows:
            runs[row].append(jobs.run(row, seed))
            print(f"{row}, seed {seed}: accuracy {score(runs[row][-1], 'accuracy'):.3f}", flush=True)
    rows = [summarise(row, found, runs.get(REFERENCE, [])) for row, found in runs.items()]
    columns = ["row", *SCORES.values(), f"accuracy - that of {REFERENCE}", "seconds a run"]
    text = table(columns, [cells(entry) for entry in rows])
    notes = [
        f"test list, {len(hits(runs[args.rows[0]][0]['folder']))} images; mean ± standard deviation over the seeds "
        f"{', '.join(map(str, args.seeds))}",
        "difference: paired, per image over all seeds, bootstrap 95 % interval over patients; it does not cover the "
        "spread of other seeds",
        f"{args.pretrain_epochs} epochs of pre-training and {args.train_epochs} of fine-tuning of a small network: "
        "relative results only",
    ]
    args.datalist, args.dataset_dir, args.work = args.datalist.name, args.dataset_dir.name, args.work.name
    path = finish("control_rows", args, rows, text, notes)
    lines = "\n".join(f"- {note}" for note in notes)
    write_atomically(path.with_suffix(".md"), f"# Control rows of MSMAE\n\n{text}\n\n{lines}\n")


if __name__ == "__main__":
    main()
