"""Predictions of a classifier for people: one CSV row a picture; and pictures of what the network looked at."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines.workflow import Workflow
from torch import Tensor, nn

from custom_components.distributed import gather_objects, is_main, say
from custom_components.errors import InputError
from custom_components.networks.token_classifier import TokenClassifier

from ..data.schema import TASKS, Item
from ..data.subset import evenly
from ..figures.attention import attention_figure, attention_rollout, class_attention_map
from ..files import csv_text, write_atomically
from ..probes.features import evaluating
from ..weights.describe import unwrap
from ..weights.io import sha256_of
from .thresholds import fixed_thresholds, read_thresholds

_TOP = 3
_ABOUT = ("file", "case", "patient_id", "warning")  # an item's entries in its row


class PredictionTable:
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
        thresholds: what `metrics.thresholds.write_thresholds` wrote, for `multi_label`. None, or no such file: 0.5 for
            every finding, and a line says so.
        header: what the lines at the top should say, None left out; of a file under "model" the SHA-256 is added, and
            the thresholds must be those of this model.

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
    ) -> None:
        if task not in TASKS:
            raise InputError(f"task is {task!r}; choose one of {', '.join(TASKS)}.")
        self.class_names, self.task, self.items = list(class_names), task, items
        self.path = Path(output_dir) / "predictions.csv"
        self.header = dict(header or {})
        self.thresholds = None if thresholds is None else Path(thresholds)
        model = self.header.get("model")
        self._model = str(model) if model is not None and Path(str(model)).is_file() else None
        self.entries = fixed_thresholds(self.class_names)
        self._chosen = task == "multi_label" and self.thresholds is not None and self.thresholds.exists()
        if self._chosen and self.thresholds is not None:
            self.entries = read_thresholds(self.thresholds, self.class_names, self._model)
        self._rows: dict[int, list[float]] = {}

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Workflow) -> None:
        self._rows = {}

    def _collect(self, engine: Workflow) -> None:
        logits, index = _logits(engine), _entry(engine, "index")
        if logits.ndim != 2 or logits.shape[1] != len(self.class_names):
            raise InputError(
                f"The network gives {list(logits.shape[1:])} numbers an image and there are {len(self.class_names)} "
                "class_names; give those that it was trained with."
            )
        values = probabilities(logits, self.task).tolist()
        self._rows.update(zip(index.tolist(), values, strict=True))

    def _finish(self, engine: Workflow) -> None:
        self._rows = {index: row for part in gather_objects(self._rows) for index, row in part.items()}
        if is_main():
            write_atomically(self.path, self._text())
            say(f"{len(self._rows)} predictions: {self.path}")
            warned = [text for index in sorted(self._rows) if (text := self.items[index].get("warning"))]
            if warned:
                say(f"{len(warned)} of them with a warning (column warning), the first: {warned[0]}")

    def _text(self) -> str:
        about = [f"# {' '.join(line.split())}\n" for line in self._lines()]
        last = ["predicted"] if self.task == "multi_class" else [f"{name} (yes/no)" for name in self.class_names]
        rows = []
        for index, row in sorted(self._rows.items()):
            said = [self.items[index].get(key, "") for key in _ABOUT]
            rows.append([*said, *(f"{value:.6f}" for value in row), *self._verdicts(row)])
        return "".join(about) + csv_text([*_ABOUT, *self.class_names, *last], rows)

    def _verdicts(self, row: Sequence[float]) -> list[str]:
        if self.task == "multi_class":
            return [self.class_names[max(range(len(row)), key=row.__getitem__)]]
        pairs = zip(self.class_names, row, strict=True)
        return ["yes" if value >= self.entries[name]["value"] else "no" for name, value in pairs]

    def _lines(self) -> list[str]:
        """What is said at the top of the file."""
        lines = [f"{key}: {value}" for key, value in self.header.items() if value is not None]
        if self._model is not None and "sha256" not in self.header:
            lines.append(f"sha256: {sha256_of(self._model)}")
        lines.append(f"task: {self.task}")
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


class AttentionPictures:
    """Draws pictures with what the network looked at: attention of the last block, and rollout; for an evaluator.

    The pictures that are drawn are spread evenly over the list; their likeliest findings are in the title. A network
    that runs on some patches only, and tells them by `kept_patches`, gets a panel of these; the attention is then that
    of a pass over all patches. The evaluator must have `decollate: false`, and its output `image`, `pred` and `index`
    (or the batch `index`). Files: `<folder>/<position in the list>_<case>.png`.

    Args:
        network: has a `ViT` at `.vit`.
        folder: where the PNG files go.
        class_names: the K findings or classes.
        items: of the data set.
        pictures: how many; 0 draws none.
        task: "multi_label" or "multi_class".
        head_fusion: of the last block's heads, see `class_attention_map`.
        pixels: `mean` and `std` by which the pictures were normalised; None stretches them, which changes colours.

    Raises:
        InputError: an unknown task.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: str | Path,
        class_names: Sequence[str],
        items: Sequence[Item],
        pictures: int = 4,
        task: str = "multi_label",
        head_fusion: str = "mean",
        pixels: Mapping[str, Any] | None = None,
    ) -> None:
        if task not in TASKS:
            raise InputError(f"task is {task!r}; choose one of {', '.join(TASKS)}.")
        self.network, self.folder, self.items = network, Path(folder), items
        self.class_names, self.task, self.head_fusion = list(class_names), task, head_fusion
        self.positions = frozenset(evenly(len(items), pictures))
        self.pixels = None if pixels is None else dict(pixels)

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        if self.positions:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)

    def _draw(self, engine: Workflow) -> None:
        indices = _entry(engine, "index").tolist()
        rows = [row for row, index in enumerate(indices) if index in self.positions]
        if not is_main() or not rows:
            return
        images = _entry(engine, "image", output_only=True)[rows]
        values = probabilities(_logits(engine)[rows], self.task)
        network = unwrap(self.network)
        last = class_attention_map(network, images, head_fusion=self.head_fusion)
        rolled = attention_rollout(network, images)
        kept = self._kept(network, images, last.shape[1:])
        whole = "" if kept is None else " (of a pass over all patches)"
        for row, index in enumerate(indices[row] for row in rows):
            case = str(self.items[index].get("case", index))
            top = values[row].topk(min(_TOP, len(self.class_names)))
            found = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            said = ", ".join(f"{self.class_names[column]} {value:.2f}" for column, value in found)
            name = f"{index:0{len(str(len(self.items) - 1))}d}_{re.sub(r'[^A-Za-z0-9._-]+', '_', case)}.png"
            titles = [f"{case}\n{said}", f"class-token attention, last block{whole}", f"attention rollout{whole}"]
            used = None if kept is None else kept[row]
            attention_figure(images[row], [last[row], rolled[row]], self.folder / name, titles, self.pixels, used)

    @staticmethod
    def _kept(network: nn.Module, images: Tensor, grid: Sequence[int]) -> Tensor | None:
        """(B, gh, gw), 1 where a patch was used; None where all were or nobody knows."""
        if not isinstance(network, TokenClassifier):
            return None
        with evaluating(network), torch.no_grad():
            chosen = network.kept_patches(images)
        if chosen is None:
            return None
        used = images.new_zeros(len(images), math.prod(grid)).scatter(1, chosen, 1)
        return used.unflatten(1, list(grid))


def probabilities(logits: Tensor, task: str) -> Tensor:
    """(B, K) logits -> float32 probabilities on the host."""
    wide = logits.detach().float().cpu()
    return wide.sigmoid() if task == "multi_label" else wide.softmax(dim=1)


def _logits(engine: Workflow) -> Tensor:
    return _entry(engine, "pred", output_only=True)


def _entry(engine: Workflow, key: str, output_only: bool = False) -> Tensor:
    """A tensor of the evaluator's output, or of its batch."""
    sources = [engine.state.output] if output_only else [engine.state.output, engine.state.batch]
    for source in sources:
        if isinstance(source, Mapping) and isinstance(source.get(key), Tensor):
            return source[key]
    where = "output" if output_only else "output or batch"
    raise TypeError(f"The evaluator's {where} has no tensor {key!r}; set decollate to false and let the data give it.")
