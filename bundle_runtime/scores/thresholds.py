"""A threshold per finding, chosen on validation cases, and the file that carries it to evaluation and inference."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.errors import InputError

from ..files import write_json
from ..weights.io import sha256_of
from .resampling import Array, Ranking, Resamples

RULE = "youden"
FALLBACK = 0.5
LEAST = 10  # positives, and negatives
MAX_SPREAD = 0.2
RESAMPLES = 200


def choose_thresholds(
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Choose a threshold for each finding, where sensitivity + specificity - 1 is highest (Youden 1950).

    To be called with validation cases, never with those of the test. A threshold lies half-way between the scores that
    it parts. It is not reliable, and 0.5 takes its place, where the finding has fewer than 10 positives (or negatives),
    or where the thresholds chosen in bootstrap resamples of the patients spread over more than 0.2 (from their 10th to
    their 90th percentile).

    Args:
        probabilities: (N, K).
        labels: (N, K) 1, 0 or NaN for unknown.
        class_names: the K findings.
        groups: (N,) patients; None: every case is a patient of its own.
        seed: of the resamples.

    Returns:
        For each finding value, rule, positives, negatives, spread, chosen (the threshold before the check), reliable
        (bool) and reason (empty where reliable).

    Raises:
        InputError: arrays that do not fit the names.
    """
    wide, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    if wide.ndim != 2 or wide.shape != truth.shape or wide.shape[1] != len(class_names):
        raise InputError(
            f"probabilities {wide.shape} and labels {truth.shape} do not fit {len(class_names)} findings; expected a"
            " column a finding in both."
        )
    resamples = Resamples.draw([str(i) for i in range(len(wide))] if groups is None else groups, RESAMPLES, seed)
    return {name: _choose(wide[:, column], truth[:, column], resamples) for column, name in enumerate(class_names)}


def _choose(scores: Array, labels: Array, resamples: Resamples) -> dict[str, Any]:
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    entry: dict[str, Any] = {"value": FALLBACK, "rule": RULE, "positives": positives, "negatives": negatives}
    reasons = [
        f"{number} {name}, fewer than {LEAST}"
        for name, number in (("positives", positives), ("negatives", negatives))
        if number < LEAST
    ]
    chosen = spread = float("nan")
    if positives and negatives:
        ranking = Ranking.of(scores, labels)
        chosen = float(_best(ranking, Resamples.once(len(scores)))[0])
        drawn = _best(ranking, resamples)
        low, high = np.nanpercentile(drawn, [10, 90])
        spread = float(high - low)
        if spread > MAX_SPREAD:
            reasons.append(f"it spreads over {spread:.2f} between resamples, more than {MAX_SPREAD}")
    reason = f"{FALLBACK} in its place: {' and '.join(reasons)}" if reasons else ""
    value = FALLBACK if reasons else chosen
    return {**entry, "value": value, "chosen": chosen, "spread": spread, "reliable": not reasons, "reason": reason}


def _best(ranking: Ranking, resamples: Resamples) -> Array:
    """The best threshold of each resample, NaN where it holds only one side: (R,)."""
    parts = []
    for block in resamples.blocks():
        found, false = ranking.curve(block)
        positives, negatives = found[-1], false[-1]
        both = (positives > 0) & (negatives > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = found / positives - false / negatives
        parts.append(np.where(both, ranking.cut[np.argmax(np.where(both, gain, 0.0), axis=0)], np.nan))
    return np.concatenate(parts)


def write_thresholds(
    path: str | Path,
    thresholds: Mapping[str, Mapping[str, Any]],
    model_file: str | Path | None = None,
    header: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write thresholds as JSON, atomically, and return what was written.

    Args:
        path: the file.
        thresholds: what `choose_thresholds` returned.
        model_file: the model whose probabilities were used; its sha256 goes into the file.
        header: where the cases came from: section, number of cases, data fingerprint.
    """
    content = {
        "header": dict(header or {}),
        "policy": "Per finding, where sensitivity + specificity - 1 is highest (Youden 1950); "
        f"{FALLBACK} where that is not reliable. A probability of at least the value means yes.",
        "model_file": None if model_file is None else Path(model_file).name,
        "model_sha256": None if model_file is None else sha256_of(model_file),
        "class_names": list(thresholds),
        "classes": {name: dict(entry) for name, entry in thresholds.items()},
    }
    write_json(path, content)
    return content


def read_thresholds(
    path: str | Path, class_names: Sequence[str], model_file: str | Path | None = None
) -> dict[str, dict[str, Any]]:
    """Read what `write_thresholds` wrote: the entries by finding.

    Args:
        path: the file.
        class_names: the findings of the run; those of the file must be the same.
        model_file: the model of the run; None: whose thresholds they are is not checked.

    Raises:
        InputError: unreadable, other findings, a value that is no probability, or another model's thresholds.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        entries = {str(name): dict(entry) for name, entry in content["classes"].items()}
        values = {name: float(entry["value"]) for name, entry in entries.items()}
        owner = content["model_sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as thresholds ({error}); expected a file that an evaluation on the validation list"
            " wrote."
        ) from error
    if sorted(entries) != sorted(class_names):
        raise InputError(
            f"{path} has thresholds for {', '.join(entries)}; the run's findings are {', '.join(class_names)}. Choose"
            " thresholds anew on the validation list."
        )
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise InputError(f"{path}: the threshold of {name} is {value}; it must be from 0 to 1.")
    if model_file is not None and owner is not None and sha256_of(model_file) != owner:
        raise InputError(
            f"{path} was chosen for another model ({content.get('model_file')}, sha256 {str(owner)[:12]}...) than"
            f" {model_file}; choose thresholds anew on the validation list."
        )
    return {name: entries[name] for name in class_names}


def fixed_thresholds(class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """0.5 for each finding, where none were chosen."""
    return {name: {"value": FALLBACK, "rule": "fixed", "reliable": False, "reason": ""} for name in class_names}
