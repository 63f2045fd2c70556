"""`python -m mae_tools embed` and `roc`: several runs in one picture."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bundle_runtime.figures.classification import roc_of_runs
from bundle_runtime.figures.embedding import embed_features, embedding_figure, silhouette
from bundle_runtime.files import aligned, write_json
from bundle_runtime.probes.linear import FEATURES
from bundle_runtime.scores.classification_report import ClassificationReport
from custom_components.errors import InputError


def embed(*folders: str, names: Sequence[str] | None = None, out: str = "embedding.png", finding: str = "") -> str:
    """Draw the features of one or several encoders by class (PCA and t-SNE), and print how well the classes part.

    Args:
        *folders: of linear probes that ran with save_features: true (any encoder: --init scratch | mae | <file>).
        names: of the encoders; their folders' names without.
        out: the picture; beside it <out>.json gets the silhouettes.
        finding: which of several findings an image may have gives the colours.
    """
    titles = _titles(folders, names)
    tables = [_read(Path(folder) / FEATURES, finding) for folder in folders]
    classes = sorted({label for _, labels in tables for label in labels})
    indices = [np.array([classes.index(label) for label in labels]) for _, labels in tables]
    scores = {
        title: silhouette(features, index) for title, (features, _), index in zip(titles, tables, indices, strict=True)
    }
    views = {
        f"{title}\nsilhouette {scores[title]:.3f}": embed_features(features)
        for title, (features, _) in zip(titles, tables, strict=True)
    }
    embedding_figure(views, indices, classes, out)
    write_json(Path(out).with_suffix(".json"), {"silhouette": scores, "images": [len(index) for index in indices]})
    lines = [["", "silhouette"], *([title, f"{score:.3f}"] for title, score in scores.items())]
    return f"{aligned(lines)}\nwritten: {out}"


def _read(file: Path, finding: str) -> tuple[np.ndarray, list[str]]:
    """Features (N, D), and the class of each image."""
    if not file.is_file():
        raise InputError(f"{file} is not there; run linear_probe with --save_features true, its output is the folder.")
    with file.open(encoding="utf-8", newline="") as stream:
        head, *lines = csv.reader(stream)
    first = head.index("f0")
    features = np.array([line[first:] for line in lines], np.float64)
    findings = head[2:first]
    if findings == ["class"]:
        return features, [line[2] for line in lines]
    if finding not in findings:
        raise InputError(f"{file} has several findings an image; choose one by --finding: {', '.join(findings)}.")
    column = head.index(finding)
    words = {"": "unknown", "0.0": f"no {finding}", "1.0": finding}
    return features, [words[line[column]] for line in lines]


def roc(*folders: str, names: Sequence[str] | None = None, out: str = "roc.png") -> str:
    """Draw the ROC curves of several evaluations of one list over one another, a panel a class.

    Args:
        *folders: output folders of evaluations.
        names: of the runs; their folders' names without.
        out: the picture.
    """
    titles = _titles(folders, names)
    reports = [ClassificationReport.read(folder) for folder in folders]
    for folder, report in zip(folders, reports, strict=True):
        if report.class_names != reports[0].class_names:
            raise InputError(f"{folder} and {folders[0]} have other classes; expected evaluations of one task.")
    runs = {title: (r.probabilities, r.findings) for title, r in zip(titles, reports, strict=True)}
    roc_of_runs(runs, reports[0].class_names, out)
    return f"written: {out}"


def _titles(folders: Sequence[str], names: Sequence[str] | None) -> list[str]:
    titles = [Path(folder).name for folder in folders] if names is None else [str(name) for name in names]
    if not folders or len(titles) != len(folders) or len(set(titles)) < len(titles):
        raise InputError(f"There are {len(folders)} folders and the names {titles}; give one a folder, each another.")
    return titles
