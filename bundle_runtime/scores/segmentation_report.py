"""Scores of many cases: means with intervals, counts, and the two files that hold them."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from custom_components.errors import InputError
from custom_components.tumour_labels import REGION_NAMES

from ..files import aligned, write_csv, write_json
from .intervals import bootstrap_interval
from .segmentation import Row, check_penalty
from .text import millilitres, show

FEW = 10  # patients; below, bootstrap intervals are known to be too narrow
METRICS = {"dice": "Dice", "hd95": "HD95"}
COLUMNS = ["case", "patient_id", *(field.name for field in fields(Row))]
PERFECT = {"dice": 1.0, "hd95": 0.0}
OUTCOMES = ("found", "missed", "hallucinated", "absent", "unlabelled")
NOT_ET = (
    "NCR/NET is the necrotic and non-enhancing core, value 2 of the Decathlon's labels. The papers' code, like MONAI's "
    "tutorial (tutorials issue 1355), took it for the enhancing tumour: compare this row, and not ET, with their 'ET'."
)
PENALTIES = {"diagonal": "the image diagonal in mm", "drop": "undefined and left out of the mean"}


class SegmentationReport:
    """Collects the scores of cases and summarises them; the order in which cases come does not matter.

    Args:
        class_names: Names by class index; index 0 is the background.
        miss_penalty: As given to `score_case`, for the sentence that states the policy.
        parity: As given to `score_case`.
        organs: Some of the classes, for further aggregates over these alone (the paper's "Dice-8").
        confidence: Confidence of the bootstrap intervals; cases of one patient are resampled together.
        seed: Seed of the bootstrap.
        regions: As given to `score_case`; texts then speak of regions and explain their names.

    Raises:
        InputError: `organs` names something else than a class, or `miss_penalty` is no policy.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        miss_penalty: str | float = "diagonal",
        parity: bool = False,
        organs: Sequence[str] | None = None,
        confidence: float = 0.95,
        seed: int = 0,
        regions: bool = False,
    ) -> None:
        self.class_names = list(class_names)
        self.organs = None if organs is None else list(organs)
        for name in self.organs or ():
            if name not in self.class_names[1:]:
                raise InputError(f"organs names '{name}'; expected some of {self.class_names[1:]}.")
        self.miss_penalty = check_penalty(miss_penalty)
        self.parity, self.confidence, self.seed, self.regions = parity, confidence, seed, regions
        self.cases: dict[tuple[str, str], dict[str, Row]] = {}  # (patient, case) -> organ -> row

    @property
    def unit(self) -> str:
        """Unit of HD95."""
        return "voxels" if self.parity else "mm"

    @property
    def structure(self) -> str:
        """What a class is called: "organ" or "region"."""
        return "region" if self.regions else "organ"

    @property
    def policy(self) -> str:
        """How cases were scored, in words; stands in every file and table."""
        distance = "HD95 is the larger of the two directed 95th percentiles of the surface distances, in"
        if self.parity:
            return (
                f"Parity with the papers: {distance} voxels of the grid given, dropped where the {self.structure} is"
                " missed or not labelled; Dice of one that is not labelled is dropped; not drawn in a case: not scored"
                " there."
            )
        penalty = PENALTIES.get(str(self.miss_penalty), f"{self.miss_penalty} mm")
        one = "a region" if self.regions else "an organ"
        return (
            f"{distance} mm; {one} that is missed (or predicted where there is none) has Dice 0, and its HD95 is"
            f" {penalty}; absent from both label and prediction: not scored; not drawn in a case: not scored there."
        )

    def add(self, case: str, patient_id: str, rows: Sequence[Row]) -> None:
        """Take in the rows of one case.

        Args:
            case: Name of the case, unique within its patient.
            patient_id: The patient; an empty text stands for "a patient of its own".
            rows: What `score_case` returned.

        Raises:
            InputError: The case was added before.
        """
        key = (str(patient_id), str(case))
        if key in self.cases:
            raise InputError(
                f"case '{case}' of patient '{patient_id}' was scored twice; expected each case once."
                " Give every item of the datalist its own file name or patient_id."
            )
        self.cases[key] = {row.organ: row for row in rows}

    def groups(self) -> list[str]:
        """Resampling group of each case, in the order of the sorted keys: its patient, else itself."""
        return [f"patient {patient}" if patient else f"case {case}" for patient, case in sorted(self.cases)]

    def caution(self) -> list[str]:
        """A warning where the intervals rest on few patients; empty otherwise."""
        number = len(set(self.groups()))
        return [f"Only {number} patients: bootstrap intervals are too narrow with fewer than {FEW}."] * (
            1 < number < FEW
        )

    def explanations(self) -> list[str]:
        """What the names of regions stand for; empty for organs."""
        if not self.regions:
            return []
        named = "; ".join(f"{name}: {REGION_NAMES[name]}" for name in self.class_names[1:])
        return [f"Regions overlap, and each is scored by itself. {named}.", *[NOT_ET] * ("NCR/NET" in self.class_names)]

    def matrix(self, metric: str, absent: float = float("nan")) -> np.ndarray:
        """Values of "dice" or "hd95" as (cases, organs), cases sorted by patient and name, NaN where undefined.

        Args:
            metric: "dice" or "hd95".
            absent: Value of an organ that is rightly absent from the prediction.
        """
        table = np.full((len(self.cases), len(self.class_names) - 1), np.nan)
        for line, key in zip(table, sorted(self.cases), strict=True):
            for column, organ in enumerate(self.class_names[1:]):
                row = self.cases[key][organ]
                line[column] = absent if row.outcome == "absent" else getattr(row, metric)
        return table

    def estimate(self, values: np.ndarray) -> dict[str, float | int]:
        """Mean with its interval of (cases,) values, or of the column means of (cases, organs) values.

        Returns:
            mean, low, high and n, the number of cases that hold a value.
        """
        columns = values.reshape(len(values), -1)
        kept = columns[:, np.isfinite(columns).any(axis=0)]
        mean = float(np.mean(np.nanmean(kept, axis=0))) if kept.size else float("nan")
        low, high = bootstrap_interval(values, self.confidence, self.seed, self.groups())
        return {"mean": mean, "low": low, "high": high, "n": int(np.isfinite(columns).any(axis=1).sum())}

    def volumes(self, organ: str) -> dict[str, float | int]:
        """Volumes of an organ in ml, over the cases in which it is drawn or absent (0 ml), not where it is unlabelled.

        Returns:
            label and prediction: their means; difference: the mean of the absolute differences within cases; n: the
            number of cases. NaN and 0 in 2D.
        """
        rows = [self.cases[key][organ] for key in sorted(self.cases)]
        pairs = np.array([[row.volume_ml_label, row.volume_ml_prediction] for row in rows])  # cases 2
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        values = {"label": pairs[:, 0], "prediction": pairs[:, 1], "difference": abs(pairs[:, 1] - pairs[:, 0])}
        means = {name: float(numbers.mean()) if len(pairs) else math.nan for name, numbers in values.items()}
        return {**means, "n": len(pairs)}

    def _aggregates(self, organs: Sequence[str]) -> dict[str, Any]:
        chosen = [self.class_names.index(organ) - 1 for organ in organs]
        result: dict[str, Any] = {"organs": list(organs), "mean_over_cases": {}, "mean_over_organs": {}}
        for metric in METRICS:
            values = self.matrix(metric)[:, chosen]
            result["mean_over_cases"][metric] = self.estimate(mean_over_organs(values))
            result["mean_over_organs"][metric] = self.estimate(values)
        return result

    def summary(self) -> dict[str, Any]:
        """Means, intervals and counts.

        Returns:
            "organs": per organ, the estimates of dice and hd95, the mean volumes (see `volumes`) and how often it was
            found, missed, hallucinated, absent, unlabelled, and scored in all; "all" and, with `organs`, "chosen":
            "mean_over_cases" (the papers' aggregate: the mean over cases of the mean over the organs scored in the
            case) and "mean_over_organs" (the mean of the per-organ means); "policy", "notes" and what else is needed to
            read the numbers.

        Raises:
            InputError: No case was added.
        """
        if not self.cases:
            raise InputError(
                "no case was scored; expected at least one. Check that the list being evaluated is not empty."
            )
        per_organ: dict[str, dict[str, Any]] = {}
        for column, organ in enumerate(self.class_names[1:]):
            outcomes = [rows[organ].outcome for rows in self.cases.values()]
            counts = {name: outcomes.count(name) for name in OUTCOMES}
            scored = counts["found"] + counts["missed"] + (0 if self.parity else counts["hallucinated"])
            values = {metric: self.estimate(self.matrix(metric)[:, column]) for metric in METRICS}
            per_organ[organ] = {**values, "volume_ml": self.volumes(organ), "scored": scored, **counts}
        patients = len(set(self.groups()))
        notes = [
            f"Too few cases for an interval of {organ}: scored in {entry['scored']}; at least 2 patients are needed."
            for organ, entry in per_organ.items()
            if math.isnan(entry["dice"]["low"])
        ]
        notes += self.explanations() + self.caution()
        return {
            "policy": self.policy,
            "hd95_unit": self.unit,
            "class_names": self.class_names,
            "miss_penalty": self.miss_penalty,
            "parity": self.parity,
            "regions": self.regions,
            "confidence": self.confidence,
            "seed": self.seed,
            "cases": len(self.cases),
            "patients": patients,
            "notes": notes,
            "organs": per_organ,
            "all": self._aggregates(self.class_names[1:]),
            "chosen": self._aggregates(self.organs) if self.organs else None,
        }

    def table(self, summary: Mapping[str, Any] | None = None) -> str:
        """Plain-text table of the summary, computed anew unless given."""
        summary = summary or self.summary()
        percent = f"[{self.confidence:.0%}]"
        sized = any(entry["volume_ml"]["n"] for entry in summary["organs"].values())
        volumes = ["ml label", "ml predicted"] if sized else []
        counted = ["scored", "missed", "halluc.", "unlabelled"]
        lines = [[self.structure, f"Dice {percent}", f"HD95 {self.unit} {percent}", *volumes, *counted]]
        for organ, entry in summary["organs"].items():
            sizes = [millilitres(entry["volume_ml"][side]) for side in ("label", "prediction")[: len(volumes)]]
            counts = [str(entry[name]) for name in ("scored", "missed", "hallucinated", "unlabelled")]
            lines.append([organ, show(entry["dice"], 3), show(entry["hd95"], 1), *sizes, *counts])
        for part, word in (("all", f"{self.structure}s"), ("chosen", f"chosen {self.structure}s")):
            if summary[part]:
                for kind, words in (
                    ("mean_over_cases", "mean over cases"),
                    ("mean_over_organs", f"mean of {self.structure} means"),
                ):
                    values, organs = summary[part][kind], summary[part]["organs"]
                    scored = sum(summary["organs"][organ]["dice"]["n"] > 0 for organ in organs)
                    count = scored if scored == len(organs) else f"{scored} of {len(organs)}"
                    name = f"{words}, {count} {word}"
                    lines.append([name, show(values["dice"], 3), show(values["hd95"], 1)])
        listed = f"Chosen {self.structure}s (the config's headline list): {', '.join(self.organs or ())}."
        chosen = [listed] if self.organs else []
        head = f"{summary['cases']} cases of {summary['patients']} patients"
        return "\n".join([head, aligned(lines), *chosen, summary["policy"], *summary["notes"]])

    def write(self, folder: str | Path, header: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write `cases.csv` (a line per case and organ) and `scores.json` (the summary), each atomically.

        Args:
            folder: Made if missing.
            header: Config, seed, versions, data fingerprint: whatever tells where the numbers come from.

        Returns:
            The summary.
        """
        summary = self.summary()
        lines = [
            [case, patient, *asdict(row).values()]
            for patient, case in sorted(self.cases)
            for row in self.cases[patient, case].values()
        ]
        write_csv(Path(folder) / "cases.csv", COLUMNS, lines)
        write_json(Path(folder) / "scores.json", {"header": dict(header or {}), **summary})
        return summary

    @classmethod
    def read(cls, folder: str | Path) -> "SegmentationReport":
        """Read back what `write` wrote.

        Raises:
            InputError: A file is missing or is not what `write` writes.
        """
        path = Path(folder) / "scores.json"
        try:
            scores = json.loads(path.read_text())
            chosen = scores["chosen"] and scores["chosen"]["organs"]
            settings = {name: scores[name] for name in ("class_names", "miss_penalty", "parity", "confidence", "seed")}
            # Files written before there were regions do not say so.
            report = cls(organs=chosen, regions=scores.get("regions", False), **settings)
            path = Path(folder) / "cases.csv"
            by_case: dict[tuple[str, str], list[Row]] = {}
            with path.open(newline="") as stream:
                for line in csv.DictReader(stream):
                    dice, hd95, *volumes = (
                        float(line[name] or "nan")
                        for name in ("dice", "hd95", "volume_ml_label", "volume_ml_prediction")
                    )
                    row = Row(line["organ"], dice, hd95, line["outcome"], *volumes)
                    by_case.setdefault((line["case"], line["patient_id"]), []).append(row)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read as scores ({error}); expected a folder that `evaluate` wrote."
            ) from error
        for (case, patient), rows in by_case.items():
            report.add(case, patient, rows)
        return report


def mean_over_organs(values: np.ndarray) -> np.ndarray:
    """Mean over the organs defined in each case: (cases, organs) -> (cases,), NaN where none is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0.0).sum(axis=1) / defined.sum(axis=1)
