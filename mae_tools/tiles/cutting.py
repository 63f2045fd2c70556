"""Cutting slides into tiles: one slide at a time, whole or not at all, and never twice."""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from bundle_runtime.failures import sentence_of
from bundle_runtime.files import short_name, write_atomically
from bundle_runtime.slides.annotations import Annotation, find_annotation
from bundle_runtime.slides.find import SlideFile
from bundle_runtime.slides.grid import Grid, tissue_grid
from bundle_runtime.slides.slide import Slide
from bundle_runtime.slides.tissue import box_mean
from custom_components.errors import InputError
from PIL import Image
from tqdm import tqdm

from .picture import grid_picture

FORMATS: dict[str, dict[str, Any]] = {"png": {"compress_level": 3}, "jpg": {"quality": 90}}
UNANNOTATED = ("refuse", "background")
_MAP_MPP = 4.0  # micrometres a pixel of the map that labels are read from
Row = dict[str, Any]


@dataclass(frozen=True)
class TileSettings:
    """What decides the tiles of a slide; kept beside them, so that tiles of two settings never mix.

    Attributes:
        mpp: micrometres a pixel of a tile.
        tile_size: side in pixels.
        overlap: of neighbouring tiles, in pixels.
        tissue_fraction: least share of a tile that is tissue, 0 to 1.
        min_area: smaller pieces of tissue are ignored, square millimetres.
        format: png (exact) or jpg (quality 90, a fifth of the size).
        assume_mpp: micrometres a pixel of the scan, for slides that do not say it.
        class_names: of the labels, what is not annotated first; None: no labels.
        annotated_fraction: least share of a tile that its class covers; tiles below, but above 0, get no label and are
            left out of the datalist.
        unannotated: refuse, or background: a slide without an annotation file holds none of the classes.

    Raises:
        InputError: one of them makes no sense.
    """

    mpp: float
    tile_size: int = 224
    overlap: int = 0
    tissue_fraction: float = 0.5
    min_area: float = 0.01
    format: str = "png"
    assume_mpp: float | None = None
    class_names: list[str] | None = None
    annotated_fraction: float = 0.5
    unannotated: str = "refuse"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"format is {self.format!r}; choose one of {', '.join(FORMATS)}.")
        sizes = (self.tile_size, self.overlap)
        whole = all(isinstance(value, int) and not isinstance(value, bool) for value in sizes)
        if not whole or self.tile_size < 1 or not 0 <= self.overlap < self.tile_size:
            raise InputError(
                f"tile_size is {self.tile_size!r} and overlap {self.overlap!r}; expected whole numbers of pixels, and "
                "an overlap from 0 to below the tile."
            )
        for name, low, high in (("tissue_fraction", 0, 1), ("annotated_fraction", 1e-6, 1), ("min_area", 0, 1e6)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}, expected a number from {low:g} to {high:g}.")
        if self.unannotated not in UNANNOTATED:
            raise InputError(f"unannotated is {self.unannotated!r}; choose one of {', '.join(UNANNOTATED)}.")


def claim(folder: Path, settings: TileSettings) -> None:
    """Mark the folder as one of these settings.

    Raises:
        InputError: it holds tiles of others. What is assumed of slides that do not say their resolution may be added
            later: without it none of them was cut.
    """
    path, now = folder / "recipe.json", asdict(settings)
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: is damaged ({error}); give another folder with --out.") from error
        added = {"assume_mpp"} if before.get("assume_mpp") is None else set()
        other = [key for key, value in now.items() if before.get(key) != value and key not in added]
        if other:
            key = other[0]
            raise InputError(
                f"{folder} holds tiles cut with {key} {before.get(key)!r}, now it is {now[key]!r}; give another "
                "folder with --out, or the same settings to go on."
            )
    write_atomically(path, json.dumps(now, indent=2) + "\n")


def cut_all(
    found: Sequence[SlideFile], folder: Path, settings: TileSettings, annotations: str | None, num_workers: int
) -> tuple[list[Row], list[dict[str, str]], int]:
    """Tiles of all slides, what failed, and how many tiles this run cut."""
    rows: dict[str, list[Row]] = {}
    todo = []
    for entry in found:
        done = _finished(folder, entry, find_annotation(annotations, entry.slide))
        if done is None:
            todo.append(entry)
        else:
            rows[entry.slide] = done
    problems, cut = [], 0
    with tqdm(total=len(found), initial=len(found) - len(todo), desc="tiles", unit="slide") as bar:
        for entry, result in _results(todo, folder, settings, annotations, num_workers):
            if isinstance(result, str):
                problems.append({"file": str(entry.path), "problem": result})
            else:
                rows[entry.slide] = result["rows"]
                cut += len(result["rows"])
                for warning in result["warnings"]:
                    tqdm.write(f"WARNING: {warning}")
            bar.update()
            bar.set_postfix_str(f"{cut} tiles", refresh=False)
    ordered = [{**row, "patient_id": entry.patient} for entry in found for row in rows.get(entry.slide, [])]
    return ordered, problems, cut


def _results(
    todo: Sequence[SlideFile], folder: Path, settings: TileSettings, annotations: str | None, num_workers: int
) -> Iterable[tuple[SlideFile, Any]]:
    if num_workers <= 1 or len(todo) <= 1:
        for entry in todo:
            yield entry, _cut_or_say(entry, folder, settings, annotations)
        return
    # Spawned, not forked: a forked copy of a process with threads of PyTorch may hang.
    with ProcessPoolExecutor(min(num_workers, len(todo)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_cut_or_say, entry, folder, settings, annotations): entry for entry in todo}
        for future in as_completed(futures):
            error = future.exception()  # a process that was killed is one of the pool
            yield futures[future], future.result() if error is None else sentence_of(error)


