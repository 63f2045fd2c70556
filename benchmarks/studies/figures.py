"""The pictures of a study: label efficiency and training curves from its JSONs, reconstructions from its runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .plan import Stage
from .statistics import SCORES, estimate
from .store import Store
from .tables import samples
from .workshop import Workshop


def figures(store: Store) -> list[Path]:
    """Write `label_efficiency.png` and `training_curves.png` beside the JSONs, as far as there is something to show."""
    made = [_label_efficiency(store), _training_curves(store)]
    return [path for path in made if path is not None]


def _label_efficiency(store: Store) -> Path | None:
    """The main score of each arm over the share of labels, with its interval."""
    study = store.study
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    main = ""
    for share in sorted(study.shares):
        sampled = samples(store, store.runs(share))
        for name, found in sampled.items():
            main = next(score for score in SCORES if score in found)
            value = estimate(found[main])
            points.setdefault(name, []).append((share, value.mean, value.mean - value.low, value.high - value.mean))
    if not points:
        return None
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for number, (name, rows) in enumerate(points.items()):
        shares, means, below, above = zip(*rows, strict=True)
        shifted = [share * (1 + 0.02 * (number - len(points) / 2)) for share in shares]  # bars side by side
        style = "--" if name == study.baseline else "-"
        axes.errorbar(shifted, means, [below, above], marker="o", ls=style, capsize=3, label=study.arms[name].title)
    ticks = sorted(study.shares)
    axes.set(xscale="log", xlabel="share of the labels", ylabel=SCORES[main][0], title=study.question)
    axes.set_xticks(ticks, [f"{share:.0%}" for share in ticks])
    axes.minorticks_off()
    axes.legend(fontsize="small")
    return _save(figure, store.folder / "label_efficiency.png")


def _training_curves(store: Store) -> Path | None:
    """Validation over the epochs of fine-tuning, a panel a share, and the loss of pre-training, mean over seeds."""
    study = store.study
    panels = {share: found for share in sorted(study.shares) if (found := store.runs(share))}
    if not panels:
        return None
    figure, axes = plt.subplots(
        1, len(panels) + 1, figsize=(4.2 * (len(panels) + 1), 3.8), layout="constrained", squeeze=False
    )
    pretrained: dict[str, Any] = {}  # by key: an arm and its probe may share one
    for panel, (share, runs) in zip(axes[0], panels.items(), strict=False):
        for number, (name, found) in enumerate(runs.items()):
            for run in found:
                if "train" in run["stages"]:
                    curve = run["stages"]["train"]["history"]
                    label = study.arms[name].title if run is found[0] else None
                    panel.plot(curve["val_epoch"], curve["score"], color=f"C{number}", lw=0.9, alpha=0.8, label=label)
                if run is found[0] and "pretrain" in run["stages"]:
                    stage = run["stages"]["pretrain"]
                    pretrained.setdefault(stage["key"], (study.arms[name].title, stage["history"]))
        panel.set(title=f"{share:.0%} of the labels", xlabel="epoch", ylabel="validation")
        panel.legend(fontsize="x-small")
    for title, curve in pretrained.values():
        axes[0, -1].plot(curve["epoch"], curve["train_loss"], label=title)
    axes[0, -1].set(title="pre-training", xlabel="epoch", ylabel="training loss")
    if pretrained:
        axes[0, -1].legend(fontsize="x-small")
    return _save(figure, store.folder / "training_curves.png")


def reconstructions(store: Store, workshop: Workshop, stages: Mapping[str, Stage]) -> Path | None:
    """The last reconstruction picture of each arm's pre-training below each other, in the folder of the runs.

    They show the images of the data set, so they stay where the data may lie and are no part of the results.
    """
    found = {}
    for name, stage in stages.items():
        pictures = sorted((workshop.path(stage) / "pictures").glob("*.png"), key=lambda path: path.stat().st_mtime)
        if pictures:
            found[store.study.arms[name].title] = plt.imread(pictures[-1])
    if not found:
        return None
    figure, axes = plt.subplots(len(found), 1, figsize=(9, 4 * len(found)), layout="constrained", squeeze=False)
    for panel, (title, picture) in zip(axes[:, 0], found.items(), strict=True):
        panel.imshow(picture)
        panel.set_title(title)
        panel.axis("off")
    return _save(figure, workshop.folder / "reconstructions.png")


def _save(figure: "plt.Figure", path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path
