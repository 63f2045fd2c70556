"""What a check finds in pictures: every file decoded, masks read, labels counted."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bundle_runtime.data.image_file import read_bytes
from bundle_runtime.data.labels import Counts, count_labels, label_problems
from bundle_runtime.data.mask_file import class_map, decode_mask
from bundle_runtime.data.record import Images
from bundle_runtime.data.schema import MASK_KINDS, Datalist, Item, as_list
from bundle_runtime.data.subset import evenly
from bundle_runtime.data.verify import Problem, of_list, sentence
from bundle_runtime.data.verify_masks import SeenMask, class_counts, list_problems, look_at_mask, size_problem
from bundle_runtime.data.verify_pictures import Seen, file_problems
from bundle_runtime.pages.page import Figure
from custom_components.errors import InputError
from tqdm import tqdm

from ..copies import Place, copy_problems, find_copies
from .decode import inspect_files
from .picture_proposals import of_pictures, statistics
from .report import Findings

_THUMBNAILS = 48

Parts = Mapping[str, Sequence[Item]]


def inspect(
    content: Datalist,
    parts: Parts,
    class_names: Sequence[str] | None,
    num_workers: int = 0,
    config: Mapping[str, Any] | None = None,
    **_: Any,
) -> Findings:
    """Decode every picture and mask.

    Args:
        content: the datalist; without a task labels are looked at only where they are masks.
        parts: the prepared items of the lists that are looked at.
        class_names: the findings or classes; background first where labels are masks.
        num_workers: processes that decode.
        config: of the training that settings are proposed for.
    """
    task, names = content.get("task"), class_names or ()
    files = _files(parts)
    shown = evenly(len(files), _THUMBNAILS)
    seen = dict(zip(files, inspect_files(files, shown, num_workers), strict=True))
    counts, problems = _problems(parts, seen, class_names, task, num_workers)
    problems += _unlike_the_rest(parts, seen)
    problems += _crossing_patients(parts, seen, bool(content.get("parity")))
    copies = find_copies(_places(parts, seen))
    summaries = {part: _summary(items, seen, counts.get(part)) for part, items in parts.items()}
    training = dict.fromkeys(file for item in parts.get("training", ()) for file in as_list(item["image"]))
    fingerprint, proposals = of_pictures([seen[file] for file in training or files], content, config or {})
    total = sum(entry["images"] for entry in summaries.values())
    return Findings(
        problems + copy_problems(copies, "pixels", bool(content.get("parity"))),
        copies,
        f"{total} images",
        {"task": task, "lists": summaries, "fingerprint": fingerprint},
        [rows for rows in (_list_rows(summaries), _class_rows(summaries), statistics(fingerprint)) if rows],
        [
            _figure(file, seen[file], _classes(file, parts, names, task))
            for file in (files[i] for i in shown)
            if seen[file].thumbnail
        ],
        "Pictures spread evenly over the lists, as decoded, before any equalisation.",
        proposals,
    )


def digests(items: Sequence[Item], num_workers: int = 0) -> list[bytes | None]:
    """For each item the digest of its picture; None where it cannot be read."""
    return [found.digest or None for found in inspect_files([item["file"] for item in items], (), num_workers)]


def _places(parts: Parts, seen: Mapping[str, Seen]) -> Iterator[tuple[Place, bytes]]:
    """Each readable file with its digest."""
    for items in parts.values():
        for item in items:
            for file in as_list(item["image"]):
                if not seen[file].problem:
                    yield Place.of(item, file), seen[file].digest


def _figure(file: str, seen: Seen, classes: str) -> Figure:
    said = f"{classes}; " if classes else ""
    return Figure(f"{Path(file).name}: {said}{seen.kind}, {seen.height}x{seen.width}", seen.thumbnail, "jpeg")


def _classes(file: str, parts: Parts, names: Sequence[str], task: str | None) -> str:
    """What the label of a picture says, in words; "" where it says nothing, or nothing that fits."""
    label = next(item.get("label") for items in parts.values() for item in items if file in as_list(item["image"]))
    if task == "multi_label" and isinstance(label, list):
        return ", ".join(name for name, value in zip(names, label, strict=False) if value == 1) or "no finding"
    return names[label] if task == "multi_class" and isinstance(label, int) and label < len(names) else ""


def _files(parts: Parts) -> list[str]:
    """The distinct files of all lists."""
    return list(dict.fromkeys(file for items in parts.values() for item in items for file in as_list(item["image"])))


def _problems(
    parts: Parts, seen: Mapping[str, Seen], names: Sequence[str] | None, task: str | None, num_workers: int
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
    return counts, problems


def _unlike_the_rest(parts: Parts, seen: Mapping[str, Seen]) -> Iterator[Problem]:
    """The pictures whose levels, colours, or what is bright in them, set them apart from most of the lists."""
    facts = {file: {"picture": found.facts()} for file, found in seen.items() if not found.problem}
    images = Images.of(list(facts.values()))
    for part, items in parts.items():
        for item in items:
            for file in as_list(item["image"]):
                for text in images.other_looks(facts.get(file, {}), "those of most of the list"):
                    yield Problem(part, item["case"], file, "warning", text)


def _crossing_patients(parts: Parts, seen: Mapping[str, Seen], parity: bool) -> list[Problem]:
    """Pictures in two lists of one patient by their DICOM headers, whom the datalist takes for several: one warning.

    Headers of which all say the same tell nobody apart: some anonymisers leave them so.
    """
    places: dict[str, dict[str, tuple[str, Item]]] = {}  # patient of a header -> list -> one of its items
    for part, items in parts.items():
        for item in items:
            if patient := seen[item["file"]].patient:
                places.setdefault(patient, {}).setdefault(
                    "validation" if parity and part == "test" else part, (part, item)
                )
    crossing = [list(lists.values()) for lists in places.values() if len(lists) > 1]
    if not crossing or len(places) == 1:
        return []
    (one, first), (other, second) = crossing[0][:2]
    text = (
        f"is by its DICOM header of the same patient as {first['file']} in {one}; so {len(crossing)} patient(s) cross "
        "the lists; where the headers are right, name the patients (--patients, --patient_column)"
    )
    return [Problem(other, second["case"], second["file"], "warning", text)]


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
        mapped = class_map(mask, mask_kind, classes, file)
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


def _list_rows(lists: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of lists, header first."""
    rows: list[tuple[str, ...]] = [("list", "images", "patients", "unreadable", "height x width", "kinds")]
    for part, entry in lists.items():
        kinds = ", ".join(f"{kind} {count}" for kind, count in entry["kinds"].items()) or "-"
        numbers = (str(entry[key]) for key in ("images", "patients", "unreadable"))
        rows.append((part, *numbers, _size_text(entry), kinds))
    return rows


def _class_rows(lists: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of classes, header first: images that show each of them, by list; empty without labels."""
    parts = {part: entry["labels"] for part, entry in lists.items() if entry["labels"]}
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
