"""What frozen features are worth: logistic regression and nearest neighbours on the output of an encoder."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from custom_components.errors import InputError, one_of
from custom_components.networks.find import find_vit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsRegressor
from torch import Tensor, nn

from ..data.schema import TASKS

METHODS = ("logistic", "knn")
C = 1.0  # inverse strength of the logistic regression's penalty
K = 20  # neighbours
_TEMPERATURE = 0.07  # of the neighbours' weights, as in DINO (arXiv 2104.14294, section 4.1 and its code)
_ITERATIONS = 1000

Array = np.ndarray


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and then back in the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def extract_features(
    network: nn.Module,
    loader: Iterable[dict[str, Tensor]],
    pipeline: Callable[[Tensor, Tensor], Tensor],
    device: torch.device | str,
    pool: str = "mean",
) -> tuple[Array, Array, Array]:
    """What the encoder says of every image; the network's mode is put back.

    Args:
        network: a `ViT`, or a network that holds one at `.vit` or `.encoder`.
        loader: gives batches of an `ImageDataset` with labels.
        pipeline: (uint8 images, random numbers) -> float32 images, without random augmentation.
        device: where the network lies.
        pool: "mean" of the patch tokens after the encoder's norm, or its "cls" token.

    Returns:
        Features float32 (N, D), labels (N,) int64 or (N, K) float32, item positions (N,) int64.

    Raises:
        InputError: an unknown pool, "cls" of an encoder without class token, or images without labels.
    """
    vit = find_vit(network)
    class_token = bool(getattr(vit, "class_token", False))
    one_of("pool", pool, ("mean", "cls"))
    if pool == "cls" and not class_token:
        raise InputError("pool is 'cls', but the encoder has no class token; choose mean.")
    features, labels, indices = [], [], []
    with evaluating(vit):
        for batch in loader:
            if "label" not in batch:
                raise InputError("A probe needs labels, and the data set gives none: set its task and class_names.")
            images = pipeline(batch["image"].to(device, non_blocking=True), batch["random"])
            tokens = vit(images).tokens
            pooled = tokens[:, 0] if pool == "cls" else tokens[:, int(class_token) :].mean(dim=1)
            features.append(pooled.cpu().numpy())
            labels.append(batch["label"].numpy())
            indices.append(batch["index"].numpy())
    return np.concatenate(features), np.concatenate(labels), np.concatenate(indices)


def probe_predictions(
    train_x: Array, train_y: Array, val_x: Array, task: str, classes: int, method: str = "logistic"
) -> Array:
    """Scores of validation features by a model of training features; the same input gives the same numbers.

    Features are standardised by the mean and deviation of the training features. Logistic regression is scikit-learn's,
    one a finding for several labels, on the rows where it is known. Nearest neighbours are those by cosine and count by
    exp(cosine / 0.07), as in DINO.

    Args:
        train_x: (N, D).
        train_y: (N,) class indices, or (N, K) of 0, 1 and NaN for unknown.
        val_x: (M, D).
        task: "multi_label" or "multi_class".
        classes: K.
        method: "logistic" or "knn".

    Returns:
        (M, K) float64, higher where a class is likelier; NaN for a class that training does not show in both states.

    Raises:
        InputError: an unknown task or method.
    """
    one_of("task", task, TASKS)
    one_of("method", method, METHODS)
    train_x, val_x = _standardised(train_x, val_x)
    known = as_table(train_y, task, classes)
    learnable = (known == 1).any(axis=0) & (known == 0).any(axis=0)
    if method == "knn":
        scores = _neighbours(train_x, known, val_x)
    elif task == "multi_class":
        scores = _one_of_several(train_x, train_y, val_x, classes)
    else:
        scores = np.full((len(val_x), classes), np.nan)
        for column in np.flatnonzero(learnable):
            rows = np.isfinite(known[:, column])
            model = _logistic().fit(train_x[rows], known[rows, column])
            scores[:, column] = model.decision_function(val_x)
    scores[:, ~learnable] = np.nan
    return scores


def probe_scores(
    train_x: Array,
    train_y: Array,
    val_x: Array,
    val_y: Array,
    task: str,
    class_names: Sequence[str],
    method: str = "logistic",
) -> dict[str, float | None]:
    """Train a probe on some features and score it on others; the settings are those of `probe_predictions`.

    Returns:
        The ROC-AUC of each class by name (None where it is not defined: a class that training or validation does not
        show in both states), "macro_auc" over the others (NaN if there are none), and for several classes of which one
        holds "accuracy".
    """
    scores = probe_predictions(train_x, train_y, val_x, task, len(class_names), method)
    return summarise(scores, val_y, task, class_names)


def summarise(scores: Array, labels: Array, task: str, class_names: Sequence[str]) -> dict[str, float | None]:
    """The result of `probe_scores` from scores (M, K) and labels."""
    table = as_table(labels, task, len(class_names))
    aucs = [_auc(scores[:, column], table[:, column]) for column in range(len(class_names))]
    defined = [auc for auc in aucs if auc is not None]
    result: dict[str, float | None] = dict(zip(class_names, aucs, strict=True))
    result["macro_auc"] = float(np.mean(defined)) if defined else float("nan")
    if task == "multi_class":
        result["accuracy"] = float(np.mean(correct(scores, labels)))
    return result


def correct(scores: Array, labels: Array) -> Array:
    """Whether the highest score is that of the label, (M,) float64; a class without a score is never chosen."""
    return (np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1) == labels).astype(np.float64)


def as_table(labels: Array, task: str, classes: int) -> Array:
    """Labels of either task as (N, K) of 0, 1 and NaN."""
    if task == "multi_class":
        return (np.asarray(labels)[:, None] == np.arange(classes)).astype(np.float64)
    return np.asarray(labels, np.float64)


def _auc(scores: Array, labels: Array) -> float | None:
    known = np.isfinite(labels) & np.isfinite(scores)
    if len(np.unique(labels[known])) < 2:
        return None
    return float(roc_auc_score(labels[known], scores[known]))


def _standardised(train: Array, other: Array) -> tuple[Array, Array]:
    mean, std = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    std[std == 0] = 1  # a feature that never changes says nothing; it becomes 0
    first, second = (((part - mean) / std).astype(np.float32) for part in (train, other))
    return first, second


def _logistic() -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=_ITERATIONS)  # lbfgs: no random numbers


def _one_of_several(train_x: Array, train_y: Array, val_x: Array, classes: int) -> Array:
    """Log-probabilities by multinomial regression; NaN for classes that training lacks."""
    scores = np.full((len(val_x), classes), np.nan)
    present = np.unique(train_y)
    if len(present) > 1:
        scores[:, present] = _logistic().fit(train_x, train_y).predict_log_proba(val_x)
    return scores


def _neighbours(train_x: Array, known: Array, val_x: Array) -> Array:
    """Share of the neighbours that show a class, among the nearest `K` for which it is known."""
    scores, defined = np.full((len(val_x), known.shape[1]), np.nan), np.isfinite(known)
    for rows in np.unique(defined[:, defined.any(axis=0)], axis=1).T:  # one search for classes known of the same rows
        columns = (defined == rows[:, None]).all(axis=0)
        model = KNeighborsRegressor(min(K, rows.sum()), weights=_closeness, algorithm="brute", metric="cosine")
        scores[:, columns] = model.fit(train_x[rows], known[np.ix_(rows, columns)]).predict(val_x)
    return scores


def _closeness(distance: Array) -> Array:
    return np.exp(-distance / _TEMPERATURE)
