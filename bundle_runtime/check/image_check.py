"""Check lists of labelled pictures before a GPU is touched: every file decoded, labels counted, one report."""

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from custom_components.distributed import first_on_main, is_main
from custom_components.errors import InputError

from ..data import datalist as datalists
from ..data.image_dataset import label_array
from ..data.schema import SECTIONS, Datalist, Item, as_list, consistency_problems
from ..data.subset import evenly
from ..files import aligned, write_atomically, write_json
from .check_report import Problem, chosen_sections, print_problems, raise_errors
from .image_check_html import render
from .image_inspect import Seen, inspect_files, is_picture_file
from .mask_check import mask_problems

_SMALL = 32  # pixels; below it a picture has next to no detail
_PATCH = 16  # pixels; what is smaller is not even one patch of the usual networks
_THUMBNAILS = 48
_SHOWN = 40  # problems printed; all are in check.json
_USUAL = ("8-bit grey", "RGB")
_REMEMBERED_FORMAT = 2

Parts = Mapping[str, Sequence[Item]]
Counts = dict[str, dict[str, int]]  # class -> present, absent, unknown


def check_images(
    datalist_path: str | Path,
    dataset_dir: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    task: str | None = None,
    out: str | Path | None = None,
    sections: str | Sequence[str] | None = None,
    num_workers: int = 2,
) -> dict[str, Any]:
    """Decode every picture and mask of a datalist, print tables, write `check.json` and `check.html` (thumbnails).

    Args:
        datalist_path: the datalist.
        dataset_dir: where its relative paths start, if not at its own folder.
        class_names: the findings or classes; background first where labels are masks (default: the datalist's).
        task: "multi_label" or "multi_class" (default: that of the datalist; without one labels are not looked at).
        out: folder of the report (default: `check` beside the datalist).
        sections: the lists to read (default: all).
        num_workers: processes that decode.

    Returns:
        What `check.json` holds.

    Raises:
        InputError: the datalist is unreadable, or anything in it is an error; the report is written before.
    """
    path = Path(datalist_path)
    content = datalists.parse(path)
    names = list(class_names) if class_names is not None else content.get("class_names")
    task = task if task is not None else content.get("task")
    chosen = chosen_sections(sections)
    parts = {part: datalists.prepare(content, part, path, dataset_dir) for part in chosen if content[part]}
    listed = consistency_problems(content, names)
    if not parts:
        listed.append(f"no items in {', '.join(chosen)}")
    files = _files(parts)
    shown = evenly(len(files), _THUMBNAILS)
    seen = dict(zip(files, inspect_files(files, shown, num_workers), strict=True))
    counts, problems = _problems(parts, seen, names, task, parity=bool(content.get("parity")), num_workers=num_workers)
    problems = [Problem("datalist", "", "", "error", text) for text in listed] + problems
    result = {
        "datalist": str(path),
        "modality": content.get("modality"),
        "task": task,
        "class_names": names,
        "errors": sum(problem.level == "error" for problem in problems),
        "warnings": sum(problem.level == "warning" for problem in problems),
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "lists": {part: _summary(items, seen, counts.get(part)) for part, items in parts.items()},
    }
    _print_tables(result)
    _print_capped(problems, "see check.json for them")
    folder = Path(out) if out is not None else path.parent / "check"
    write_json(folder / "check.json", result)
    tables = (_list_rows(result), _class_rows(result))
    pictures = [(file, seen[file], _classes(file, parts, names or (), task)) for file in (files[i] for i in shown)]
    write_atomically(folder / "check.html", render(result, tables, pictures))
    print(f"Report: {folder / 'check.html'}")
    raise_errors(path, problems, f"see {folder / 'check.html'}")
    return result


def _classes(file: str, parts: Parts, names: Sequence[str], task: str | None) -> str:
    """What the label of a picture says, in words; "" where it says nothing, or nothing that fits."""
    label = next(item.get("label") for items in parts.values() for item in items if file in as_list(item["image"]))
    if task == "multi_label" and isinstance(label, list):
        return ", ".join(name for name, value in zip(names, label, strict=False) if value == 1) or "no finding"
    return names[label] if task == "multi_class" and isinstance(label, int) and label < len(names) else ""


