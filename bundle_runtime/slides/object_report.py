"""Single objects of whole slides as files: GeoJSON for QuPath, tables, counts and densities, a picture."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from custom_components.errors import InputError
from custom_components.transforms.instance_split import check_split, split_instances
from monai.engines.workflow import Workflow

from ..data.record import Record
from ..figures.detection import objects_figure
from ..files import write_csv
from ..scores.collect import tensor_of
from .geojson import polygon_feature, rings_of, write_features
from .handler import SlideHandler, class_colour, rounded
from .objects import Seen, merged, objects_in
from .stream import Plan, SlideInputs

_COLUMNS = ("object", "class", "x", "y", "area_um2", "probability")
_STAIRS = 0.75  # pixels of a window by which an outline is straightened: the corners of its pixels go


class ObjectReport(SlideHandler[list[Seen]]):
    """Writes the objects of every slide; attach to an evaluator over `SlideTiles` with `decollate: false`.

    `<output_dir>/<slide>/` gets objects.geojson (QuPath detections), objects.csv and overlay.png; `slides.csv` counts
    objects by class, and by square millimetre of tissue.

    Args:
        inputs: the slides; their tiles overlap by more than the diameter of an object, or it is joined from parts.
        class_names: of the network, background first.
        output_dir: folder of the results.
        split: how objects are parted, see `split_instances`.
        min_size: smallest object, pixels of a tile.
        min_distance: pixels between the centres of two objects.
        record: of the network's training; cells of classes that it did not learn are empty.

    Raises:
        InputError: see `check_split`.
    """

    def __init__(
        self,
        inputs: SlideInputs,
        class_names: Sequence[str],
        output_dir: str | Path,
        split: str = "watershed",
        min_size: int = 0,
        min_distance: int = 5,
        record: Record | None = None,
    ) -> None:
        check_split(split, min_size, min_distance)
        self.names = list(class_names)
        self.unlearnt = {} if record is None else record.unlearnt
        self.splitting: Mapping[str, Any] = {"method": split, "min_size": min_size, "min_distance": min_distance}
        counts = [f"{name}_{what}" for name in self.names[1:] for what in ("count", "per_mm2", "area_um2")]
        columns = ["slide", "patient_id", "file", "tiles", "tissue_mm2", *counts, "warning"]
        super().__init__(inputs, output_dir, columns)

    def begin_slide(self, plan: Plan) -> list[Seen]:
        """No object yet."""
        return []

    def take(self, engine: Workflow, plan: Plan, held: list[Seen], tiles: np.ndarray) -> None:
        """Part the objects of windows (B,) whose logits (B, K, S, S) the engine gives."""
        logits = tensor_of(engine, "pred", output_only=True)
        if logits.shape[1] != len(self.names):
            raise InputError(
                f"The network tells {logits.shape[1]} classes and there are {len(self.names)} class_names; give those "
                "that it was trained with."
            )
        highest, kinds = (values.cpu().numpy() for values in logits.float().softmax(dim=1).max(dim=1))
        grid = plan.grid
        scale = grid.side / logits.shape[-1]
        for tile, classes, probability in zip(tiles.tolist(), kinds, highest, strict=True):
            row, column = grid.corner(tile)
            # White beyond the end of the slide is no place for objects.
            classes[max(int(np.ceil((plan.size[0] - row) / scale)), 0) :] = 0
            classes[:, max(int(np.ceil((plan.size[1] - column) / scale)), 0) :] = 0
            objects = split_instances(classes, **self.splitting)
            held += objects_in(
                objects, classes, probability, (row, column), scale, plan.size, tile, self.splitting["min_size"]
            )

    def write_slide(self, plan: Plan, held: list[Seen]) -> dict[str, Any]:
        """GeoJSON, table and picture of one slide."""
        rows, columns = plan.grid.corners().T
        side, scale = plan.grid.side, plan.grid.side / plan.grid.tile_size
        found = merged(held, shapely.box(columns, rows, columns + side, rows + side))
        centres = np.array([(one.outline.centroid.x, one.outline.centroid.y) for one in found]).reshape(-1, 2)
        kinds = np.array([one.kind for one in found], int)
        areas = np.array([one.outline.area for one in found]) * plan.mpp**2
        folder = self.folder / plan.entry.slide
        write_features(folder / "objects.geojson", self._features(found, areas, _STAIRS * scale))
        lines = (
            (number, self.names[one.kind], *(rounded(x, 1) for x in centre), rounded(area, 2), rounded(one.probability))
            for number, (one, centre, area) in enumerate(zip(found, centres, areas, strict=True), start=1)
        )
        write_csv(folder / "objects.csv", _COLUMNS, lines)
        with self.inputs.open(plan) as slide:
            title = f"{plan.entry.slide}: {len(found)} objects"
            objects_figure(
                slide.overview(), centres, kinds, self.names, plan.size, folder / "overlay.png", title
            )  # fmt: skip
        row: dict[str, Any] = {
            "slide": plan.entry.slide, "patient_id": plan.entry.patient, "file": str(plan.entry.path),
            "tiles": len(plan.grid), "tissue_mm2": rounded(plan.tissue), "warning": plan.warning,
        }  # fmt: skip
        for kind, name in enumerate(self.names[1:], start=1):
            if name in self.unlearnt:
                continue  # none found says nothing of them
            count = int((kinds == kind).sum())
            row[f"{name}_count"], row[f"{name}_area_um2"] = count, rounded(areas[kinds == kind].sum(), 1)
            row[f"{name}_per_mm2"] = rounded(count / plan.tissue, 2) if plan.tissue else ""
        return row

    def _features(self, found: Sequence[Seen], areas: np.ndarray, tolerance: float) -> Iterator[dict[str, Any]]:
        for one, area in zip(found, areas, strict=True):
            yield polygon_feature(
                rings_of(one.outline.simplify(tolerance)), self.names[one.kind], class_colour(one.kind),
                {"Mean probability": round(one.probability, 4), "Area µm^2": round(float(area), 2)}, "detection",
            )  # fmt: skip
