"""Scores of many segmented cases: means with intervals, counts, volumes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
from custom_components.errors import InputError
from custom_components.tumour_labels import region_table

from ..files import aligned
from .intervals import mean_of_defined
from .report import CaseReport, Key, mean
from .segmentation import Row, check_penalty
from .text import count, millilitres, show

REGION_NAMES = {
    "WT": "whole tumour",
    "TC": "tumour core",
    "ET": "enhancing tumour",
    "NCR/NET": "necrotic and non-enhancing core",
}
METRICS = {"dice": "Dice", "hd95": "HD95"}
PERFECT = {"dice": 1.0, "hd95": 0.0}
OUTCOMES = ("found", "missed", "hallucinated", "absent", "unlabelled")
NOT_ET = (
    "NCR/NET is the necrotic and non-enhancing core, value 2 of the Decathlon's labels. The papers' code, like MONAI's "
    "tutorial (tutorials issue 1355), took it for the enhancing tumour: compare this row, and not ET, with their 'ET'."
)
COLUMNS = ["case", "patient_id", "organ", "dice", "hd95", "outcome", "volume_ml_label", "volume_ml_prediction"]
PENALTIES = {"diagonal": "the image diagonal in mm", "drop": "undefined and left out of the mean"}


class SegmentationReport(CaseReport[Row]):
    """Collects the scores of cases and summarises them; the order in which cases come does not matter.

    In the files a class is an "organ", also where it is a region.

    Args:
        class_names: Names by class index; index 0 is the background.
        miss_penalty: See `score_case`.
        parity: See `score_case`.
        chosen: Some of the classes, for further aggregates over these alone (the paper's "Dice-8").
        seed: Of the bootstrap.
        regions: See `score_case`; texts then speak of regions and explain their names.

    Raises:
        InputError: `chosen` names something else than a class, `miss_penalty` is no policy, or a name is no region.
    """

    SETTINGS = ("class_names", "miss_penalty", "parity", "regions", "seed")
    ABOUT = ("policy", "hd95_unit", *SETTINGS[:-1], "confidence", "seed")

    def __init__(
        self,
        class_names: Sequence[str],
        miss_penalty: str | float = "diagonal",
        parity: bool = False,
        chosen: Sequence[str] | None = None,
        seed: int = 0,
        regions: bool = False,
    ) -> None:
        super().__init__(class_names, seed)
        if regions:
            region_table(class_names)  # refuses a name that is no region
        self.chosen = list(chosen or ())
        for name in self.chosen:
            if name not in self.class_names[1:]:
                raise InputError(f"chosen names '{name}'; expected some of {self.class_names[1:]}.")
        self.miss_penalty, self.parity, self.regions = check_penalty(miss_penalty), parity, regions

    @property
    def keys(self) -> list[Key]:
        """Patient and name of each case, sorted."""
        return sorted(self.cases)

    @property
    def hd95_unit(self) -> str:
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

    def caution(self) -> list[str]:
        """A warning where the intervals rest on few patients; of a single one the notes on its classes tell."""
        return super().caution() if self.patients > 1 else []

    def explanations(self) -> list[str]:
        """What the names of regions stand for; empty for organs."""
        if not self.regions:
            return []
        named = "; ".join(f"{name}: {REGION_NAMES[name]}" for name in self.class_names[1:])
        return [f"Regions overlap, and each is scored by itself. {named}.", *[NOT_ET] * ("NCR/NET" in self.class_names)]

    @staticmethod
    def case_score(rows: Sequence[Row]) -> float:
        """The mean Dice over the classes of a case; NaN where none is scored."""
        return mean(np.array([row.dice for row in rows]))

    def matrix(self, metric: str, absent: float = math.nan) -> np.ndarray:
        """Values of "dice" or "hd95" as (cases, classes), NaN where undefined; `absent` where rightly not predicted."""
        lines = [
            [absent if row.outcome == "absent" else getattr(row, metric) for row in self.cases[key]]
            for key in self.keys
        ]
        return np.array(lines, float).reshape(len(lines), len(self.class_names) - 1)

    def volumes(self, column: int) -> dict[str, float | int]:
        """Volumes of a class in ml, over the cases in which it is drawn or absent (0 ml), not where it is unlabelled.

        Returns:
            label and prediction: their means; difference: the mean of the absolute differences within cases; n: the
            number of cases. NaN and 0 in 2D.
        """
        pairs = np.array([[row.volume_ml_label, row.volume_ml_prediction] for row in self.rows(column)])  # cases 2
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        values = {"label": pairs[:, 0], "prediction": pairs[:, 1], "difference": abs(pairs[:, 1] - pairs[:, 0])}
        means = {name: float(numbers.mean()) if len(pairs) else math.nan for name, numbers in values.items()}
        return {**means, "n": len(pairs)}

    def metrics(self) -> dict[str, float]:
        """`mean_dice` and `mean_hd95`: over cases, of the mean over classes scored; `mean_dice_8` of 8 chosen ones."""
        suffixes = {"": self.class_names[1:], **({f"_{len(self.chosen)}": self.chosen} if self.chosen else {})}
        return {
            f"mean_{metric}{suffix}": mean(mean_of_defined(self._of(names, metric), axis=1))
            for suffix, names in suffixes.items()
            for metric in METRICS
        }

    def _of(self, names: Sequence[str], metric: str) -> np.ndarray:
        return self.matrix(metric)[:, [self.class_names.index(name) - 1 for name in names]]

    def _aggregates(self, names: Sequence[str]) -> dict[str, Any]:
        values = {metric: self._of(names, metric) for metric in METRICS}
        over_cases = {metric: self.estimate(mean_of_defined(table, axis=1)) for metric, table in values.items()}
        over_classes = {metric: self.estimate(table) for metric, table in values.items()}
        return {"organs": list(names), "mean_over_cases": over_cases, "mean_over_organs": over_classes}

    def scores(self) -> dict[str, Any]:
        """Notes; "organs": per class the estimates of dice and hd95, the mean volumes (see `volumes`) and how often it
        was found, missed, hallucinated, absent, unlabelled, and scored in all; "all" and, with `chosen`, "chosen":
        "mean_over_cases" (the papers' aggregate: the mean over cases of the mean over the classes scored in the case)
        and "mean_over_organs" (the mean of the per-class means).
        """
        classes: dict[str, dict[str, Any]] = {}
        for column, name in enumerate(self.class_names[1:]):
            outcomes = [row.outcome for row in self.rows(column)]
            counts = {word: outcomes.count(word) for word in OUTCOMES}
            scored = counts["found"] + counts["missed"] + (0 if self.parity else counts["hallucinated"])
            values = {metric: self.estimate(self.matrix(metric)[:, column]) for metric in METRICS}
            classes[name] = {**values, "volume_ml": self.volumes(column), "scored": scored, **counts}
        notes = [
            f"Too few cases for an interval of {name}: scored in {entry['scored']}; at least 2 patients are needed."
            for name, entry in classes.items()
            if math.isnan(entry["dice"]["low"]) and name not in self.unlearnt
        ]
        return {
            "notes": notes + self.explanations() + self.caution(),
            "organs": classes,
            "all": self._aggregates(self.class_names[1:]),
            "chosen": self._aggregates(self.chosen) if self.chosen else None,
        }

    def table(self, summary: Mapping[str, Any]) -> str:
        """Plain-text table of a summary."""
        percent = f"[{self.confidence:.0%}]"
        sized = any(entry["volume_ml"]["n"] for entry in summary["organs"].values())
        volumes = ["ml label", "ml predicted"] if sized else []
        counted = ["scored", "missed", "halluc.", "unlabelled"]
        lines = [[self.structure, f"Dice {percent}", f"HD95 {self.hd95_unit} {percent}", *volumes, *counted]]
        for name, entry in summary["organs"].items():
            sizes = [millilitres(entry["volume_ml"][side]) for side in ("label", "prediction")[: len(volumes)]]
            counts = [str(entry[word]) for word in ("scored", "missed", "hallucinated", "unlabelled")]
            values = [show(entry["dice"], 3), show(entry["hd95"], 1)]
            lines.append([name, *(["not learnt", "-"] if name in self.unlearnt else values), *sizes, *counts])
        for part, word in (("all", f"{self.structure}s"), ("chosen", f"chosen {self.structure}s")):
            if summary[part]:
                lines += self._mean_lines(summary, part, word)
        listed = f"Chosen {self.structure}s (the config's headline list): {', '.join(self.chosen)}."
        head = f"{count(summary['cases'], 'cases')} of {count(summary['patients'], 'patients')}"
        return "\n".join([head, aligned(lines), *[listed] * bool(self.chosen), summary["policy"], *summary["notes"]])

    def _mean_lines(self, summary: Mapping[str, Any], part: str, word: str) -> Iterable[list[str]]:
        """The two means over some classes; an average says of how many."""
        names = summary[part]["organs"]
        scored = sum(summary["organs"][name]["dice"]["n"] > 0 for name in names)
        count = scored if scored == len(names) else f"{scored} of {len(names)}"
        kinds = {"mean_over_cases": "mean over cases", "mean_over_organs": f"mean of {self.structure} means"}
        for kind, words in kinds.items():
            values = summary[part][kind]
            yield [f"{words}, {count} {word}", show(values["dice"], 3), show(values["hd95"], 1)]

    def _lines(self) -> tuple[list[str], Iterable[Sequence[Any]]]:
        rows = ((key, row) for key in self.keys for row in self.cases[key])
        return COLUMNS, ([case, patient, *asdict(row).values()] for (patient, case), row in rows)

    @staticmethod
    def _row(line: Mapping[str, str]) -> Row:
        dice, hd95, *volumes = (
            float(line[name] or "nan") for name in COLUMNS if name not in ("case", "patient_id", "organ", "outcome")
        )
        return Row(line["organ"], dice, hd95, line["outcome"], *volumes)

    @classmethod
    def _parse(cls, saved: Mapping[str, Any], lines: Iterable[Mapping[str, str]]) -> Self:
        report = super()._parse(saved, lines)
        report.chosen = (saved["chosen"] or {}).get("organs", [])
        return report
