"""Check a datalist before a GPU is touched: every file is opened, every problem collected and shown in one report."""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bundle_runtime.data.datalist as datalists
from bundle_runtime.data.find import VOLUMES
from bundle_runtime.data.schema import SECTIONS, Datalist, alike_patients, consistency_problems
from bundle_runtime.data.verify import Problem, refuse
from custom_components.errors import InputError

from . import proposals
from .report import chosen_sections, tell

# Imported by name: the package of a bundle holds the kinds that it can train on.
KINDS = {"volumes": "mae_tools.check.volumes", "pictures": "mae_tools.check.pictures"}


def check(
    datalist_path: str | Path,
    dataset_dir: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    channels: int | None = None,
    roi_size: int | Sequence[int] | None = None,
    spacing: float | Sequence[float] | None = None,
    out: str | Path | None = None,
    sections: str | Sequence[str] | None = None,
    sequences: str | Sequence[str] | None = None,
    allow_missing_sequences: bool = False,
    need_convention: bool = False,
    label_convention: str | dict[str, str] | None = None,
    num_workers: int = 2,
    bundle: str | None = None,
    write_overlay: str | None = None,
) -> dict[str, Any]:
    """Read each file of a datalist, print a table, write `check.html` (with thumbnails) and `check.json`; return that.

    What concerns volumes (from `channels` to `label_convention`) has no meaning for a datalist of pictures.

    Args:
        datalist_path: the datalist.
        dataset_dir: where its relative paths start, if not at its own folder.
        class_names: all classes, background first where labels are masks (default: those of the datalist).
        channels: image channels that the network expects (default: as many as an item names sequences, or 1).
        roi_size: crop of the network in voxels, to name volumes that will be padded.
        spacing: voxel size in mm that volumes are resampled to before the crop.
        out: folder of the report (default: `check` beside the datalist).
        sections: the lists to read (default: all).
        sequences: MRI sequences that the network takes; each item must have them, in any order, by name.
        allow_missing_sequences: zeros may stand in for a sequence; missing ones are warnings then.
        need_convention: every label must have a declared convention (so it is where all classes are tumour regions).
        label_convention: what the label values mean (msd, brats2018, brats2023 or a table), instead of what the
            datalist says.
        num_workers: processes that decode pictures.
        bundle: folder or name of the bundle that will learn from it: settings are proposed in view of its own.
        write_overlay: write the proposed settings to this file, each with its reason.

    Raises:
        InputError: the datalist is unreadable, or any item has an error; the report is written before.
    """
    path = Path(datalist_path)
    content = datalists.with_convention(datalists.parse(path), label_convention)
    names = list(class_names) if class_names is not None else content.get("class_names")
    chosen = chosen_sections(sections)
    parts = {part: datalists.prepare(content, part, path, dataset_dir) for part in chosen if content[part]}
    root, stage, config = proposals.training_of(bundle, content)
    needs: dict[str, Any] = {"channels": channels, "roi_size": roi_size, "spacing": spacing, "sequences": sequences}
    needs |= {"allow_missing_sequences": allow_missing_sequences, "need_convention": need_convention, "config": config}
    found = kind_of(content, path, dataset_dir).inspect(content, parts, names, num_workers=num_workers, **needs)
    if found.proposals:
        found.propose(proposals.of_card(root, stage, found.proposals, names), config)
    found.problems[:0] = _of_the_list(content, names, "" if parts else ", ".join(chosen))
    folder = Path(out) if out is not None else path.parent / "check"
    result = tell(found, path, {"modality": content.get("modality"), "class_names": names}, folder)
    if write_overlay is not None:
        proposals.write_overlay(write_overlay, found.proposals, root)
    refuse(found.problems, f"see {folder / 'check.html'}", path)
    return result


def _of_the_list(content: Datalist, names: Sequence[str] | None, empty: str) -> list[Problem]:
    """What is wrong with a datalist itself; `empty` are the lists of which none has items, if so."""
    listed = [*consistency_problems(content, names), *([f"no items in {empty}"] if empty else [])]
    problems = [Problem("datalist", "", "", "error", text) for text in listed]
    return problems + [Problem("datalist", "", "", "warning", text) for text in alike_patients(content)]


def kind_of(content: Datalist, path: Path, dataset_dir: str | Path | None = None) -> Any:
    """The module that looks at the images of a datalist: pictures have a task or a mask_kind, or are no volumes.

    Raises:
        InputError: the package of a bundle does not hold it.
    """
    part = next((part for part in SECTIONS if content[part]), SECTIONS[0])
    first = datalists.prepare({**content, part: content[part][:1]}, part, path, dataset_dir)
    pictures = "task" in content or "mask_kind" in content or not all(_is_volume(item["file"]) for item in first)
    kind = "pictures" if pictures else "volumes"
    if importlib.util.find_spec(KINDS[kind]) is None:
        raise InputError(f"{path} lists {kind}, which this package of a bundle does not learn from.")
    return importlib.import_module(KINDS[kind])


def _is_volume(file: str) -> bool:
    """Whether a file is a volume, or one of a DICOM series of more than one slice."""
    if file.lower().endswith(VOLUMES) or Path(file).is_dir():
        return True
    kind = KINDS["volumes"]
    return importlib.util.find_spec(kind) is not None and importlib.import_module(kind).is_series(file)
