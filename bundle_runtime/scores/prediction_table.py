"""Predictions of a classifier for people: one CSV row a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.distributed import say
from custom_components.errors import one_of
from monai.engines.workflow import Workflow

from ..data.record import Record
from ..data.schema import TASKS, Item
from ..files import csv_text, write_atomically
from ..weights.io import sha256_of
from .classification import to_probabilities
from .collect import logits_of, nothing_came, tensor_of
from .tables import Table
from .thresholds import fixed_thresholds, read_thresholds

_ABOUT = ("file", "case", "patient_id", "warning")  # an item's entries in its row


class PredictionTable(Table):
    """Writes `predictions.csv` when the evaluation ends; attach to an evaluator with `decollate: false`.

    Lines that start with # say which model and thresholds were used. Columns: file, case, patient_id, warning (the
    item's: why its result may mean nothing; empty normally), then for `multi_label` a probability and a yes or no a
    finding, for `multi_class` a probability a class and the likeliest.

    The evaluator's output or batch must hold `index`, positions in `items`, and its output `pred`, logits (B, K).

    Args:
        class_names: the K findings or classes.
        task: "multi_label" or "multi_class".
        items: of the data set.
        output_dir: folder of the file.
        thresholds: what `write_thresholds` wrote, for `multi_label`. None, or no such file: 0.5 for
            every finding, and a line says so.
        header: what the lines at the top should say, None left out; of a file under "model" the SHA-256 is added, and
            the thresholds must be those of this model.
        record: of the network's training; cells of classes that it did not learn are empty.

    Raises:
        InputError: an unknown task, or thresholds that cannot be read or are of other findings or of another model.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        task: str,
        items: Sequence[Item],
        output_dir: str | Path,
        thresholds: str | Path | None = None,
        header: Mapping[str, Any] | None = None,
        record: Record | None = None,
    ) -> None:
        self.unlearnt = {} if record is None else record.unlearnt
        super().__init__(Path(output_dir) / "predictions.csv")
        self.class_names, self.task, self.items = list(class_names), one_of("task", task, TASKS), items
        self.header = dict(header or {})
        self.thresholds = None if thresholds is None else Path(thresholds)
        model = self.header.get("model")
        self._model = str(model) if model is not None and Path(str(model)).is_file() else None
        self.entries = fixed_thresholds(self.class_names)
        self._chosen = task == "multi_label" and self.thresholds is not None and self.thresholds.exists()
        if self._chosen and self.thresholds is not None:
            self.entries = read_thresholds(self.thresholds, self.class_names, self._model)

    def _take(self, engine: Workflow) -> None:
        if not nothing_came(engine):
            values = to_probabilities(logits_of(engine, len(self.class_names)), self.task)
            self.rows |= zip(tensor_of(engine, "index").tolist(), values.tolist(), strict=True)

    def _write(self) -> None:
        write_atomically(self.paths[0], self._text())
        say(f"{len(self.rows)} predictions: {self.paths[0]}")
        warned = [text for index in sorted(self.rows) if (text := self.items[index].get("warning"))]
        if warned:
            say(f"{len(warned)} of them with a warning (column warning), the first: {warned[0]}")

    def _text(self) -> str:
        about = [f"# {' '.join(line.split())}\n" for line in self._lines()]
        last = ["predicted"] if self.task == "multi_class" else [f"{name} (yes/no)" for name in self.class_names]
        rows = []
        for index, row in sorted(self.rows.items()):
            said = [self.items[index].get(key, "") for key in _ABOUT]
            pairs = zip(self.class_names, row, strict=True)
            shown = ("" if name in self.unlearnt else f"{value:.6f}" for name, value in pairs)
            rows.append([*said, *shown, *self.verdicts(row)])
        return "".join(about) + csv_text([*_ABOUT, *self.class_names, *last], rows)

    def verdicts(self, row: Sequence[float]) -> list[str]:
        """What a row of probabilities means: the likeliest class, or yes, no or "not learnt" a finding."""
        if self.task == "multi_class":
            return [self.class_names[max(range(len(row)), key=row.__getitem__)]]
        pairs = zip(self.class_names, row, strict=True)
        return [
            "not learnt" if name in self.unlearnt else "yes" if value >= self.entries[name]["value"] else "no"
            for name, value in pairs
        ]

    def _lines(self) -> list[str]:
        """What is said at the top of the file."""
        lines = [f"{key}: {value}" for key, value in self.header.items() if value is not None]
        if self._model is not None and "sha256" not in self.header:
            lines.append(f"sha256: {sha256_of(self._model)}")
        lines.append(f"task: {self.task}")
        lines += [f"not learnt: {name}, {why}" for name, why in self.unlearnt.items()]
        if self.task == "multi_class":
            return [*lines, "columns: a probability a class, and the likeliest class"]
        if self._chosen:
            lines.append(f"thresholds: {self.thresholds}")
        elif self.thresholds is None:
            lines.append("thresholds: none given, 0.5 for every finding")
        else:
            lines.append(f"thresholds: {self.thresholds} does not exist, 0.5 for every finding")
        values = (f"{name} {float(entry['value']):g}" for name, entry in self.entries.items())
        lines.append(f"values: {', '.join(values)}")
        unsure = [name for name, entry in self.entries.items() if not entry.get("reliable", True)]
        if self._chosen and unsure:
            lines.append(f"not reliable on the validation list, so 0.5: {', '.join(unsure)}")
        return [*lines, "columns: a probability a finding, then yes where it reaches the threshold"]
