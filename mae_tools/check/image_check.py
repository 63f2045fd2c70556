"""Check lists of labelled pictures before a GPU is touched: every file decoded, labels counted, one report."""

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

import bundle_runtime.data.datalist as datalists
from bundle_runtime.data.image_file import is_picture_file, read_bytes
from bundle_runtime.data.labels import Counts, count_labels, label_problems
from bundle_runtime.data.mask_file import class_map, decode_mask
from bundle_runtime.data.schema import MASK_KINDS, SECTIONS, Datalist, Item, as_list, consistency_problems
from bundle_runtime.data.subset import evenly
from bundle_runtime.data.verify import Problem, refuse, sentence, show
from bundle_runtime.data.verify_masks import SeenMask, class_counts, list_problems, look_at_mask, size_problem
from bundle_runtime.data.verify_pictures import Seen, file_problems, of_list
from bundle_runtime.files import aligned, write_atomically, write_json
from custom_components.errors import InputError

from .check_report import chosen_sections
from .image_check_html import render
from .image_inspect import inspect_files

_THUMBNAILS = 48

Parts = Mapping[str, Sequence[Item]]


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
        "datalist_sha256": datalists.digest(path),
        "modality": content.get("modality"),
        "task": task,
        "class_names": names,
        "errors": sum(problem.level == "error" for problem in problems),
        "warnings": sum(problem.level == "warning" for problem in problems),
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "lists": {part: _summary(items, seen, counts.get(part)) for part, items in parts.items()},
    }
    _print_tables(result)
    show(problems, "see check.json for them")
    folder = Path(out) if out is not None else path.parent / "check"
    write_json(folder / "check.json", result)
    tables = (_list_rows(result), _class_rows(result))
    pictures = [(file, seen[file], _classes(file, parts, names or (), task)) for file in (files[i] for i in shown)]
    write_atomically(folder / "check.html", render(result, tables, pictures))
    print(f"Report: {folder / 'check.html'}")
    refuse(problems, f"see {folder / 'check.html'}", path)
    return result


def _classes(file: str, parts: Parts, names: Sequence[str], task: str | None) -> str:
    """What the label of a picture says, in words; "" where it says nothing, or nothing that fits."""
    label = next(item.get("label") for items in parts.values() for item in items if file in as_list(item["image"]))
    if task == "multi_label" and isinstance(label, list):
        return ", ".join(name for name, value in zip(names, label, strict=False) if value == 1) or "no finding"
    return names[label] if task == "multi_class" and isinstance(label, int) and label < len(names) else ""


def lists_pictures(content: Datalist, path: str | Path, dataset_dir: str | Path | None = None) -> bool:
    """Whether a parsed datalist is one of pictures: it has a task, or its first image is a picture file."""
    if "task" in content:
        return True
    first = next((section for section in SECTIONS if content[section]), None)
    if first is None:
        return False
    item = datalists.prepare({**content, first: content[first][:1]}, first, path, dataset_dir)[0]
    return is_picture_file(item["file"])


def _files(parts: Parts) -> list[str]:
    """The distinct files of all lists."""
    return list(dict.fromkeys(file for items in parts.values() for item in items for file in as_list(item["image"])))


def _problems(
    parts: Parts,
    seen: Mapping[str, Seen],
    names: Sequence[str] | None,
    task: str | None,
    parity: bool = False,
    num_workers: int = 0,
) -> tuple[dict[str, Counts], list[Problem]]:
    """Count the labels of each list, and say what is wrong with files and labels."""
    problems: list[Problem] = []
    counts: dict[str, Counts] = {}
    for part, items in parts.items():
        problems += file_problems(part, items, seen)
        labelled = [item for item in items if "label" in item]
        masked = [item for item in labelled if isinstance(item["label"], str)]
        if task is None and masked:
            wrong, counts[part] = _masks(part, masked, seen, names or ("background", "foreground"), num_workers)
            problems += [*wrong, *_unlabelled(part, items, labelled)]
        if task is None or not labelled:
            continue
        problems += _unlabelled(part, items, labelled)
        counts[part], wrong = count_labels(part, labelled, names or (), task)
        problems += [*wrong, *label_problems(part, counts[part], task)]
    problems += _duplicates(parts, seen, parity)
    return counts, problems


def _masks(
    part: str, items: Sequence[Item], seen: Mapping[str, Seen], names: Sequence[str], num_workers: int
) -> tuple[list[Problem], Counts]:
    """Read the masks of a list: what is wrong, and how many show each class."""

    def look(item: Item) -> SeenMask:
        picture = seen[item["file"]]
        size = None if picture.problem else (picture.height, picture.width)
        return inspect_mask(item["label"], item.get("mask_kind", MASK_KINDS[0]), len(names), size)

    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        found = list(tqdm(pool.map(look, items), "check masks", len(items), unit="mask", file=sys.stderr))
    problems = []
    for item, mask in zip(items, found, strict=True):
        if mask.problem or mask.doubt:
            level = "error" if mask.problem else "warning"
            problems.append(Problem(part, item["case"], item["label"], level, mask.problem or mask.doubt))
    good = [(item["label"], mask) for item, mask in zip(items, found, strict=True) if mask.pixels]
    instances = any(item.get("mask_kind") == "instance" for item in items)
    problems += list_problems(part, good, names, instances)
    shows = class_counts([mask for _, mask in good], names)
    return problems, {
        name: {"present": count, "absent": len(items) - count, "unknown": 0} for name, count in shows.items()
    }


def inspect_mask(file: str, mask_kind: str, classes: int, size: Sequence[int] | None = None) -> SeenMask:
    """Look into one mask.

    Args:
        file: its path.
        mask_kind: classes, binary or instance.
        classes: number of classes, background included.
        size: height and width of its picture, where they are known.
    """
    try:
        mask = decode_mask(file, read_bytes(file))
        mapped = class_map(mask.values, mask_kind, classes, file)
    except InputError as error:
        return SeenMask(problem=sentence(error, file))
    found = look_at_mask(mask, mapped, mask_kind, classes)
    wrong = "" if size is None else size_problem(mapped.shape, size)
    return found if found.problem or not wrong else found._replace(problem=wrong)


def _unlabelled(part: str, items: Sequence[Item], labelled: Sequence[Item]) -> list[Problem]:
    """Items without a label in a list where others have one, as one error."""
    if len(labelled) == len(items):
        return []
    first = next(item["file"] for item in items if "label" not in item)
    text = f"has no label, as {len(items) - len(labelled)} of {len(items)} items{of_list(part)}"
    return [Problem(part, "", first, "error", f"{text}; add them or remove the items")]


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
        text = f"holds the same pixels as {twin}{where}; {len(pairs)} such picture(s){of_list(part)}"
        advice = "keep one" if before == part else "a picture may stand in one list only"
        yield Problem(part, "", file, "warning" if before == part else "error", f"{text}; {advice}")


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
