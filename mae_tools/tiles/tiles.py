"""`python -m mae_tools tiles`: cut the tissue of whole slides into tiles with an index and a datalist."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bundle_runtime.data.datalist import write
from bundle_runtime.data.find import some
from bundle_runtime.files import write_csv, write_json
from bundle_runtime.slides.annotations import MARKED, REST, find_annotation
from bundle_runtime.slides.find import SlideFile, find_slides
from bundle_runtime.slides.geojson import read_shapes
from bundle_runtime.slides.slide import mpp_of
from custom_components.errors import InputError

from ..settings import settings_of
from ..sources.options import name_list
from ..sources.registry import source
from .cutting import Row, TileSettings, claim, cut_all
from .lists import Lists

_NAME = "datalist.json"
COLUMNS = (
    "slide", "patient_id", "file", "row", "column", "side", "level", "mpp", "tissue_fraction", "annotated", "label",
)  # fmt: skip


@settings_of(TileSettings, Lists, without=("mpp", "class_names"), told_by=(source,))
def tiles(
    slides: str,
    out: str,
    magnification: float | None = None,
    mpp: float | None = None,
    patient_pattern: str | None = None,
    patients: str | None = None,
    exclude: str | None = None,
    annotations: str | None = None,
    class_names: Sequence[str] | None = None,
    num_workers: int = 1,
    **settings: Any,
) -> dict[str, Any]:
    """Cut the tissue of whole slides into tiles, and write index.csv, datalist.json and a picture a slide.

    Patients are dealt to the lists by how many tiles they have. Pictures show the tissue that was found and the tiles.
    A run that was stopped goes on with the slides that are not finished. A slide that cannot be used does not stop the
    others: it is listed in failures.json, and the command ends with an error.

    Args:
        slides: a slide, or a folder that is searched with its subfolders.
        out: folder for tiles/<slide>/, pictures/<slide>.jpg, index.csv, datalist.json and failures.json.
        magnification: of the tiles; 20 means 0.5 micrometres a pixel.
        mpp: micrometres a pixel of the tiles, instead.
        patient_pattern: regular expression with one group that finds the patient in the file name (default: TCGA
            barcodes, else each slide is a patient of its own).
        patients: CSV with the columns case and patient_id instead.
        annotations: folder with <slide>.geojson or <slide>_mask.tif for a label a tile.
        class_names: classes of the labels, what is not annotated first (default: background, and the names found).
        num_workers: processes; each cuts one slide at a time.

    Raises:
        InputError: a setting or table that is wrong; tiles of other settings in `out`; lopsided lists; or slides that
            failed, after all others are done.
    """
    of_lists = {each.name: settings.pop(each.name) for each in fields(Lists) if each.name in settings}
    lists, recipe, target = Lists(**of_lists), TileSettings(mpp_of(magnification, mpp), **settings), Path(out, _NAME)
    left_out = name_list(exclude, "exclude") if exclude is not None else ()
    found = find_slides(slides, patient_pattern, patients, leave_out=[out], exclude=left_out)
    placed = lists.placed(found, target)
    recipe = replace(recipe, class_names=_class_names(found, annotations, class_names, recipe.unannotated))
    rows, problems = _cut(found, Path(out), recipe, annotations, num_workers)
    datalist = lists.deal(rows, recipe, placed, target)
    if rows:
        write(target, datalist)
    _refuse_failures(problems, len(found), out)
    return datalist


def _refuse_failures(problems: Sequence[Mapping[str, str]], count: int, out: str) -> None:
    if problems:
        listed = "; ".join(entry["problem"].rstrip(".") for entry in problems[:5])
        raise InputError(f"{len(problems)} of {count} slides could not be used: {listed}. See {out}/failures.json.")


def _cut(
    found: Sequence[SlideFile], folder: Path, settings: TileSettings, annotations: str | None, num_workers: int
) -> tuple[list[Row], list[dict[str, str]]]:
    """Cut all slides, write index and failures, and say how fast it was."""
    began = time.monotonic()
    claim(folder, settings)
    rows, problems, cut = cut_all(found, folder, settings, annotations, num_workers)
    write_csv(folder / "index.csv", COLUMNS, rows)
    (folder / "failures.json").unlink(missing_ok=True)
    if problems:
        write_json(folder / "failures.json", problems)
    seconds = time.monotonic() - began
    print(
        f"{len(rows)} tiles of {len({row['slide'] for row in rows})} slide(s) in {folder}; "
        f"{cut} cut in this run, {cut / max(seconds, 1e-9):.1f} tiles/s."
    )
    return rows, problems


def _class_names(
    found: Sequence[SlideFile], place: str | None, given: Sequence[str] | None, unannotated: str
) -> list[str] | None:
    """The classes of the labels; without any given, those that the annotations name. Files are looked at beforehand."""
    if place is None:
        if given is not None:
            raise InputError("class_names were given without annotations; give their folder with --annotations.")
        return None
    files = {entry.slide: find_annotation(place, entry.slide) for entry in found}
    without = [slide for slide, file in files.items() if file is None]
    if len(without) == len(files) or (without and unannotated == "refuse"):
        raise InputError(
            f"{place}: there is no annotation (<slide>.geojson or <slide>_mask.tif) for {some(without)}; add it, or "
            "give --unannotated background where such a slide holds none of the classes."
        )
    if given is not None:
        names = [str(name) for name in given]
        if len(names) < 2 or len(set(names)) != len(names):
            raise InputError(
                f"class_names is {given!r}, expected at least two different names, what is not annotated first."
            )
        return names
    named = {name for file in files.values() if file is not None for name in _names_in(file)}
    return [REST, *sorted(named - {REST})]


def _names_in(file: Path) -> set[str]:
    if file.suffix.lower() not in (".json", ".geojson"):
        return {MARKED}
    return {shape.name for shape in read_shapes(file) if not shape.is_point}