def check_images_once(
    items: Sequence[Item] | Parts,
    class_names: Sequence[str] | None,
    task: str | None,
    cache_dir: str | Path,
    skip_unreadable: bool | None = None,
    num_workers: int = 0,
) -> list[Problem]:
    """Check every picture of a run, or recall that these very files and labels passed before.

    The result lies in `cache_dir` under the fingerprint of the data and the settings, so a restart decodes nothing.

    Args:
        items: one list, or several by name ("training", "validation", ...): then equal pictures in two lists are
            errors, and labels are counted in each list.
        class_names: as in `check_images`.
        task: as in `check_images`; None for pictures without labels.
        cache_dir: folder for what is remembered.
        skip_unreadable: a file that cannot be used is a warning; None: an error, in a stage without such a setting.
        num_workers: processes that decode.

    Returns:
        The warnings, which are also printed to stderr.

    Raises:
        InputError: there is an error; all are printed to stderr, the first is named, and nothing is remembered.
    """
    parts = items if isinstance(items, Mapping) else {"": items}
    names = None if class_names is None else list(class_names)
    return first_on_main(lambda: _check_or_recall(parts, names, task, Path(cache_dir), skip_unreadable, num_workers))


def lists_pictures(content: Datalist, path: str | Path, dataset_dir: str | Path | None = None) -> bool:
    """Whether a parsed datalist is one of pictures: it has a task, or its first image is a picture file."""
    if "task" in content:
        return True
    first = next((section for section in SECTIONS if content[section]), None)
    if first is None:
        return False
    item = datalists.prepare({**content, first: content[first][:1]}, first, path, dataset_dir)[0]
    return is_picture_file(item["file"])


def _check_or_recall(
    parts: Parts,
    names: list[str] | None,
    task: str | None,
    folder: Path,
    skip_unreadable: bool | None,
    num_workers: int,
) -> list[Problem]:
    remembered = folder / f"check_{_key(parts, names, task, skip_unreadable)}.json"
    if remembered.is_file():
        problems = [Problem(**entry) for entry in json.loads(remembered.read_text(encoding="utf-8"))]
    else:
        files = _files(parts)
        seen = dict(zip(files, inspect_files(files, num_workers=num_workers), strict=True))
        _, problems = _problems(parts, seen, names, task, bool(skip_unreadable), num_workers=num_workers)
        errors = [problem for problem in problems if problem.level == "error"]
        if errors:
            _print_capped(errors, "python -m mae_tools check shows all")
        hint = "python -m mae_tools check shows them all"
        if skip_unreadable is False and any(entry.problem for entry in seen.values()):
            hint += "; --skip_unreadable true goes on without the files that cannot be read"
        raise_errors(None, errors, hint)
        entries = [dataclasses.asdict(problem) for problem in problems]
        write_json(remembered, entries)
    if is_main():
        _print_capped(problems, f"see {remembered}")
    return problems


def _key(parts: Parts, names: list[str] | None, task: str | None, skip_unreadable: bool | None) -> str:
    """What the result of a check depends on, as 16 hexadecimal digits."""
    said: list[Any] = [_REMEMBERED_FORMAT, names, task, skip_unreadable]
    for part, items in parts.items():
        # A file that is not there has no fingerprint, but it may be one of those that are skipped.
        absent = [item["file"] for item in items if not _accessible(item)]
        here = [item for item in items if _accessible(item)]
        said.append([part, datalists.fingerprint(here), sorted(absent)])
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def _accessible(item: Item) -> bool:
    return all(os.path.isfile(file) and os.access(file, os.R_OK) for file in as_list(item["image"]))


def _files(parts: Parts) -> list[str]:
    """The distinct files of all lists."""
    return list(dict.fromkeys(file for items in parts.values() for item in items for file in as_list(item["image"])))


def _problems(
    parts: Parts,
    seen: Mapping[str, Seen],
    names: Sequence[str] | None,
    task: str | None,
    skip_unreadable: bool = False,
    parity: bool = False,
    num_workers: int = 0,
) -> tuple[dict[str, Counts], list[Problem]]:
    """Count the labels of each list, and say what is wrong with files and labels."""
    problems: list[Problem] = []
    counts: dict[str, Counts] = {}
    for part, items in parts.items():
        problems += _file_problems(part, items, seen, skip_unreadable)
        labelled = [item for item in items if "label" in item]
        masked = [item for item in labelled if isinstance(item["label"], str)]
        if task is None and masked:
            wrong, shows = mask_problems(part, masked, seen, names, num_workers)
            problems += [*wrong, *_unlabelled(part, items, labelled)]
            counts[part] = {
                name: {"present": count, "absent": len(masked) - count, "unknown": 0} for name, count in shows.items()
            }
        if task is None or not labelled:
            continue
        problems += _unlabelled(part, items, labelled)
        counts[part], wrong = _count(part, labelled, names or (), task)
        problems += [*wrong, *_label_problems(part, counts[part], task)]
    problems += _duplicates(parts, seen, parity)
    return counts, problems


