"""`python -m mae_tools embed` and `roc`: several runs in one picture."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from bundle_runtime.figures.classification import roc_of_runs
from bundle_runtime.figures.panels import COLOURS, WIDTH_INCHES, save_figure
from bundle_runtime.files import aligned, write_json
from bundle_runtime.probes.linear import FEATURES
from bundle_runtime.scores.classification_report import ClassificationReport
from custom_components.errors import InputError
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

_COMPONENTS = 50  # principal components that t-SNE sees (van der Maaten and Hinton, 2008, section 4.1: 30)
_PERPLEXITY = 30.0


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


def embed_features(features: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Features (N, D), standardised, as "PCA" and "t-SNE" of scikit-learn see them: (N, 2) each."""
    scaled = StandardScaler().fit_transform(features)
    components = PCA(min(_COMPONENTS, *scaled.shape), random_state=seed).fit_transform(scaled)
    perplexity = min(_PERPLEXITY, (len(scaled) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(components)
    return {"PCA": components[:, :2], "t-SNE": places}


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of the classes in the standardised features, -1 to 1; NaN where it is not defined."""
    if not 1 < len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(silhouette_score(StandardScaler().fit_transform(features), labels))


def embedding_figure(
    views: Mapping[str, Mapping[str, np.ndarray]],
    labels: Sequence[np.ndarray],
    class_names: Sequence[str],
    path: str | Path,
) -> Figure:
    """Draw a row an encoder, a panel a view; points have the colours of their classes.

    Args:
        views: by encoder and view, (N, 2); an encoder's name stands before its row.
        labels: of each encoder's points, (N,) class indices.
        class_names: by class index.
        path: PNG file, written atomically.
    """
    across = max(map(len, views.values()))
    side = WIDTH_INCHES / 2.4
    figure = Figure(figsize=(across * side, len(views) * side + 0.6), dpi=110, layout="constrained")
    grid = figure.subplots(len(views), across, squeeze=False)
    for row, (encoder, kinds), classes in zip(grid, views.items(), labels, strict=True):
        for axes, (kind, places) in zip(row, kinds.items(), strict=True):
            for index, name in enumerate(class_names):
                chosen = places[classes == index]
                axes.scatter(*chosen.T, s=12, color=COLOURS[index % len(COLOURS)], label=name, linewidths=0, alpha=0.8)
            axes.set_title(kind, fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(encoder, fontsize=10)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=9, frameon=False, markerscale=2)
    save_figure(figure, path)
    return figure
