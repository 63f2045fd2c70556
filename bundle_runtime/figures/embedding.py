"""Features of several encoders in two dimensions, coloured by class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from .panels import COLOURS, WIDTH_INCHES, save_figure

_COMPONENTS = 50  # principal components that t-SNE sees (van der Maaten and Hinton, 2008, section 4.1: 30)
_PERPLEXITY = 30.0


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
                axes.scatter(*chosen.T, s=8, color=COLOURS[index % len(COLOURS)], label=name, linewidths=0, alpha=0.8)
            axes.set_title(kind, fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(encoder, fontsize=10)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    save_figure(figure, path)
    return figure
