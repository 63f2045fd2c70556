"""Slides of a detection run: found, checked and laid out in tiles, then read in batches by worker processes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.distributed import distributed, say
from custom_components.errors import InputError
from torch.utils.data import Dataset
from tqdm import tqdm

from ..data.image_prepare import Recipe
from ..data.inference import InferenceInputs, check_finite
from ..data.record import Record
from ..data.verify_pictures import look_of
from ..failures import sentence_of
from ..weights.io import read_sidecar, sidecar_path
from .annotations import Annotation, find_annotation
from .find import SlideFile, find_slides
from .grid import Grid, tissue_grid
from .slide import TOLERANCE, Slide, mpp_of
from .tissue import Tissue

_LOOKED_AT = 16  # tiles of a slide, of which it is said whether they look like those of the training


@dataclass(frozen=True)
class Plan:
    """What is done with one slide.

    Attributes:
        entry: file, slide id and patient.
        grid: its tiles.
        size: height and width of level 0 in pixels.
        mpp: micrometres a pixel at level 0.
        tissue: square millimetres of tissue under the tiles.
        annotation: file of the annotation, or None.
        warning: why its result may mean little, or "".
    """

    entry: SlideFile
    grid: Grid
    size: tuple[int, int]
    mpp: float
    tissue: float
    annotation: Path | None
    warning: str


class SlideInputs(InferenceInputs):
    """The slides of a run.

    Args:
        dataset_dir: a slide, or a folder that is searched with its subfolders.
        output_dir: folder for `failures.json`.
        tile_size: side of a tile in pixels.
        magnification: of the tiles; 20 means 0.5 micrometres a pixel.
        mpp: micrometres a pixel of the tiles, instead.
        stride: distance of neighbouring tiles in pixels of the tiles; None: no overlap.
        tissue_fraction: least share of tissue of a tile that is looked at; None: see `least_tissue`.
        min_area: smaller pieces of tissue are ignored, square millimetres.
        assume_mpp: see `Slide`.
        patient_pattern: see `find_slides`.
        patients: see `find_slides`.
        annotations: folder of annotations, see `find_annotation`; None: no scoring.
        record: of the network's training.
        usual_tissue: the least share of tissue where it says none.
        pieces: it learnt from pieces of its pictures, so tiles may be smaller than those.

    Attributes:
        plans: the usable slides; one without tissue has no tiles.

    Raises:
        InputError: no slide was found, a setting is wrong, no slide can be used, or several processes run at once.
    """

    noun = "slides"

    def __init__(
        self,
        dataset_dir: str,
        output_dir: str,
        tile_size: int = 224,
        magnification: float | None = None,
        mpp: float | None = None,
        stride: int | None = None,
        tissue_fraction: float | None = None,
        min_area: float = 0.01,
        assume_mpp: float | None = None,
        patient_pattern: str | None = None,
        patients: str | None = None,
        annotations: str | None = None,
        record: Record | None = None,
        usual_tissue: float = 0.1,
        pieces: bool = False,
    ) -> None:
        if distributed():
            raise InputError("Slides are looked at by one process; start it without torchrun.")
        super().__init__(output_dir)
        self.tile_size, self.assume_mpp, self.annotations = tile_size, assume_mpp, annotations
        self.record = record
        wanted, (share, doubt) = mpp_of(magnification, mpp), least_tissue(tissue_fraction, record, usual_tissue)
        self.doubts = [doubt] if doubt else []  # of every slide
        if record is not None:
            least = record.images.side[0] if pieces and record.images.side else 0.0
            tile = {"picture": {"side": max(float(tile_size), least), "grey": False}}
            self.doubts += [f"each tile {difference}" for difference in record.differences(tile)]
        for doubt in self.doubts:
            say(f"WARNING: {doubt}.")
        found = find_slides(dataset_dir, patient_pattern, patients, leave_out=[output_dir])
        find_annotation(annotations, "")  # refuses a folder that does not exist, before hours of work
        self.count = len(found)
        self.plans: list[Plan] = []
        for entry in tqdm(found, desc="look for tissue", unit="slide", delay=2.0):
            try:
                with Slide(entry.path, assume_mpp) as slide:
                    grid, tissue, _ = tissue_grid(slide, wanted, tile_size, stride, share, False, min_area)
                    self._plan(entry, slide, grid, tissue)
            except Exception as error:  # whatever it was, the others go on
                self.fail(entry, error)
        if not self.plans:
            self.finish()

    def _plan(self, entry: SlideFile, slide: Slide, grid: Grid, tissue: Tissue) -> None:
        file = find_annotation(self.annotations, entry.slide)
        if file is not None:
            Annotation(file, slide)  # refuses what does not belong to this slide
        doubts = [problem.removeprefix(f"{entry.path}: ").removesuffix(".") for problem in slide.problems]
        doubts += self._unlike(slide, grid) if len(grid) else ["no tissue was found; its result is empty"]
        for doubt in doubts:
            say(f"WARNING: {entry.path}: {doubt}.")
        size, mpp = (slide.height, slide.width), float(slide.mpp or grid.mpp)
        area = tissue.area(grid.corners(), grid.side) * mpp**2 / 1e6
        self.plans.append(Plan(entry, grid, size, mpp, area, file, "; ".join([*doubts, *self.doubts])))

    def _unlike(self, slide: Slide, grid: Grid) -> list[str]:
        """Whether colours or brightness of a slide, by a few of its tiles side by side, are unlike the training's."""
        if self.record is None or not self.record.images.looks:
            return []
        chosen = np.unique(np.linspace(0, len(grid) - 1, _LOOKED_AT).astype(int))
        try:
            tiles = [slide.read_at(grid.mpp, *grid.corner(int(tile)), self.tile_size) for tile in chosen]
        except InputError:  # it is named where all tiles are read
            return []
        look = look_of(np.ascontiguousarray(np.moveaxis(np.concatenate(tiles), -1, 0)))
        said = self.record.images.other_looks({"picture": {"look": look}}, "those of the training")
        return [f"its tissue {text}" for text in said]

    def open(self, plan: Plan) -> Slide:
        """Open the slide of a plan."""
        return Slide(plan.entry.path, self.assume_mpp)

    def fail(self, entry: SlideFile, reason: str | BaseException) -> None:
        """Note that a slide could not be used."""
        said = reason if isinstance(reason, str) else sentence_of(reason)
        self.set_aside(entry.slide, str(entry.path), said.removeprefix(f"{entry.path}: ").removesuffix("."))

    def iteration(self, engine: Any, batch: dict[str, Any]) -> Any:
        """The evaluator's `iteration_update`: what fails in the network is a `problem` of the batch's slide."""
        if not batch["problem"]:
            try:
                output = engine._iteration(engine, batch)
                check_finite(output["pred"])
                return output
            except Exception as error:  # whatever it was, the other slides go on
                batch["problem"] = sentence_of(error)
        return {}