def _unlabelled(part: str, items: Sequence[Item], labelled: Sequence[Item]) -> list[Problem]:
    """Items without a label in a list where others have one, as one error."""
    if len(labelled) == len(items):
        return []
    first = next(item["file"] for item in items if "label" not in item)
    text = f"has no label, as {len(items) - len(labelled)} of {len(items)} items{_of(part)}"
    return [Problem(part, "", first, "error", f"{text}; add them or remove the items")]


def _file_problems(part: str, items: Sequence[Item], seen: Mapping[str, Seen], skip: bool) -> Iterator[Problem]:
    """Unusable files one by one; small and converted pictures as one warning each, because there may be thousands."""
    small: list[str] = []
    converted: dict[str, list[str]] = {}
    for item in items:
        if len(as_list(item["image"])) > 1:
            text = f"is one of {len(item['image'])} files of an item, expected one picture an item"
            yield Problem(part, item["case"], item["file"], "error", text)
        for file in as_list(item["image"]):
            found = seen[file]
            if found.problem:
                yield Problem(part, item["case"], file, "warning" if skip else "error", found.problem)
                continue
            if min(found.height, found.width) < _PATCH:
                text = f"is only {found.height}x{found.width} pixels, smaller than one patch of {_PATCH}"
                yield Problem(part, item["case"], file, "warning" if skip else "error", f"{text}; remove it")
            elif min(found.height, found.width) < _SMALL:
                small.append(file)
            if found.kind not in _USUAL and not found.kind.startswith("DICOM"):
                converted.setdefault(found.kind, []).append(file)
    if small:
        size = f"{seen[small[0]].height}x{seen[small[0]].width}"
        text = f"is only {size} pixels, smaller than {_SMALL}, as {len(small)} picture(s){_of(part)}"
        yield Problem(part, "", small[0], "warning", text)
    for kind, files in converted.items():
        text = f"holds {kind} and is converted to 8-bit grey or RGB, as {len(files)} picture(s){_of(part)}"
        yield Problem(part, "", files[0], "warning", text)


def _count(part: str, items: Sequence[Item], names: Sequence[str], task: str) -> tuple[Counts, list[Problem]]:
    """How often each class is present, absent and unknown; labels that do not fit are one error."""
    label_array([], task, names)  # an unknown task and missing names are no fault of the items
    good, wrong = [], []
    for item in items:
        try:
            good.append(label_array([item], task, names))
        except InputError as error:
            wrong.append((item["file"], str(error).removeprefix(f"{item['file']}: ").removesuffix(".")))
    problems = []
    if wrong:
        text = f"{wrong[0][1]} ({len(wrong)} such label(s){_of(part)})"
        problems.append(Problem(part, "", wrong[0][0], "error", text))
    labels = np.concatenate(good) if good else label_array([], task, names)
    if task == "multi_class":
        labels = (labels[:, None] == np.arange(len(names))).astype(np.float32)
    table = zip(names, (labels == 1).sum(axis=0), (labels == 0).sum(axis=0), np.isnan(labels).sum(axis=0), strict=True)
    return {
        name: {"present": int(present), "absent": int(absent), "unknown": int(unknown)}
        for name, present, absent, unknown in table
    }, problems


def _label_problems(part: str, counts: Counts, task: str) -> Iterator[Problem]:
    """Classes that a list does not let one learn or score."""
    learning = part in ("", "training")
    place = f"in {part}" if part else "in the list"
    use = "so it cannot be learnt" if learning else "so it has no score there"
    for name, number in counts.items():
        text = None
        if number["present"] + number["absent"] == 0:
            text = f"class {name!r} has no known label {place}, {use}"
        elif number["present"] == 0:
            text = f"class {name!r} is constant: it occurs in no label {place}, {use}"
        elif number["absent"] == 0 and task == "multi_label":
            text = f"class {name!r} is constant: it is present in every known label {place}, {use}"
        elif number["present"] == 1:
            text = f"class {name!r} has one image only {place}"
        if text is not None:
            yield Problem(part, "", "", "warning", text)
    both = [name for name, number in counts.items() if number["present"] and number["absent"]]
    if learning and not both:
        only = [name for name, number in counts.items() if number["present"]]
        text = f"every label {place} is the same ({', '.join(only) or 'no class present'}), so nothing can be learnt"
        yield Problem(part, "", "", "error", f"{text}; add images of another class, or correct the labels")


