"""The linear probe as a run of its own: features of two lists, several methods, a table with intervals by patient."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.augment import Pipeline
from custom_components.distributed import is_main
from torch import nn

from ..data.image_dataset import ImageDataset
from ..data.loading import loader as batch_loader
from ..data.record import record_of
from ..files import aligned, json_ready, write_csv, write_json
from ..scores.intervals import bootstrap_interval, mean_of_defined
from ..scores.resampling import RESAMPLES, Resamples, ranking_scores
from ..scores.text import counted_images
from .features import METHODS, Array, C, K, as_table, correct, extract_features, probe_predictions, summarise

FEATURES, SCORES = "features.csv", "scores.csv"


def run_linear_probe(
    network: nn.Module,
    train_dataset: ImageDataset,
    test_dataset: ImageDataset,
    pipeline: Pipeline,
    task: str,
    class_names: Sequence[str],
    output_dir: str | Path,
    device: torch.device | str,
    methods: Sequence[str] = METHODS,
    header: Mapping[str, Any] | None = None,
    pool: str = "mean",
    batch_size: int = 64,
    section: str = "test",
    save_features: bool = False,
) -> dict[str, Any]:
    """Train probes on one list, score them on another, print a table, write `probe.json` and return what it holds.

    `SCORES` beside it holds what the first method says of each image: case, patient, truth, a score a class.
    Intervals are 95 % percentile bootstrap intervals over patients.

    Args:
        network: whose encoder is probed.
        train_dataset: labelled images to train on.
        test_dataset: labelled images to score on; its items' `patient_id` makes the groups.
        pipeline: of both, without random augmentation.
        task: "multi_label" or "multi_class".
        class_names: the K findings or classes.
        output_dir: folder of `probe.json`.
        device: where the network lies.
        methods: of "logistic" and "knn".
        header: what `probe.json` should say besides (weights, settings, data fingerprint) and what it learnt from.
        pool: "mean" or "cls", see `extract_features`.
        batch_size: images at a time.
        section: which list `test_dataset` is, for the table and the file.
        save_features: write the features of that list as `FEATURES`: case, patient, class or findings, and f0, f1, ...

    Raises:
        InputError: an unknown method, task or pool, or images without labels.
    """
    (train_x, train_y, _), (test_x, test_y, index) = (
        extract_features(network, batch_loader(part, batch_size), pipeline, device, pool)
        for part in (train_dataset, test_dataset)
    )
    items = [test_dataset.data[position] for position in index]
    known = _known(items, test_y, task, class_names)
    if save_features and is_main():
        _write_images(Path(output_dir) / FEATURES, known, [f"f{number}" for number in range(test_x.shape[1])], test_x)
    groups = [str(item.get("patient_id") or item.get("file") or item["image"]) for item in items]
    said = {method: probe_predictions(train_x, train_y, test_x, task, len(class_names), method) for method in methods}
    results = {method: _results(scores, test_y, task, class_names, groups) for method, scores in said.items()}
    settings = {"pool": pool, "C": C, "k": K, "max_train": None, "task": task, "resamples": RESAMPLES}
    counts = {"train_images": len(train_x), "test_images": len(test_x), "test_patients": len(set(groups))}
    record = record_of(train_dataset, class_names)
    about = {"header": {**(header or {}), "training": record.in_short()}, "settings": {**settings, "section": section}}
    content = json_ready({**about, **counts, "methods": results})
    if is_main():
        _write_images(Path(output_dir) / SCORES, known, [f"score {name}" for name in class_names], said[methods[0]])
        _tell(content, record.sentences(), Path(output_dir) / "probe.json")
    return content


def _tell(content: Mapping[str, Any], unlearnt: Sequence[str], path: Path) -> None:
    if unlearnt:
        print(f"Not learnt by the probe: {'; '.join(unlearnt)}.", flush=True)
    print(f"{_table(content)}\nwritten: {write_json(path, content)}", flush=True)


def _known(
    items: Sequence[Mapping[str, Any]], labels: Array, task: str, class_names: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """Columns and cells of what is known of each image: case, patient, its class or findings."""
    one = task == "multi_class"
    truths = [[class_names[label]] for label in labels] if one else labels.tolist()
    cells = [[item.get("case"), item.get("patient_id"), *row] for item, row in zip(items, truths, strict=True)]
    return ["case", "patient_id", *(["class"] if one else class_names)], cells


def _write_images(path: Path, known: tuple[list[str], list[list[Any]]], columns: list[str], values: Array) -> None:
    """A line an image: what is known of it, and its values (N, len(columns))."""
    rows = [[*cells, *(f"{value:.6g}" for value in row)] for cells, row in zip(known[1], values, strict=True)]
    write_csv(path, [*known[0], *columns], rows)


def _results(
    scores: Array, labels: Array, task: str, class_names: Sequence[str], groups: Sequence[str]
) -> dict[str, Any]:
    """The scores of a method; intervals of every AUC, of their mean, and for "multi_class" of the accuracy, by name."""
    found = auc_intervals(scores, as_table(labels, task, len(class_names)), groups)
    intervals = dict(zip([*class_names, "macro_auc"], found, strict=True))
    if task == "multi_class":
        intervals["accuracy"] = bootstrap_interval(correct(scores, labels), groups=groups, resamples=RESAMPLES)
    return {"scores": summarise(scores, labels, task, class_names), "intervals": intervals}


def auc_intervals(
    scores: Array, labels: Array, groups: Sequence[str], resamples: int = RESAMPLES
) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals of the ROC-AUC of each column, and of the mean over the columns.

    Whole groups are drawn, the same for all columns.

    Args:
        scores: (N, K); NaN columns have no score.
        labels: (N, K) of 0, 1 and NaN for unknown.
        groups: (N,) names, for example patients.
        resamples: how many.

    Returns:
        K + 1 pairs (low, high); NaN where there is nothing to score.
    """
    drawn = Resamples.draw(groups, resamples)
    columns = []
    for values, truth in zip(scores.T, labels.T, strict=True):
        known = np.isfinite(values).all() and len(values) > 0
        columns.append(ranking_scores(values, truth, drawn)["auc"] if known else np.full(resamples, np.nan))
    aucs = np.stack(columns, axis=1)  # R K
    return [drawn.interval(values) for values in (*aucs.T, mean_of_defined(aucs, axis=1))]


def _table(content: Mapping[str, Any]) -> str:
    methods = content["methods"]
    rows = [("", *methods)]
    names = list(dict.fromkeys(name for entry in methods.values() for name in entry["scores"]))
    for name in names:
        rows.append((name, *(_cell(entry, name) for entry in methods.values())))
    word = f"{content['settings']['section']} images"
    about = (
        f"ROC-AUC of frozen features ({content['settings']['pool']}), {content['train_images']} training images, "
        f"{counted_images(content['test_images'], content['test_patients'], word)}"
    )
    return f"{about}\n{aligned(rows, rule=False)}"


def _cell(entry: Mapping[str, Any], name: str) -> str:
    score, interval = entry["scores"].get(name), entry["intervals"].get(name)
    if score is None:
        return "absent"
    if interval is None or interval[0] is None:
        return f"{score:.3f}"
    return f"{score:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