class SlideTiles(Dataset):
    """Element `i` is a whole batch of tiles of one slide, read when it is asked for; a slide is never held in memory.

    A batch holds image uint8 (B, 3, S, S), random (B, 0) as `PictureBatch` wants it, slide (the number of the plan),
    index int64 (B,) numbers of the tiles in its grid, and problem, a sentence where the slide could not be read; from
    then on no more of it is. Then, and for a slide without tissue, the image is one white tile and its index -1.

    Args:
        inputs: the slides.
        batch_size: tiles at a time.
        prepare: what the training's image cache did to each tile; None leaves tiles as they are.
    """

    def __init__(self, inputs: SlideInputs, batch_size: int, prepare: Recipe | None = None) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size is {batch_size!r}, expected a whole number from 1 on.")
        self.inputs, self.prepare = inputs, prepare
        self.data: list[tuple[int, range]] = []
        for number, plan in enumerate(inputs.plans):
            starts = range(0, max(len(plan.grid), 1), batch_size)
            self.data += [(number, range(start, min(start + batch_size, len(plan.grid)))) for start in starts]
        self._open: tuple[tuple[int, int], Slide] | None = None  # process and plan
        self._broken: dict[int, str] = {}  # why, by plan

    def __len__(self) -> int:
        return len(self.data)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": None}  # a worker opens the file itself

    def __getitem__(self, number: int) -> dict[str, Any]:
        plan_number, tiles = self.data[number]
        pixels: list[np.ndarray] = []
        if plan_number not in self._broken:
            try:
                pixels = [self._read(plan_number, self.inputs.plans[plan_number], tile) for tile in tiles]
            except Exception as error:  # whatever it was, the other slides go on
                self._broken[plan_number], pixels = sentence_of(error), []
        images = np.stack(pixels or [self._prepared(np.full((self.inputs.tile_size,) * 2 + (3,), 255, np.uint8))])
        return {
            "image": torch.from_numpy(images),  # B 3 S S
            "random": torch.zeros(len(images), 0),
            "slide": plan_number,
            "index": torch.tensor(list(tiles) if pixels else [-1]),
            "problem": self._broken.get(plan_number, ""),
        }

    def failed(self, number: int, reason: str) -> dict[str, Any]:
        """What stands for a batch that could not be read, for a `CaseLoader`."""
        self._broken[self.data[number][0]] = reason
        return self[number]

    def _read(self, number: int, plan: Plan, tile: int) -> np.ndarray:
        owner = (os.getpid(), number)  # a forked worker must not read through the handle of its parent
        if self._open is None or self._open[0] != owner:
            if self._open is not None:
                self._open[1].close()
            self._open = (owner, self.inputs.open(plan))
        return self._prepared(self._open[1].read_at(plan.grid.mpp, *plan.grid.corner(tile), self.inputs.tile_size))

    def _prepared(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (S, S, 3) -> (3, S', S')."""
        tile = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        return tile if self.prepare is None else self.prepare.apply(tile)


def least_tissue(
    tissue_fraction: float | None = None, record: Record | None = None, usual: float = 0.1
) -> tuple[float, str]:
    """The least share of tissue of a tile that is looked at, and why that means little, or "".

    A network that never saw tiles with more glass than that calls them anything.

    Args:
        tissue_fraction: what is asked for. None takes the training's, or the usual one where that is not known.
        record: of the training.
        usual: share of tissue.
    """
    trained = None if record is None else record.about.get("tissue_fraction")
    if tissue_fraction is None:
        if trained is not None:
            say(f"Tiles with less than {trained:g} of tissue are not looked at, as in the training.")
        return usual if trained is None else float(trained), ""
    if trained is None or tissue_fraction >= trained:
        return tissue_fraction, ""
    return tissue_fraction, (
        f"tissue_fraction is {tissue_fraction:g}, and the training saw no tile with less than {trained:g} of tissue: "
        "what is found at the rim of the tissue means little"
    )


def check_targets(targets: Sequence[str], class_names: Sequence[str], record: Record | None = None) -> list[int]:
    """Positions of the target classes.

    Raises:
        InputError: none, or one that the network does not know, or by the record of its training has not learnt.
    """
    unknown = [name for name in targets if name not in class_names]
    if unknown or not targets:
        found = f"target {unknown[0]!r} is not a class of the network" if unknown else "target names no class"
        raise InputError(f"{found}; choose from {', '.join(class_names)}.")
    for name, reason in (record.unlearnt if record is not None else {}).items():
        if name in targets:
            raise InputError(f"target {name!r} was not learnt, so it is never found: {reason}; take it out of target.")
    return [list(class_names).index(name) for name in targets]


def check_resolution(model_file: str | Path, magnification: float | None = None, mpp: float | None = None) -> float:
    """Refuse tiles of another resolution than those that the network was trained on.

    Nothing else would tell: a network for 20x gives probabilities for tiles at 40x as well. Where the sidecar of the
    model does not say the resolution, a note is printed.

    Args:
        model_file: the trained network, with its sidecar beside it.
        magnification: of the tiles; 20 means 0.5 micrometres a pixel.
        mpp: micrometres a pixel of the tiles, instead.

    Returns:
        Micrometres a pixel of the tiles.

    Raises:
        InputError: both resolutions are known and differ by more than 5 %.
    """
    wanted = mpp_of(magnification, mpp)
    trained = (read_sidecar(model_file) or {}).get("mpp")
    if trained is None:
        say(
            f"Note: {model_file} does not say at which resolution it was trained; whether {wanted:g} micrometres a "
            "pixel is right cannot be checked."
        )
    elif abs(wanted / trained - 1) > TOLERANCE:
        settings = f"--mpp {trained:g}" + ("" if magnification is None else " and --magnification null")
        raise InputError(
            f"{model_file}: was trained on tiles of {trained:g} micrometres a pixel ({sidecar_path(model_file)}), and "
            f"this run looks at tiles of {wanted:g}; give {settings}, or take a model of such tiles."
        )
    return wanted
