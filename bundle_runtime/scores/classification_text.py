"""Scores of classified images in words and as a plain-text table."""

import math
from collections.abc import Mapping
from typing import Any

from ..files import aligned
from .classification import BINS
from .text import counted_images, show

OVERALL_WORDS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "kappa": "kappa",
}


def policy(task: str, parity: bool, ordered: bool, resamples: int, drawn: str = "patients") -> str:
    """How images were scored, in words; stands in every file and table. `drawn` is what the bootstrap draws."""
    absent = (
        "a class without positives or without negatives counts as AUC 0 in the macro mean, as in the papers' code"
        if parity
        else "a class without positives or without negatives has no score and is left out of the macro means"
    )
    parts = [
        "AUC is the area under the ROC curve of float32 logits, ties count half; AP is average precision",
        "macro: the plain mean over classes",
        absent,
        f"sensitivity at a specificity of at least 90 or 95 %; ECE in {BINS} bins of equal width",
        f"intervals: percentiles of {resamples} bootstrap resamples of {drawn}",
    ]
    if task == "multi_label":
        parts.append("unknown labels are left out")
    else:
        kind = "with quadratic weights" if ordered else "without weights"
        parts.append(f"AUC and AP are of one class against the rest; the most probable class is called; kappa {kind}")
    return f"{'; '.join(parts)}."


def number(value: float | None, digits: int = 3) -> str:
    """A number, or "-" where it is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(summary: Mapping[str, Any]) -> str:
    """Plain-text table of a summary."""
    several = summary["task"] == "multi_label"
    percent = f"[{summary['confidence']:.0%}]"
    word = "finding" if several else "class"
    ranked = ["auc", "average_precision", "sensitivity_90", "sensitivity_95"]
    last = ["threshold", "sens.", "spec.", "F1"] if several else ["precision", "recall", "F1"]
    head = [word, f"AUC {percent}", f"AP {percent}", "sens. at 90 %", "sens. at 95 %", "ECE", "positive/known", *last]
    lines = [head]

    def scored(entry: Mapping[str, Any]) -> list[str]:
        return [*(show(entry[key], 3) for key in ranked[:2]), *(number(entry[key]["mean"]) for key in ranked[2:])]

    for name, entry in summary["classes"].items():
        counts = [number(entry["ece"]), f"{entry['positives']}/{entry['known']}"]
        if several:
            at = entry["threshold"]
            more = [
                number(at["value"]) + "*" * _doubtful(at),
                *(number(at[key]) for key in ("sensitivity", "specificity", "f1")),
            ]
        else:
            more = [number(entry[key]) for key in ("precision", "recall", "f1")]
        values = scored(entry)
        if name in summary["undefined"] and summary["undefined"][name].startswith("not learnt"):
            values[0] = "not learnt"
        lines.append([name, *values, *counts, *more])
    counted = len(summary["classes"]) - (0 if summary["parity"] else len(summary["undefined"]))
    lines.append([f"macro mean, {counted} classes", *scored(summary["macro"])])
    blocks = [counted_images(summary["cases"], summary["patients"]), aligned(lines)]
    if several and any(_doubtful(entry["threshold"]) for entry in summary["classes"].values()):
        blocks.append("* not reliable, see the notes")
    if not several:
        rows = [[OVERALL_WORDS[key], show(entry, 3)] for key, entry in summary["overall"].items()]
        blocks += ["", aligned([["score", percent], *rows, ["ECE", number(summary["ece"])]])]
    return "\n".join([*blocks, summary["policy"], *summary["notes"]])


def _doubtful(threshold: Mapping[str, Any]) -> bool:
    """Whether a threshold was to be chosen, and 0.5 took its place."""
    return threshold["rule"] != "fixed" and not threshold["reliable"]