def _cut_or_say(
    entry: SlideFile, folder: Path, settings: TileSettings, annotations: str | None
) -> dict[str, Any] | str:
    """What `_cut` returns, or why the slide cannot be used."""
    try:
        return _cut(entry, folder, settings, annotations)
    except Exception as error:  # whatever it was, the others go on
        return sentence_of(error)


def _cut(entry: SlideFile, folder: Path, settings: TileSettings, annotations: str | None) -> dict[str, Any]:
    """Cut one slide: into a hidden folder that gets its name when all tiles are there."""
    called = short_name(entry.slide)
    final, work = folder / "tiles" / called, folder / "tiles" / f".{called}"
    annotation = find_annotation(annotations, entry.slide)
    with Slide(entry.path, settings.assume_mpp) as slide:
        grid, tissue, overview = tissue_grid(
            slide, settings.mpp, settings.tile_size, settings.tile_size - settings.overlap, settings.tissue_fraction,
            min_area=settings.min_area,
        )  # fmt: skip
        warnings = list(slide.problems)
        if not len(grid):
            warnings.append(f"{entry.path}: no tile has enough tissue; it gives no tiles.")
        labels = _labels(grid, None if annotation is None else Annotation(annotation, slide), settings)
        found = [label for _, label in labels]
        picture = grid_picture(overview, tissue, grid, found, settings.class_names is not None)
        write_atomically(folder / "pictures" / f"{called}.jpg", picture)
        level, _ = slide.level_for(settings.mpp)
        _prepare(work, entry.path)
        rows = []
        for number, (share, label) in enumerate(labels):
            top, left = grid.corner(number)
            name = f"{called}_r{round(top)}_c{round(left)}.{settings.format}"
            if not (work / name).exists():  # a run that was stopped goes on here
                _save(work / name, slide.read_at(settings.mpp, top, left, settings.tile_size), settings.format)
            rows.append({
                "slide": entry.slide, "file": f"tiles/{called}/{name}", "row": round(top), "column": round(left),
                "side": round(grid.side, 2), "level": level.index, "mpp": settings.mpp,
                "tissue_fraction": round(float(grid.tissue[number]), 4), "annotated": share, "label": label,
            })  # fmt: skip
    for hidden in work.glob(".*"):
        hidden.unlink()
    shutil.rmtree(final, ignore_errors=True)
    work.replace(final)
    record = {"file": _stamp(entry.path), "annotation": _stamp(annotation), "rows": rows}
    write_atomically(_record(folder, entry), json.dumps(record) + "\n")
    return {"rows": rows, "warnings": warnings}


def _prepare(work: Path, slide: Path) -> None:
    """The folder of an unfinished slide; tiles of an earlier version of the file are thrown away."""
    note, stamp = work / ".stamp", json.dumps(_stamp(slide))
    if work.is_dir() and (not note.is_file() or note.read_text(encoding="utf-8") != stamp):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(note, stamp)


def _save(path: Path, pixels: np.ndarray, kind: str) -> None:
    """Write a picture under a hidden name first; a tile that a power cut spoils is found by `check`."""
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as stream:
        Image.fromarray(pixels).save(stream, "JPEG" if kind == "jpg" else "PNG", **FORMATS[kind])
    partial.replace(path)


def _labels(grid: Grid, annotation: Annotation | None, settings: TileSettings) -> list[tuple[Any, Any]]:
    """For each tile the share that is annotated, and the label; None for neither clearly one class nor the rest."""
    if settings.class_names is None:
        return [(None, None)] * len(grid)
    if annotation is None:
        return [(0.0, 0)] * len(grid)
    scale = annotation.scale(_MAP_MPP)
    classes = annotation.class_map(settings.class_names, scale)
    rows, columns = (grid.places[:, axis] * grid.stride / scale for axis in (0, 1))
    size = np.full(2, grid.side / scale)
    shares = np.stack(
        [box_mean(classes == index, rows, columns, size) for index in range(1, len(settings.class_names))], axis=1
    )
    best = shares.argmax(axis=1)
    result: list[tuple[Any, Any]] = []
    for share, index, total in zip(shares.max(axis=1), best, shares.sum(axis=1), strict=True):
        label = int(index) + 1 if share >= settings.annotated_fraction else 0 if total == 0 else None
        result.append((round(float(total), 4), label))
    return result


def _record(folder: Path, entry: SlideFile) -> Path:
    return folder / "slides" / f"{short_name(entry.slide)}.json"


def _stamp(path: Path | None) -> list[Any] | None:
    """What tells a file from another of the same name."""
    if path is None:
        return None
    stat = os.stat(path)
    return [path.name, stat.st_size, stat.st_mtime_ns]


def _finished(folder: Path, entry: SlideFile, annotation: Path | None) -> list[Row] | None:
    """The tiles of a slide that an earlier run finished; None if it has to be cut."""
    try:
        record = json.loads(_record(folder, entry).read_text(encoding="utf-8"))
        rows = record["rows"]
        same = record["file"] == _stamp(entry.path) and record["annotation"] == _stamp(annotation)
        whole = same and (not rows or (folder / rows[-1]["file"]).exists())
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or written by something else: the slide is cut again
    return rows if whole else None
