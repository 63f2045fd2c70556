"""`python -m mae_tools tiles`: cut the tissue of whole slides into tiles with an index and a datalist."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.datalist import write
from bundle_runtime.data.find import some
from bundle_runtime.data.schema import SECTIONS
from bundle_runtime.files import write_csv, write_json
from bundle_runtime.slides.annotations import MARKED, REST, find_annotation
from bundle_runtime.slides.find import SlideFile, find_slides
from bundle_runtime.slides.geojson import read_shapes
from bundle_runtime.slides.slide import mpp_of
from custom_components.errors import InputError

from ..sources.earlier_split import read_sections
from ..sources.split import check_fractions, split_by_size
from .cutting import FORMATS, Row, TileSettings, claim, cut_all

_FAR = 3.0  # times its share
UNANNOTATED = ("refuse", "background")
COLUMNS = (
    "slide", "patient_id", "file", "row", "column", "side", "level", "mpp", "tissue_fraction", "annotated", "label",
)  # fmt: skip


def tiles(
    slides: str,
    out: str,
    magnification: float | None = None,
    mpp: float | None = None,
    tile_size: int = 224,
    overlap: int = 0,
    tissue_fraction: float = 0.5,
    min_area: float = 0.01,
    format: str = "png",
    assume_mpp: float | None = None,
    patient_pattern: str | None = None,
    patients: str | None = None,
    annotations: str | None = None,
    class_names: Sequence[str] | None = None,
    annotated_fraction: float = 0.5,
    unannotated: str = "refuse",
    sections: str | None = None,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 0,
    num_workers: int = 1,
    allow_lopsided: bool = False,
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
        tile_size: side in pixels.
        overlap: of neighbouring tiles, in pixels.
        tissue_fraction: least share of a tile that is tissue, 0 to 1.
        min_area: smaller pieces of tissue are ignored, square millimetres.
        format: png (exact) or jpg (quality 90, a fifth of the size).
        assume_mpp: micrometres a pixel of the scan, for slides that do not say it.
        patient_pattern: regular expression with one group that finds the patient in the file name (default: TCGA
            barcodes, else each slide is a patient of its own).
        patients: CSV with the columns case and patient_id instead.
        annotations: folder with <slide>.geojson or <slide>_mask.tif for a label a tile.
        class_names: classes of the labels, what is not annotated first (default: background, and the names found).
        annotated_fraction: least share of a tile that its class covers; tiles below, but above 0, get no label and are
            left out of the datalist.
        unannotated: refuse, or background: a slide without an annotation file holds none of the classes.
        sections: CSV with the columns slide and section (training, validation, test) instead of a random split.
        val_fraction: share of the tiles that select, whole patients.
        test_fraction: share of the tiles that are tested, likewise.
        seed: of the split.
        num_workers: processes; each cuts one slide at a time.
        allow_lopsided: write lists although training holds far fewer tiles than its share, or another list far more;
            else those that were dealt are refused, and those of `sections` warned of.

    Returns:
        The datalist.

    Raises:
        InputError: a setting or table that is wrong; tiles of other settings in `out`; lopsided lists; or slides that
            failed, after all others are done.
    """
    found = find_slides(slides, patient_pattern, patients, leave_out=[out])
    placed = None if sections is None else read_sections(sections, {entry.slide: entry.patient for entry in found})
    check_fractions(val_fraction, test_fraction)
    settings = TileSettings(
        mpp_of(magnification, mpp), tile_size, overlap, float(tissue_fraction), float(min_area), format, assume_mpp,
        _class_names(found, annotations, class_names, unannotated), float(annotated_fraction), unannotated,
    )  # fmt: skip
    _check(settings)
    rows, problems = _cut(found, Path(out), settings, annotations, num_workers)
    datalist = _datalist(rows, settings, placed, val_fraction, test_fraction, seed)
    if rows and not allow_lopsided:
        _look_at_shares(datalist, val_fraction, test_fraction, dealt=placed is None)
    if rows:
        write(Path(out) / "datalist.json", datalist)
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


def _look_at_shares(datalist: dict[str, Any], val: float, test: float, dealt: bool) -> None:
    """Refuse a training list far below its share, or another one that is larger and far above its own; name small ones.

    Lists that were not dealt here are only warned of.
    """
    counts = {part: len(datalist[part]) for part in SECTIONS}
    total, training = sum(counts.values()), counts["training"]
    held_out = {"validation": val, "test": test}
    large = any(counts[part] > max(_FAR * share * total, training) for part, share in held_out.items())
    patients = {part: len({item["patient_id"] for item in datalist[part]}) for part in SECTIONS}
    said = ", ".join(f"{part} {counts[part]} tiles of {patients[part]} patient(s)" for part in SECTIONS)
    if large or training * _FAR < (1 - val - test) * total:
        if not dealt:
            print(f"WARNING: the lists are lopsided: {said}.")
            return
        raise InputError(
            f"The lists are lopsided: {said}. Deal them otherwise with --seed, other fractions or --sections (what is "
            "cut stays), or keep them with --allow_lopsided true."
        )
    small = [part for part, share in held_out.items() if dealt and counts[part] * _FAR < share * total]
    if small:
        print(f"WARNING: {' and '.join(small)} hold(s) far fewer tiles than asked for: {said}.")


def _check(settings: TileSettings) -> None:
    if settings.format not in FORMATS:
        raise InputError(f"format is {settings.format!r}; choose one of {', '.join(FORMATS)}.")
    whole = all(
        isinstance(value, int) and not isinstance(value, bool) for value in (settings.tile_size, settings.overlap)
    )
    if not whole or settings.tile_size < 1 or not 0 <= settings.overlap < settings.tile_size:
        raise InputError(
            f"tile_size is {settings.tile_size!r} and overlap {settings.overlap!r}; expected whole numbers of pixels, "
            "and an overlap from 0 to below the tile."
        )
    if not 0 < settings.annotated_fraction <= 1:
        raise InputError(f"annotated_fraction is {settings.annotated_fraction}, expected a share above 0 and up to 1.")
    if settings.unannotated not in UNANNOTATED:
        raise InputError(f"unannotated is {settings.unannotated!r}; choose one of {', '.join(UNANNOTATED)}.")


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


def _datalist(
    rows: Sequence[Row], settings: TileSettings, placed: dict[str, str] | None, val: float, test: float, seed: int
) -> dict[str, Any]:
    """The datalist: labelled tiles only, where there are labels; whole patients in one list."""
    labelled = settings.class_names is not None
    items = [
        {
            "image": row["file"], "patient_id": row["patient_id"], "slide": row["slide"],
            **({"label": row["label"]} if labelled else {}),
        }
        for row in rows if not labelled or row["label"] is not None
    ]  # fmt: skip
    if placed is None:
        parts = split_by_size(items, val, test, seed)
    else:
        parts = {name: [item for item in items if placed[item["slide"]] == name] for name in SECTIONS}
    lists = {
        name: [{key: item[key] for key in item if key != "slide"} for item in part] for name, part in parts.items()
    }
    head = {"task": "multi_class", "class_names": settings.class_names} if labelled else {}
    said = f"Tiles of {settings.tile_size} pixels at {settings.mpp:g} micrometres a pixel; positions are in index.csv."
    return {
        **head,
        "modality": "H&E",
        "mpp": settings.mpp,
        "tissue_fraction": settings.tissue_fraction,
        "description": said,
        **lists,
    }
