"""Scores of many segmented pictures: per image and pooled, with intervals, and the two files that hold them."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from custom_components.errors import InputError

from ..files import aligned, write_csv, write_json
from .instances import Counts, scores, total
from .intervals import bootstrap_interval
from .resampling import Resamples
from .segmentation_report import FEW
from .text import counted_images, show

TASK = "segmentation of pictures"
PIXELS = {"dice": "Dice", "iou": "IoU"}
OBJECTS = {
    "aji": "AJI",
    "pq": "PQ",
    "sq": "SQ",
    "object_f1": "object F1 (RQ)",
    "object_precision": "object precision",
    "object_recall": "object recall",
}
FIELDS = [field.name for field in fields(Counts)]
OUTCOMES = ("found", "missed", "hallucinated", "absent")
RESAMPLES = 1000


class InstanceReport:
    """Collects the counts of pictures and summarises them.

    Args:
        class_names: names by class index; index 0 is the background.
        objects: score objects as well, not only pixels.
        split: how predicted objects were parted, in words; stands in the policy.
        confidence: of the bootstrap intervals; pictures of one patient are resampled together.
        seed: of the bootstrap.
        parity_batch: also give the released code's scores (fact B13): IoU pooled over batches of so many pictures in
            the order of the list, then averaged with the batches' sizes; 0 does not.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        objects: bool = True,
        split: str = "",
        confidence: float = 0.95,
        seed: int = 0,
        parity_batch: int = 0,
    ) -> None:
        self.class_names, self.objects, self.split = list(class_names), objects, split
        self.confidence, self.seed, self.parity_batch = confidence, seed, int(parity_batch)
        self.cases: dict[tuple[str, str], list[Counts]] = {}  # (patient, case) -> counts a class, in the list's order

    @property
    def metrics(self) -> dict[str, str]:
        """Names of the scores by key."""
        return {**PIXELS, **(OBJECTS if self.objects else {})}

    @property
    def policy(self) -> str:
        """How pictures were scored, in words; stands in every file and table."""
        pixels = (
            "Per image: the mean over images; pooled: pixels and objects of all images are counted together first. A"
            " class that reference and prediction both lack in an image is not scored there; where one of them lacks it"
            " its scores are 0."
        )
        if not self.objects:
            return pixels
        return (
            f"{pixels} Objects match where their IoU is above 0.5. AJI as Kumar et al. 2017, PQ = SQ x RQ as Kirillov"
            f" et al. 2019; RQ is the F1 of objects. Predicted objects: {self.split}."
        )

    def add(self, case: str, patient_id: str, rows: Sequence[Counts]) -> None:
        """Take in the counts of one picture, one a class but the background.

        Raises:
            InputError: the picture was added before.
        """
        key = (str(patient_id), str(case))
        if key in self.cases:
            raise InputError(
                f"case '{case}' of patient '{patient_id}' was scored twice; expected each case once."
                " Give every item of the datalist its own file name or patient_id."
            )
        self.cases[key] = list(rows)

    def groups(self) -> list[str]:
        """Resampling group of each picture: its patient, else itself."""
        return [f"patient {patient}" if patient else f"case {case}" for patient, case in self.cases]

    def sums(self, column: int) -> dict[str, np.ndarray]:
        """Counts of one class as (cases,) arrays by field name."""
        rows = [asdict(rows[column]) for rows in self.cases.values()]
        return {name: np.array([row[name] for row in rows], float) for name in FIELDS}

    def matrix(self, metric: str, column: int) -> np.ndarray:
        """A score of one class in each picture, (cases,), NaN where undefined."""
        return scores(self.sums(column))[metric]

    def per_image(self, values: np.ndarray) -> dict[str, float | int]:
        """Mean of (cases,) values with its interval, and the number of cases that hold one."""
        mean = float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
        low, high = bootstrap_interval(values, self.confidence, self.seed, self.groups())
        return {"mean": mean, "low": low, "high": high, "n": int(np.isfinite(values).sum())}

    def resampled(self, column: int) -> dict[str, np.ndarray]:
        """Pooled scores of one class in every bootstrap resample of the patients, (resamples,) by metric."""
        draws = Resamples.draw(self.groups(), RESAMPLES, self.seed)
        sums = {}
        for name, values in self.sums(column).items():
            by_patient = np.bincount(draws.member, values, minlength=draws.patients)
            sums[name] = by_patient @ draws.counts.astype(np.float64)
        return scores(sums)

    def pooled(self, column: int) -> dict[str, dict[str, float]]:
        """Pooled scores of one class with percentile intervals, by metric."""
        values = scores(total([rows[column] for rows in self.cases.values()]))
        draws, spread = Resamples.draw(self.groups(), 1, self.seed), self.resampled(column)
        result = {}
        for metric in self.metrics:
            low, high = draws.interval(spread[metric], self.confidence)
            result[metric] = {"mean": float(values[metric]), "low": low, "high": high}
        return result

    def released(self) -> dict[str, float | int] | None:
        """The released code's IoU and F1 of the first class (see `parity_batch`); None without it."""
        if not self.parity_batch:
            return None
        rows = [rows[0] for rows in self.cases.values()]
        batches = [rows[start : start + self.parity_batch] for start in range(0, len(rows), self.parity_batch)]
        iou = np.array([_smoothed_iou(total(batch)) for batch in batches])
        sizes = [len(batch) for batch in batches]
        f1 = 2 * iou / (1 + iou)
        return {
            "iou": float(np.average(iou, weights=sizes)),
            "f1": float(np.average(f1, weights=sizes)),
            "batch": self.parity_batch,
        }

    def summary(self) -> dict[str, Any]:
        """Per class the means over images, the pooled scores, and how often it was found, missed, hallucinated, absent.

        Raises:
            InputError: no picture was added.
        """
        if not self.cases:
            raise InputError("no case was scored; expected at least one. Check that the list is not empty.")
        classes: dict[str, Any] = {}
        for column, name in enumerate(self.class_names[1:]):
            rows = [rows[column] for rows in self.cases.values()]
            outcomes = [outcome(row) for row in rows]
            classes[name] = {
                "per_image": {metric: self.per_image(self.matrix(metric, column)) for metric in self.metrics},
                "pooled": self.pooled(column),
                **{word: outcomes.count(word) for word in OUTCOMES},
            }
            if self.objects:
                summed = total(rows)
                classes[name]["objects"] = {"reference": summed.tp + summed.fn, "predicted": summed.tp + summed.fp}
        patients = len(set(self.groups()))
        few = f"Only {patients} patients: bootstrap intervals are too narrow with fewer than {FEW}."
        return {
            "task": TASK,
            "policy": self.policy,
            "class_names": self.class_names,
            "score_objects": self.objects,
            "split": self.split,
            "parity_batch": self.parity_batch,
            "confidence": self.confidence,
            "seed": self.seed,
            "cases": len(self.cases),
            "patients": patients,
            "notes": [few] * (patients < FEW),
            "classes": classes,
            "released": self.released(),
        }

    def table(self, summary: Mapping[str, Any] | None = None) -> str:
        """Plain-text table of the summary, computed anew unless given."""
        summary = summary or self.summary()
        blocks = [counted_images(summary["cases"], summary["patients"])]
        percent = f"[{self.confidence:.0%}]"
        for name, entry in summary["classes"].items():
            lines = [[name, f"per image {percent}", f"pooled {percent}", "images"]]
            for metric, title in self.metrics.items():
                each, pooled = entry["per_image"][metric], entry["pooled"][metric]
                lines.append([title, show(each, 3), show(pooled, 3), str(each["n"])])
            counted = ", ".join(f"{word} {entry[word]}" for word in OUTCOMES)
            if "objects" in entry:
                found = entry["objects"]
                counted += f"; objects: {found['reference']:.0f} in the reference, {found['predicted']:.0f} predicted"
            blocks.append(f"{aligned(lines)}\nimages: {counted}")
        if summary["released"]:
            released = summary["released"]
            blocks.append(
                f"Released code's form, over batches of {released['batch']}: IoU {released['iou']:.3f}, "
                f"F1 {released['f1']:.3f}"
            )
        return "\n\n".join(blocks) + "\n" + "\n".join([summary["policy"], *summary["notes"]])

    def write(self, folder: str | Path, header: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write `cases.csv` (a line per picture and class) and `scores.json` (the summary), each atomically.

        Returns:
            The summary.
        """
        summary = self.summary()
        lines = []
        for (patient, case), rows in self.cases.items():
            for name, row in zip(self.class_names[1:], rows, strict=True):
                values = scores(row)
                shown = [float(values[metric]) for metric in self.metrics]
                lines.append([case, patient, name, outcome(row), *shown, *asdict(row).values()])
        columns = ["case", "patient_id", "class", "outcome", *self.metrics, *FIELDS]
        write_csv(Path(folder) / "cases.csv", columns, lines)
        write_json(Path(folder) / "scores.json", {"header": dict(header or {}), **summary})
        return summary

    @classmethod
    def read(cls, folder: str | Path) -> "InstanceReport":
        """Read back what `write` wrote.

        Raises:
            InputError: a file is missing or is not what `write` writes.
        """
        path = Path(folder) / "scores.json"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            settings = {name: saved[name] for name in ("class_names", "split", "confidence", "seed", "parity_batch")}
            report = cls(objects=saved["score_objects"], **settings)
            path = Path(folder) / "cases.csv"
            rows: dict[tuple[str, str], list[Counts]] = {}
            with path.open(newline="", encoding="utf-8") as stream:
                for line in csv.DictReader(stream):
                    counts = Counts(*(float(line[name]) for name in FIELDS))
                    rows.setdefault((line["case"], line["patient_id"]), []).append(counts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read as scores ({error}); expected a folder that an evaluation wrote."
            ) from error
        for (case, patient), counts_of_case in rows.items():
            report.add(case, patient, counts_of_case)
        return report


def outcome(row: Counts) -> str:
    """What happened to a class in one picture."""
    if row.reference:
        return "found" if row.predicted else "missed"
    return "hallucinated" if row.predicted else "absent"


def _smoothed_iou(counts: Counts, smooth: float = 1e-5) -> float:
    """IoU with a small number above and below, as the released code has it: 1 where both sides are empty."""
    union = counts.reference + counts.predicted - counts.overlap
    return (counts.overlap + smooth) / (union + smooth)
