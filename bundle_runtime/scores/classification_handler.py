"""Ignite handler that scores a classifier on a list of images and writes the report."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.distributed import say
from custom_components.errors import InputError, one_of
from ignite.engine import Engine

from ..data.image_file import read_picture
from ..data.record import Record
from ..data.schema import TASKS
from ..figures.classification import calibration_figure, confusion_figure, roc_figure
from ..figures.pictures import picture_path
from ..files import write_atomically
from ..pages.page import thumbnail
from .classification import reliability, to_probabilities
from .classification_report import Case, ClassificationReport
from .collect import Predictions
from .handler import ScoreHandler
from .report import extremes
from .thresholds import choose_thresholds, read_thresholds, write_thresholds

_SIDE = 224  # pixels of the picture of a case


class ScoreClassification(ScoreHandler[ClassificationReport]):
    """Scores logits against labels, writes `scores.json`, `cases.csv` and pictures, and prints the table.

    For an evaluator with `decollate: false`: `engine.state.output` holds "pred" (B, K) logits and "label" ((B, K) 1, 0
    or NaN for unknown; or (B,) class indices), `engine.state.batch` holds "index" (B,), positions in `items`. When the
    epoch ends `engine.state.metrics` holds macro_auc and mean_ap, with "multi_class" also accuracy, balanced_accuracy,
    macro_f1 and kappa. Put it before handlers that log metrics. In a distributed run each image counts once.

    Args:
        class_names: the K findings or classes.
        task: "multi_label" or "multi_class".
        output_dir: folder of the files.
        items: the list that is evaluated, as a datalist gives it: case, patient_id and file of each image.
        thresholds: file to take the thresholds of the findings from; None: 0.5 each.
        choose_thresholds: file to write thresholds to that are chosen on these images: the validation list.
        header: see `ScoreHandler`; without the config it stands in the file of thresholds, too.
        pictures: draw ROC curves, calibration and, with "multi_class", the confusion matrix.
        model_file: the weights; ties thresholds to the model.
        title: which list it is, printed before the table.
        record: see `ScoreHandler`.
        **settings: further ones of `ClassificationReport`: parity, ordered, seed.

    Raises:
        InputError: a setting that does not fit, or a file of thresholds that is not of this model and these findings.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        task: str,
        output_dir: str | Path,
        items: Sequence[Mapping[str, Any]],
        thresholds: str | Path | None = None,
        choose_thresholds: str | Path | None = None,
        header: Mapping[str, Any] | None = None,
        pictures: bool = True,
        model_file: str | Path | None = None,
        title: str = "",
        record: Record | None = None,
        **settings: Any,
    ) -> None:
        one_of("task", task, TASKS)
        if task == "multi_class" and (thresholds or choose_thresholds):
            raise InputError("thresholds are for the findings of multi_label; with multi_class set them to null.")
        if thresholds and choose_thresholds:
            raise InputError("thresholds and choose_thresholds are both set; expected one: read them or choose them.")
        super().__init__(output_dir, header, record)
        self.items, self.pictures, self.title = items, pictures, title
        self.model_file, self.threshold_file = model_file, choose_thresholds
        self.settings: dict[str, Any] = {"class_names": list(class_names), "task": task, **settings}
        # Read when the evaluation starts: the file may come from an evaluation of the validation list before it.
        self.thresholds: dict[str, dict[str, Any]] | None = None
        self._threshold_source = thresholds
        self._predictions = Predictions()

    def _start(self, engine: Engine) -> None:
        self._predictions.clear()
        if self._threshold_source:  # a file of another model shows before the first forward pass
            names = self.settings["class_names"]
            self.thresholds = read_thresholds(self._threshold_source, names, self.model_file)

    def _take(self, engine: Engine) -> None:
        self._predictions.add(engine)

    def _gather(self) -> ClassificationReport | None:
        index, logits, labels = self._predictions.gather()
        if not len(index) and self.header.get("failed"):
            return None
        probabilities = to_probabilities(logits, self.settings["task"])
        cases = [_case(self.items[position], int(position)) for position in index]
        report = ClassificationReport(
            cases=cases, probabilities=probabilities, labels=labels, thresholds=self.thresholds, **self.settings
        )
        said = ((case.case, self.items[position].get("warning")) for case, position in zip(cases, index, strict=True))
        report.warnings = {case: text for case, text in said if text}
        return report

    def _write(self) -> None:
        report = self.report
        notes, written = self._choose(report), ["scores.json", "cases.csv"]
        if narrow := self._predictions.narrow:
            notes.append(f"Logits came as {narrow}, in which many tie: AUC and AP are coarse; set amp to off.")
        if missing := len(self.items) - len(report.cases):
            notes.append(f"{missing} of {len(self.items)} images of the list were not scored.")
        text = report.table(report.write(self.output_dir, self.header, notes))
        if self.pictures:
            written += self._draw(report)
        title = f"{self.title}: " if self.title else ""
        print(f"{title}{text}\nwritten to {self.output_dir}: {', '.join(written)}", flush=True)

    def _choose(self, report: ClassificationReport) -> list[str]:
        """Choose thresholds on these images where that is asked for; returns what a reader should know."""
        if self.threshold_file is None:
            return []
        given = report.probabilities, report.labels, report.class_names, report.groups, report.seed
        report.thresholds = choose_thresholds(*given)
        # They travel with the weights: where the cases came from belongs to them, local paths and settings do not.
        about = {key: value for key, value in self.header.items() if key not in ("config", "training")}
        about |= {"cases": len(report.cases)}
        write_thresholds(self.threshold_file, report.thresholds, self.model_file, about)
        return ["Thresholds were chosen on these same images: what is reached at them is not to be expected elsewhere."]

    def _draw(self, report: ClassificationReport) -> list[str]:
        names, size = report.class_names, f"{len(report.cases)} images"
        roc_figure(report.probabilities, report.findings, names, self.output_dir / "roc.png", f"ROC curves, {size}")
        columns = zip(names, report.probabilities.T, report.findings.T, strict=True)
        bins = {name: reliability(probabilities, labels) for name, probabilities, labels in columns}
        calibration_figure(bins, self.output_dir / "calibration.png", f"Calibration, {size}")
        self._draw_cases(report)
        if report.task == "multi_label":
            return ["roc.png", "calibration.png"]
        called = report.probabilities.argmax(axis=1)
        confusion_figure(report.labels, called, names, self.output_dir / "confusion.png", f"Confusion matrix, {size}")
        return ["roc.png", "calibration.png", "confusion.png"]

    def _draw_cases(self, report: ClassificationReport) -> None:
        """The images that went worst and best."""
        ranked = sorted(zip(report.case_scores(), report.cases, strict=True), key=lambda pair: pair[0])
        lost: list[InputError] = []
        for _, case in itertools.chain(*extremes(ranked)):
            try:
                pixels = read_picture(case.file).pixels
            except InputError as error:  # all of a cache was scored, and the file has gone since
                lost.append(error)
                continue
            write_atomically(picture_path(self.output_dir / "pictures", case.case), thumbnail(pixels, _SIDE, "png"))
        if lost:
            say(f"No picture of {len(lost)} case(s), the first: {lost[0]}")


def _case(item: Mapping[str, Any], position: int) -> Case:
    image = item.get("image", "")
    file = str(item.get("file") or (image[0] if isinstance(image, list) else image))
    return Case(str(item.get("case") or f"image {position}"), str(item.get("patient_id") or ""), file)
