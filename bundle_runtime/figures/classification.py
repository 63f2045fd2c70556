"""Pictures of a classifier's scores: ROC curves, calibration, confusion matrix. Figures without global state."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from .panels import COLOURS, WIDTH_INCHES, save_figure

COLUMNS = 4  # of small panels
_DIAGONAL: dict[str, Any] = {"color": "#8a93a3", "linewidth": 0.8, "linestyle": "--"}
STYLES = ("-", "--", ":")  # where there are more classes than colours


def roc_figure(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str], path: str | Path, title: str = ""
) -> Figure:
    """Draw the ROC curve of each class into a PNG file, its area in the legend.

    Of probabilities (N, K) and labels (N, K) 1, 0 or NaN for unknown; a class with one kind of label has no curve.
    """
    side = 0.62 * WIDTH_INCHES
    figure = Figure(figsize=(side, side), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], **_DIAGONAL)
    for index, name in enumerate(class_names):
        style = STYLES[index // len(COLOURS) % len(STYLES)]
        _curve(axes, probabilities[:, index], labels[:, index], f"{name} ", index, style)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel="1 - specificity", ylabel="sensitivity")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    if class_names:
        columns = math.ceil(len(class_names) / 25)
        legend = figure.legend(loc="outside right center", fontsize=9, frameon=False, title="AUC", ncols=columns)
        figure.draw_without_rendering()  # only then is the legend's width known
        figure.set_figwidth(side + legend.get_window_extent().width / figure.dpi)
    save_figure(figure, path)
    return figure


def roc_of_runs(
    runs: Mapping[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str], path: str | Path
) -> Figure:
    """Draw the ROC curves of several runs over one another, a panel a class, with their areas; a PNG file.

    Of each run by name, probabilities and labels as in `roc_figure`.
    """
    figure, panels = _panel_a_class(class_names)
    for index, axes in enumerate(panels):
        for number, (name, (probabilities, labels)) in enumerate(runs.items()):
            _curve(axes, probabilities[:, index], labels[:, index], name, number)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.legend(loc="lower right", fontsize=7, frameon=False)
    figure.supxlabel("1 - specificity (numbers: areas under the curves)", fontsize=9)
    figure.supylabel("sensitivity", fontsize=9)
    save_figure(figure, path)
    return figure


def _curve(axes: Axes, scores: np.ndarray, labels: np.ndarray, name: str, number: int, style: str = "-") -> None:
    """The ROC curve of one class, (N,) each, its area behind the name; none where one kind of label is missing."""
    known = np.isfinite(labels)
    truth, scores, line, area = labels[known] > 0.5, scores[known], [np.empty(0)] * 2, "-"
    if truth.any() and not truth.all():
        line, area = list(roc_curve(truth, scores)[:2]), f"{roc_auc_score(truth, scores):.3f}"
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(*line, color=colour, linestyle=style, linewidth=1.4, label=f"{name} {area}")


def _panel_a_class(names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure with a small square panel for each class: its name, a diagonal, a grid."""
    down = math.ceil(len(names) / COLUMNS)
    across = math.ceil(len(names) / down)
    side = WIDTH_INCHES / COLUMNS
    figure = Figure(figsize=(max(across, 2) * side, down * (side + 0.2) + 0.4), dpi=110, layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    panels = panels[: len(names)]
    for axes, name in zip(panels, names, strict=True):
        axes.plot([0, 1], [0, 1], **_DIAGONAL)
        axes.set_aspect("equal")
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
    for axes in panels[-across:]:
        axes.xaxis.set_tick_params(labelbottom=True)  # a shared axis has numbers in the last row only, empty or not
    return figure, panels


def calibration_figure(
    bins: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], path: str | Path, title: str = ""
) -> Figure:
    """Draw for each class how often it was there when a probability was predicted; a dot grows with the cases in it.

    Of each class by name, what `scores.classification.reliability` gives: cases, mean probability, share of positives.
    """
    figure, panels = _panel_a_class(list(bins))
    for axes, (count, predicted, found) in zip(panels, bins.values(), strict=True):
        filled = count > 0
        sizes = 6 + 60 * count[filled] / max(count.sum(), 1)
        axes.plot(predicted[filled], found[filled], color=COLOURS[0], linewidth=1)
        axes.scatter(predicted[filled], found[filled], s=sizes, color=COLOURS[0], zorder=3)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    figure.supxlabel("predicted probability (the larger a dot, the more images in it)", fontsize=9)
    figure.supylabel("share that has it", fontsize=9)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)
    return figure


def confusion_figure(
    labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str], path: str | Path, title: str = ""
) -> Figure:
    """Draw the confusion matrix of true and called classes, (N,) each: counts, and as colour shares of the true one."""
    counts = confusion_matrix(labels, predicted, labels=np.arange(len(class_names)))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(0.6 * len(class_names) + 2, 4), 2 * WIDTH_INCHES)
    figure = Figure(figsize=(side + 1, side), dpi=110, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    places = np.arange(len(class_names))
    axes.set_xticks(places, labels=class_names, rotation=45, ha="right", fontsize=9)
    axes.set_yticks(places, labels=class_names, fontsize=9)
    axes.set(xlabel="called", ylabel="true")
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=colour)
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    save_figure(figure, path)
    return figure
