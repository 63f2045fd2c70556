"""What is kept of a run: a small JSON with settings, versions, costs, history and the scores of each case."""

import csv
import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from bundle_runtime.probes.linear import SCORES as PROBE_SCORES
from bundle_runtime.scores.classification_report import ClassificationReport
from bundle_runtime.scores.instance_report import TASK as OF_PICTURES
from bundle_runtime.scores.instance_report import InstanceReport
from bundle_runtime.scores.segmentation_report import SegmentationReport

from .workshop import ROOT

KEPT_EPOCHS = 60  # of a history, evenly spread
LATE = 0.9  # a best epoch behind this share of the training says that it had not converged
SECTIONS = ("training", "validation", "test")


def history(folder: Path) -> dict[str, Any]:
    """The training curve of a stage, thinned, with its best validation.

    Returns:
        "epoch" and "train_loss"; "val_epoch" and "score" (of pre-training the loss on the validation list) with its
        "score_name"; "best", "best_epoch", "last_epoch", and "late": the best epoch is among the last tenth.
    """
    with (folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    name = next(column for column in rows[0] if column.startswith("val_"))
    scored = [row for row in rows if row[name] not in ("", "nan")]
    better = min if "loss" in name or "error" in name else max
    best = better(scored, key=lambda row: float(row[name]))
    last = int(rows[-1]["epoch"])
    shown, validated = _thinned(rows), _thinned(scored)
    return {
        "epoch": [int(row["epoch"]) for row in shown],
        "train_loss": [_short(float(row["train_loss"]), 4) for row in shown],
        "val_epoch": [int(row["epoch"]) for row in validated],
        "score": [_short(float(row[name]), 4) for row in validated],
        "score_name": name,
        "best": _short(float(best[name])),
        "best_epoch": int(best["epoch"]),
        "last_epoch": last,
        "late": int(best["epoch"]) > LATE * last,
    }


def cases(folder: Path) -> dict[str, Any]:
    """The scores of each case of an evaluation, without names: what the statistics need and no more.

    Returns:
        "kind" (multi_label, multi_class, segmentation), "names" (findings, classes or organs), "patients" (numbers),
        "list" (a hash of the cases' names: runs are compared over the same cases only), and either "labels" and
        "probabilities" or "dice" and "hd95" (None: not scored).
    """
    task = json.loads((folder / "scores.json").read_text()).get("task", "segmentation")
    if task == "segmentation":
        report = SegmentationReport.read(folder)
        names = [f"{patient}/{case}" for patient, case in report.keys]
        # What is rightly absent is perfect: otherwise an arm would gain nothing by leaving it out.
        tables = {"dice": report.matrix("dice", absent=1.0), "hd95": report.matrix("hd95", absent=0.0)}
        entries: dict[str, Any] = {name: [_numbers(row) for row in table] for name, table in tables.items()}
        return _about("segmentation", report.class_names[1:], report.groups, names) | entries
    if task == OF_PICTURES:
        pictures = InstanceReport.read(folder)
        names = [f"{patient}/{case}" for patient, case in pictures.keys]
        columns = range(len(pictures.class_names) - 1)
        dice = np.stack([pictures.per_image(column)["dice"] for column in columns], axis=1)
        entries = {"dice": [_numbers(row) for row in np.nan_to_num(dice, nan=1.0)]}
        entries["hd95"] = [[None] * len(columns)] * len(names)  # not measured on pictures
        return _about("segmentation", pictures.class_names[1:], pictures.groups, names) | entries
    found = ClassificationReport.read(folder)
    order = sorted(range(len(found.cases)), key=lambda index: found.cases[index])
    names = [f"{found.cases[index].patient_id}/{found.cases[index].case}" for index in order]
    groups = [found.groups[index] for index in order]
    labels = found.labels[order]
    entries = {
        "labels": [_numbers(row) for row in labels] if labels.ndim == 2 else labels.tolist(),
        "probabilities": [_numbers(row) for row in found.probabilities[order]],
    }
    return _about(found.task, found.class_names, groups, names) | entries


def probe(folder: Path) -> dict[str, Any]:
    """The same of a linear probe; a class that its labels do not show in both states is given no opinion: 0."""
    content = json.loads((folder / "probe.json").read_text())
    with (folder / PROBE_SCORES).open(newline="") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: row["case"])
    names = [column.removeprefix("score ") for column in rows[0] if column.startswith("score ")]
    one = content["settings"]["task"] == "multi_class"
    entries = {
        "labels": [names.index(row["class"]) for row in rows]
        if one
        else [_numbers([float(row[name] or "nan") for name in names]) for row in rows],
        "probabilities": [_numbers(np.nan_to_num([float(row[f"score {name}"]) for name in names])) for row in rows],
    }
    patients = [row["patient_id"] or f"own {row['case']}" for row in rows]
    listed = [f"{row['patient_id']}/{row['case']}" for row in rows]
    return _about(content["settings"]["task"], names, patients, listed) | entries


def surroundings() -> dict[str, Any]:
    """Versions, machine and commit; nothing that names the computer or its user."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "processor": models[0] if models else platform.machine(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def fingerprint(datalist: Path) -> dict[str, Any]:
    """Sizes of the lists, and a hash of what is in them: runs on other lists are not compared."""
    content = json.loads(datalist.read_text())
    lists = {name: content.get(name, []) for name in SECTIONS}
    text = json.dumps(lists, sort_keys=True)
    return {
        "sha256": hashlib.sha256(text.encode()).hexdigest()[:16],
        **{name: len(entries) for name, entries in lists.items()},
    }


def _about(kind: str, names: Sequence[str], groups: Sequence[str], case_names: Sequence[str]) -> dict[str, Any]:
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    listed = hashlib.sha256("\n".join(case_names).encode()).hexdigest()[:16]
    return {"kind": kind, "names": list(names), "list": listed, "patients": [numbers[group] for group in groups]}


def _thinned(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Some of the rows, evenly spread; the last one is among them."""
    return rows[::-1][:: math.ceil(len(rows) / KEPT_EPOCHS)][::-1]


def _short(value: float, digits: int = 6) -> float:
    return float(f"{value:.{digits}g}")


def _numbers(row: Sequence[float]) -> list[float | int | None]:
    """Four digits, so that files stay small (an AUC changes by less than 0.001); None for NaN, whole numbers short."""
    return [None if math.isnan(v) else int(v) if v == int(v) else _short(v, 4) for v in map(float, row)]
