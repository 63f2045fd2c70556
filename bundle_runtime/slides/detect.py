"""Detection on whole slides: collects a classifier's scores, and writes heat map, outlines, points and FROC."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.distributed import say
from custom_components.errors import InputError, one_of
from monai.engines.workflow import Workflow

from ..data.schema import TASKS
from ..figures.detection import detection_figure, froc_figure
from ..files import write_atomically, write_csv, write_json
from ..scores.classification import to_probabilities
from ..scores.collect import logits_of
from ..scores.report import write_ranking
from .annotations import Annotation
from .froc import Hits, hits, report
from .geojson import point_feature, polygon_feature, write_features
from .handler import SlideHandler, class_colour, rounded
from .heatmap import HeatMap, Point, Region
from .stream import Plan, SlideInputs, check_targets

UNANNOTATED = ("leave_out", "background")
_SLIDE_COLUMNS = (
    "slide", "patient_id", "file", "tiles", "highest", "points", "regions", "area_mm2", "lesions", "found", "false",
    "warning",
)  # fmt: skip
_POINT_COLUMNS = ("slide", "kind", "x", "y", "class", "probability", "mean_probability", "area_um2", "region")


class DetectionReport(SlideHandler[HeatMap]):
    """Writes what was found on every slide; attach to an evaluator over `SlideTiles` with `decollate: false`.

    A slide is written as soon as its last tile is through: `<output_dir>/<slide>/` gets probability.tif and classes.tif
    (a cell a tile; where they lie is in their description), detections.geojson (QuPath), detections.csv, overlay.png.
    At the end come slides.csv and, with annotations, froc.json and froc.png.

    Args:
        inputs: the slides.
        class_names: the K classes of the network.
        target: the classes that are looked for.
        task: "multi_class" (probabilities of targets are added) or "multi_label" (the highest counts).
        output_dir: folder of the results.
        threshold: probability above which a cell belongs to a region, and a maximum is a point.
        nms_distance: of two maxima closer than this, in micrometres, the lower is dropped.
        min_area: smaller regions are dropped with their points, square micrometres.
        froc_threshold: probability above which points enter the FROC; it should be far below `threshold`.
        grow_distance: of the scoring, see `Annotation.lesions`; micrometres.
        itc_diameter: likewise.
        hit_distance: a point that close to an annotated point hits it; micrometres.
        unannotated: "leave_out" or "background": what a slide without an annotation means for the FROC.
        seed: of the bootstrap.
        header: what the results should say of their origin.

    Raises:
        InputError: an unknown class, task or choice, or a number that is out of range.
    """

    def __init__(
        self,
        inputs: SlideInputs,
        class_names: Sequence[str],
        target: Sequence[str] | str,
        task: str,
        output_dir: str | Path,
        threshold: float = 0.5,
        nms_distance: float = 200.0,
        min_area: float = 0.0,
        froc_threshold: float = 0.05,
        grow_distance: float = 75.0,
        itc_diameter: float = 200.0,
        hit_distance: float = 75.0,
        unannotated: str = "leave_out",
        seed: int = 0,
        header: dict[str, Any] | None = None,
    ) -> None:
        self.targets = [target] if isinstance(target, str) else list(target)
        self.columns = check_targets(self.targets, class_names)
        one_of("task", task, TASKS)
        one_of("unannotated", unannotated, UNANNOTATED)
        for name, value, most in (
            ("threshold", threshold, 1.0), ("froc_threshold", froc_threshold, 1.0), ("min_area", min_area, np.inf),
            ("nms_distance", nms_distance, np.inf), ("grow_distance", grow_distance, np.inf),
            ("itc_diameter", itc_diameter, np.inf), ("hit_distance", hit_distance, np.inf),
        ):  # fmt: skip
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value <= most
                or value == np.inf
            ):
                raise InputError(
                    f"{name} is {value!r}, expected a number from 0{f' to {most:g}' if most == 1 else ''}."
                )
        self.class_names, self.task = list(class_names), task
        self.header, self.seed, self.unannotated = dict(header or {}), seed, unannotated
        self.threshold, self.froc_threshold = float(threshold), float(froc_threshold)
        self.nms_distance, self.min_area = float(nms_distance), float(min_area)
        self.scoring = {"grow": float(grow_distance), "itc": float(itc_diameter), "reach": float(hit_distance)}
        super().__init__(inputs, output_dir, _SLIDE_COLUMNS)

    def _start(self) -> None:
        super()._start()
        self._hits: list[tuple[str, Hits]] = []

    def begin_slide(self, plan: Plan) -> HeatMap:
        """An empty map."""
        return HeatMap(plan.grid, len(self.columns), plan.mpp)

    def take(self, engine: Workflow, plan: Plan, held: HeatMap, tiles: np.ndarray) -> None:
        """Enter the probabilities of tiles (B,)."""
        values = to_probabilities(logits_of(engine, len(self.class_names), "a tile"), self.task)
        held.put(tiles, values[:, self.columns], values.argmax(axis=1))

    def write_slide(self, plan: Plan, held: HeatMap) -> dict[str, Any]:
        """Maps, outlines, points, table and picture of one slide."""
        heat, total = held, held.total(self.task == "multi_class")
        regions, numbers = heat.regions(total, self.threshold, self.min_area)
        candidates = heat.points(total, min(self.froc_threshold, self.threshold), self.nms_distance, numbers)
        points = [point for point in candidates if point.region > 0]
        row: dict[str, Any] = {
            "slide": plan.entry.slide, "patient_id": plan.entry.patient, "file": str(plan.entry.path),
            "tiles": len(plan.grid), "highest": rounded(np.nanmax(total)) if np.isfinite(total).any() else "",
            "points": len(points), "regions": len(regions),
            "area_mm2": round(sum(region.area for region in regions) / 1e6, 4), "warning": plan.warning,
        }  # fmt: skip
        folder = self.folder / plan.entry.slide
        about = {**self.header, "slide": plan.entry.slide, "classes": self.class_names}
        write_atomically(folder / "probability.tif", heat.tiff(total, {**about, "values": self.targets}))
        write_atomically(folder / "classes.tif", heat.tiff(heat.classes, {**about, "not_looked_at": 255}))
        self._write_found(folder, plan, points, regions)
        with self.inputs.open(plan) as slide:
            annotation = None if plan.annotation is None else Annotation(plan.annotation, slide)
            detection_figure(
                slide.overview(), heat, total, points, regions, plan.size, folder / "overlay.png",
                f"{plan.entry.slide}: probability of {', '.join(self.targets)}", annotation,
            )  # fmt: skip
        return row | self._score(plan, annotation, candidates)

    def _write_found(self, folder: Path, plan: Plan, points: Sequence[Point], regions: Sequence[Region]) -> None:
        features: list[dict[str, Any]] = []
        rows: list[tuple[Any, ...]] = []
        for region in regions:
            name = self.targets[region.target]
            features.append(
                polygon_feature(region.rings, name, class_colour(self.columns[region.target]), {
                    "Mean probability": region.mean, "Max probability": region.highest, "Area µm^2": region.area,
                })
            )  # fmt: skip
            x, y = region.rings[0].mean(axis=0)
            rows.append((plan.entry.slide, "region", rounded(x, 1), rounded(y, 1), name, rounded(region.highest),
                         rounded(region.mean), rounded(region.area, 1), region.number))  # fmt: skip
        for point in points:
            name = self.targets[point.target]
            features.append(
                point_feature(point.column, point.row, name, class_colour(self.columns[point.target]),
                              {"Probability": point.probability})
            )  # fmt: skip
            rows.append((plan.entry.slide, "point", rounded(point.column, 1), rounded(point.row, 1), name,
                         rounded(point.probability), "", "", point.region))  # fmt: skip
        write_features(folder / "detections.geojson", features)
        write_csv(folder / "detections.csv", _POINT_COLUMNS, rows)

    def _score(self, plan: Plan, annotation: Annotation | None, points: Sequence[Point]) -> dict[str, Any]:
        if annotation is None:
            if self.inputs.annotations is not None and self.unannotated == "background":
                false = np.array([point.probability for point in points], np.float32)
                self._hits.append((plan.entry.patient, Hits(false, np.zeros(0, np.float32), 0, 0)))
                return {"lesions": 0, "found": 0, "false": int((false > self.threshold).sum())}
            return {}
        found = hits(points, annotation.lesions(self.targets, **self.scoring))
        self._hits.append((plan.entry.patient, found))
        at = self.threshold
        return {
            "lesions": found.lesions,
            "found": int((found.found > at).sum()),
            "false": int((found.false > at).sum()),
        }

    def _finish(self, engine: Workflow) -> None:
        super()._finish(engine)
        if self._hits:
            self._write_froc(engine)
            keys = [(str(row["patient_id"]), str(row["slide"])) for row in self.rows]
            found = [row["found"] / row["lesions"] if row.get("lesions") else math.nan for row in self.rows]
            write_ranking(self.folder, "share of its lesions that are found", zip(keys, found, strict=True))

    def _write_froc(self, engine: Workflow) -> None:
        found = report([entry for _, entry in self._hits], [patient for patient, _ in self._hits], self.seed)
        settings = {
            "target": self.targets, "froc_threshold": self.froc_threshold, "nms_distance_um": self.nms_distance,
            "grow_distance_um": self.scoring["grow"], "itc_diameter_um": self.scoring["itc"],
            "hit_distance_um": self.scoring["reach"], "unannotated": self.unannotated, "seed": self.seed,
            "definition": "mean sensitivity at 1/4, 1/2, 1, 2, 4 and 8 false positives a slide (Camelyon16)",
        }  # fmt: skip
        content = {"header": {**self.header, "settings": settings}, **found}
        write_json(self.folder / "froc.json", content)
        if found["score"] is None:
            say("WARNING: the annotations hold no lesion of the target that counts; there is no FROC score.")
            return
        engine.state.metrics["froc_score"] = found["score"]
        low, high = found["interval_95"]
        interval = "" if low is None else f", 95 % interval {low:.3f} to {high:.3f} over patients"
        title = f"FROC score {found['score']:.3f}{interval}\n{found['lesions']} lesions on {found['slides']} slide(s)"
        froc_figure(found, self.folder / "froc.png", title)
        say(title.replace("\n", "; "))
        for note in found["notes"]:
            say(f"Note: {note}")
