"""Scores of many segmented pictures: per image and pooled, with intervals."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from ..files import aligned
from .instances import Counts, scores, total
from .report import CaseReport, mean, outcome
from .resampling import Pair, Resamples
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


class InstanceReport(CaseReport[Counts]):
    """Collects the counts of pictures and summarises them.

    Args:
        class_names: names by class index; index 0 is the background.
        score_objects: score objects as well, not only pixels.
        split: how predicted objects were parted, in words; stands in the policy.
        seed: of the bootstrap.
        parity_batch: also give the scores of SD-MAE's released code: IoU pooled over batches of so many pictures in the
            order of the list, then averaged with the batches' sizes; 0 does not.
    """

    SETTINGS = ("class_names", "score_objects", "split", "parity_batch", "seed")
    ABOUT = ("task", "policy", *SETTINGS[:-1], "confidence", "seed")
    task = TASK

    def __init__(
        self,
        class_names: Sequence[str],
        score_objects: bool = True,
        split: str = "",
        seed: int = 0,
        parity_batch: int = 0,
    ) -> None:
        super().__init__(class_names, seed)
        self.score_objects, self.split, self.parity_batch = score_objects, split, int(parity_batch)

    @property
    def titles(self) -> dict[str, str]:
        """Names of the scores by key."""
        return {**PIXELS, **(OBJECTS if self.score_objects else {})}

    @property
    def policy(self) -> str:
        """How pictures were scored, in words; stands in every file and table."""
        pixels = (
            "Per image: the mean over images; pooled: pixels and objects of all images are counted together first. A"
            " class that reference and prediction both lack in an image is not scored there; where one of them lacks it"
            " its scores are 0."
        )
        if not self.score_objects:
            return pixels
        return (
            f"{pixels} Objects match where their IoU is above 0.5. AJI as Kumar et al. 2017, PQ = SQ x RQ as Kirillov"
            f" et al. 2019; RQ is the F1 of objects. Predicted objects: {self.split}."
        )

    @staticmethod
    def case_score(rows: Sequence[Counts]) -> float:
        """The mean Dice over the classes of a picture; NaN where none is scored."""
        return mean(np.array([scores(row)["dice"] for row in rows]))

    def sums(self, column: int) -> dict[str, np.ndarray]:
        """Counts of one class as (cases,) arrays by field name."""
        rows = [asdict(row) for row in self.rows(column)]
        return {name: np.array([row[name] for row in rows], float) for name in FIELDS}

    def per_image(self, column: int) -> dict[str, np.ndarray]:
        """Scores of one class in each picture by metric, (cases,), NaN where undefined."""
        values = scores(self.sums(column))
        return {metric: values[metric] for metric in self.titles}

    def pooled(self, column: int) -> dict[str, Pair]:
        """Pooled scores of one class by metric: () of all pictures, (R,) in every resample of the patients."""
        draws, sums = Resamples.draw(self.groups, seed=self.seed), {}
        for name, values in self.sums(column).items():
            by_patient = np.bincount(draws.member, values, minlength=draws.patients)
            sums[name] = by_patient @ draws.counts.astype(np.float64)
        point, drawn = scores(total(self.rows(column))), scores(sums)
        return {metric: (point[metric], drawn[metric]) for metric in self.titles}

    def metrics(self) -> dict[str, float]:
        """The means over images of the first class, such as `iou`, and its pooled scores, such as `pooled_iou`."""
        each, pooled, result = self.per_image(0), scores(total(self.rows(0))), {}
        for metric in self.titles:
            result[metric] = mean(each[metric])
            result[f"pooled_{metric}"] = float(pooled[metric])
        return result

    def released(self) -> dict[str, float | int] | None:
        """The released code's IoU and F1 of the first class (see `parity_batch`); None without it."""
        if not self.parity_batch:
            return None
        rows = self.rows(0)
        batches = [rows[start : start + self.parity_batch] for start in range(0, len(rows), self.parity_batch)]
        iou = np.array([_smoothed_iou(total(batch)) for batch in batches])
        sizes = [len(batch) for batch in batches]
        f1 = 2 * iou / (1 + iou)
        return {
            "iou": float(np.average(iou, weights=sizes)),
            "f1": float(np.average(f1, weights=sizes)),
            "batch": self.parity_batch,
        }

    def scores(self) -> dict[str, Any]:
        """Per class the means over images, the pooled scores, and how often it was found, missed, invented, absent."""
        classes, draws = {}, Resamples.draw(self.groups, seed=self.seed)
        for column, name in enumerate(self.class_names[1:]):
            rows, pooled = self.rows(column), self.pooled(column)
            outcomes = [outcome(row.predicted, row.reference) for row in rows]
            classes[name] = {
                "per_image": {metric: self.estimate(values) for metric, values in self.per_image(column).items()},
                "pooled": {metric: draws.estimate(pair, self.confidence) for metric, pair in pooled.items()},
                **{word: outcomes.count(word) for word in OUTCOMES},
            }
            if self.score_objects:
                summed = total(rows)
                classes[name]["objects"] = {"reference": summed.tp + summed.fn, "predicted": summed.tp + summed.fp}
        return {"notes": self.caution(), "classes": classes, "released": self.released()}

    def table(self, summary: Mapping[str, Any]) -> str:
        """Plain-text table of a summary."""
        blocks = [counted_images(summary["cases"], summary["patients"])]
        percent = f"[{self.confidence:.0%}]"
        for name, entry in summary["classes"].items():
            title = f"{name} (not learnt)" if name in self.unlearnt else name
            lines = [[title, f"per image {percent}", f"pooled {percent}", "images"]]
            for metric, title in self.titles.items():
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

    def _lines(self) -> tuple[list[str], Iterable[Sequence[Any]]]:
        lines = []
        for (patient, case), rows in self.cases.items():
            for name, row in zip(self.class_names[1:], rows, strict=True):
                values = scores(row)
                happened = "not learnt" if name in self.unlearnt else outcome(row.predicted, row.reference)
                shown = [happened, *(float(values[metric]) for metric in self.titles)]
                lines.append([case, patient, name, *shown, *asdict(row).values()])
        return ["case", "patient_id", "class", "outcome", *self.titles, *FIELDS], lines

    @staticmethod
    def _row(line: Mapping[str, str]) -> Counts:
        return Counts(*(json.loads(line[name]) for name in FIELDS))  # whole numbers stay whole


def _smoothed_iou(counts: Counts, smooth: float = 1e-5) -> float:
    """IoU with a small number above and below, as the released code has it: 1 where both sides are empty."""
    union = counts.reference + counts.predicted - counts.overlap
    return (counts.overlap + smooth) / (union + smooth)