def _duplicates(parts: Parts, seen: Mapping[str, Seen], parity: bool) -> Iterator[Problem]:
    """Different files with equal pixels: an error in two lists, a warning in one; one sentence for each pair of lists.

    With `parity` the test list may repeat the validation list. A file that itself stands in both lists is no pair: an
    evaluation may score the list that selects, and whether lists overlap is for the datalist to say.
    """
    first: dict[bytes, tuple[str, str]] = {}
    members: dict[str, set[str]] = {part: set() for part in parts}
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for part, items in parts.items():
        for item in items:
            for file in as_list(item["image"]):
                if not seen[file].problem:
                    before, twin = first.setdefault(seen[file].digest, (part, file))
                    if twin != file and file not in members[before]:
                        found.setdefault((before, part), []).append((twin, file))
                    members[part].add(file)
    for (before, part), pairs in found.items():
        if parity and (before, part) == ("validation", "test"):
            continue
        twin, file = pairs[0]
        where = f" in {before}" if before else ""
        text = f"holds the same pixels as {twin}{where}; {len(pairs)} such picture(s){_of(part)}"
        advice = "keep one" if before == part else "a picture may stand in one list only"
        yield Problem(part, "", file, "warning" if before == part else "error", f"{text}; {advice}")


def _of(part: str) -> str:
    return f" of {part}" if part else ""


def _summary(items: Sequence[Item], seen: Mapping[str, Seen], counts: Counts | None) -> dict[str, Any]:
    """The entry of a list in `check.json`."""
    found = [seen[file] for item in items for file in as_list(item["image"])]
    usable = [entry for entry in found if not entry.problem]
    sizes = Counter(f"{entry.height}x{entry.width}" for entry in usable)
    return {
        "images": len(items),
        "unreadable": len(found) - len(usable),
        "patients": len({item["patient_id"] for item in items}),
        "heights": _extremes([entry.height for entry in usable]),
        "widths": _extremes([entry.width for entry in usable]),
        "sizes": len(sizes),
        "most_common_sizes": dict(sizes.most_common(10)),
        "kinds": dict(Counter(entry.kind for entry in usable).most_common()),
        "labels": counts,
    }


def _extremes(values: Sequence[int]) -> list[int] | None:
    return [min(values), max(values)] if values else None


def _size_text(entry: Mapping[str, Any]) -> str:
    """The sizes of a list in a few words: height x width."""
    if not entry["sizes"]:
        return "-"
    if entry["sizes"] == 1:
        return next(iter(entry["most_common_sizes"]))
    (low, high), (left, right) = entry["heights"], entry["widths"]
    return f"{low}-{high} x {left}-{right} ({entry['sizes']} sizes)"


def _list_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of lists, header first."""
    rows: list[tuple[str, ...]] = [("list", "images", "patients", "unreadable", "height x width", "kinds")]
    for part, entry in result["lists"].items():
        kinds = ", ".join(f"{kind} {count}" for kind, count in entry["kinds"].items()) or "-"
        numbers = (str(entry[key]) for key in ("images", "patients", "unreadable"))
        rows.append((part, *numbers, _size_text(entry), kinds))
    return rows


def _class_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of classes, header first: images that show each of them, by list; empty without labels."""
    parts = {part: entry["labels"] for part, entry in result["lists"].items() if entry["labels"]}
    if not parts:
        return []
    rows: list[tuple[str, ...]] = [("class", *parts)]
    for name in next(iter(parts.values())):
        cells = []
        for counts in parts.values():
            number = counts[name]
            unknown = f" ({number['unknown']} unknown)" if number["unknown"] else ""
            cells.append(f"{number['present']}{unknown}")
        rows.append((name, *cells))
    return rows


def _print_tables(result: Mapping[str, Any]) -> None:
    for rows in (_list_rows(result), _class_rows(result)):
        if rows:
            print(aligned(rows, rule=False))


def _print_capped(problems: Sequence[Problem], rest: str) -> None:
    """Print the first problems, errors before warnings."""
    ordered = sorted(problems, key=lambda problem: problem.level)
    print_problems(ordered[:_SHOWN])
    if len(ordered) > _SHOWN:
        print_problems([Problem("", "", "", "note", f"{len(ordered) - _SHOWN} more, {rest}")])
