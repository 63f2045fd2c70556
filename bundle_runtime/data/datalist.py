"""The one datalist format of every bundle: read, validated, written.

A datalist is a Decathlon-style JSON file::

    {"class_names": ["background", "spleen"], "modality": "CT",
     "training":   [{"image": "img/a.nii.gz", "label": "lab/a.nii.gz", "patient_id": "p1", "unlabelled": ["spleen"]}],
     "validation": [...],
     "test":       [...]}

`image` is a path or, for several sequences, a list of paths; `label` a path, a class index or a list of 0, 1 and null;
`unlabelled` names the classes that exist in the body but are not drawn in this case. For multi-sequence MRI,
`sequences` names what the paths, or the volumes of a 4-D file, hold, in their order, and `label_convention` what the
label values mean (see `conventions.py`); both stand at the top for all items, or in an item for that one. So does
`background`, for heads whose background is not 0: its value, or the word `corners` for what most corners of a volume
share; voxels of it are set to 0. `brain_mask` of an item, a path, says instead where the brain is.

Pictures that are classified have a `task` at the top and no background among their `class_names`. With `multi_label`
`label` is a list with a value for each finding, null where it is unknown; with `multi_class` it is a class index.

`"ordered": true` says that the classes are grades: kappa is then quadratic. Pictures that are segmented have masks as
labels, and `mask_kind` says what their values mean: `classes` (the index of a class; also where it is absent), `binary`
(two values) or `instance` (a number an object, so that touching objects stay apart). `mpp` says at which
micrometres a pixel tiles were cut from slides; a network that learns from them is then used at no other.

Paths are absolute, or relative to the folder of the datalist (or to `dataset_dir`). `"parity": true` allows validation
and test to be the same cases.
"""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from custom_components.distributed import say
from custom_components.errors import InputError

from ..files import write_atomically
from .conventions import convention
from .find import files_below
from .schema import (
    SECTIONS,
    SHARED_KEYS,
    Datalist,
    Item,
    alike_patients,
    as_list,
    case_names,
    consistency_problems,
    item_files,
    schema_problems,
)
from .sequences import sequence_names
from .verify import combined_edges, edges_of


def load(
    path: str | Path,
    dataset_dir: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    require: Sequence[str] = (),
) -> Datalist:
    """Read and validate a datalist; the files it names are not opened.

    Args:
        path: the JSON file.
        dataset_dir: the folder that relative paths start from, if not the folder of the file.
        class_names: the classes of the run, background first; they must agree with those of the file.
        require: sections that may not be empty, e.g. `("training",)`.

    Returns:
        The content as read; each section is present, if only as an empty list.

    Raises:
        InputError: naming the file, the entry and what to do.
    """
    datalist = parse(path)
    problems = consistency_problems(datalist, class_names)
    _base_folder(path, dataset_dir)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"{path}: {problems[0]}{more}.")
    for section in require:
        _require(path, datalist, section)
    return datalist


def parse(path: str | Path) -> Datalist:
    """Read the JSON and check its keys and types only.

    Raises:
        InputError: unreadable, not JSON, or an entry of the wrong type.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        missing = "datalist" if Path(path).parent.is_dir() else "folder and so no datalist"
        raise InputError(
            f"{path}: there is no such {missing}; check dataset_dir and datalist, or write one with "
            "`python -m mae_tools datalist`."
        ) from error
    except OSError as error:
        raise InputError(f"{path}: the datalist cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise InputError(f"{path}: the datalist is not valid JSON ({error}).") from error
    problem = next(schema_problems(content), None)
    if problem is not None:
        raise InputError(f"{path}: {problem}.")
    return {**content, **{section: content.get(section, []) for section in SECTIONS}}


def items(
    path: str | Path,
    section: str,
    dataset_dir: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    need_label: bool = True,
    label_convention: str | dict[str, str] | None = None,
) -> list[Item]:
    """The items of one section, ready for MONAI's dictionary transforms.

    Without `need_label` items carry no label, even where the datalist has one: nothing can then depend on it.
    `label_convention` takes the place of what the datalist says.

    Returns:
        One dict an item: `image` (absolute path, or list of them), `label` (absolute path, index or list of 0, 1 and
        None; absent if the datalist has none), `section`, `case` (a short name, unique in the datalist), `file` (the
        first image, str), `patient_id` (the case where none is given), `unlabelled` (class names, [] where all are
        drawn); where the datalist has them, `sequences` (list of names) and `label_convention` (name, or its table as
        JSON).

    Raises:
        InputError: an invalid datalist, an empty or unknown section, an item without a label although one is needed.
    """
    if section not in SECTIONS:
        raise InputError(f"section {section!r} is not one of {', '.join(SECTIONS)}.")
    datalist = load(path, dataset_dir, class_names, require=(section,))
    _tell_if_unchecked(os.path.abspath(path))
    prepared = prepare(with_convention(datalist, label_convention), section, path, dataset_dir)
    for item in prepared:
        if class_names is not None:  # a convention may leave regions open that the run does not ask for
            item["unlabelled"] = [name for name in item["unlabelled"] if name in class_names]
        if not need_label:
            item.pop("label", None)
        elif "label" not in item:
            raise InputError(f"{path}: {section} item {item['file']} has no label, and this stage needs one.")
    return prepared


def labelled_items(path: str | Path, section: str, dataset_dir: str | Path | None = None) -> list[Item]:
    """Those items of a section that have a label; see `items`."""
    return [item for item in prepare(load(path, dataset_dir), section, path, dataset_dir) if "label" in item]


def digest(path: str | Path) -> str:
    """The sha256 of a datalist file, by which a check says what it has looked at."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@functools.cache
def _tell_if_unchecked(path: str) -> None:
    """Say once where no report of a check of this very datalist lies beside it."""
    report = Path(path).parent / "check" / "check.json"
    try:
        checked = json.loads(report.read_text(encoding="utf-8"))["datalist_sha256"] == digest(path)
    except (OSError, ValueError, KeyError, TypeError):  # no report, or one of another program
        checked = False
    if not checked:
        say(
            f"Note: no report of a check lies beside {path} as it is now; `python -m mae_tools check {path}` also "
            "looks for what a run does not: flipped cases, exchanged labels, copies in two lists."
        )


def prepare(datalist: Datalist, section: str, path: str | Path, dataset_dir: str | Path | None = None) -> list[Item]:
    """Turn the entries of one section of a parsed datalist into items as `items` describes them.

    Raises:
        InputError: `dataset_dir` is not a folder.
    """
    base = os.fspath(_base_folder(path, dataset_dir))
    prepared = []
    for case, entry in zip(case_names(datalist)[section], datalist[section], strict=True):
        images = [_absolute(base, file) for file in as_list(entry["image"])]
        item: Item = {"image": images if isinstance(entry["image"], list) else images[0]}
        if "label" in entry:
            label = entry["label"]
            item["label"] = _absolute(base, label) if isinstance(label, str) else label
        item["section"], item["case"] = section, case
        item["file"] = images[0]
        item["patient_id"] = str(entry.get("patient_id", case))
        item["unlabelled"] = list(entry.get("unlabelled", []))
        if "mask_kind" in datalist:
            item["mask_kind"] = datalist["mask_kind"]
        shared = {key: value for part in (datalist, entry) for key, value in part.items() if key in SHARED_KEYS}
        if "brain_mask" in entry:
            item["brain_mask"] = _absolute(base, entry["brain_mask"])
        if "background" in shared:
            item["background"] = shared["background"]
        if "sequences" in shared:
            item["sequences"] = sequence_names(shared["sequences"])
        if "label_convention" in shared:
            rule = convention(shared["label_convention"])
            item["label_convention"] = rule.to_text()
            item["unlabelled"] += [name for name in rule.unlabelled if name not in item["unlabelled"]]
        prepared.append(item)
    return prepared


def with_convention(datalist: Datalist, label_convention: str | dict[str, str] | None) -> Datalist:
    """A copy of a datalist in which every label is read by one convention; without one the datalist itself."""
    if label_convention is None:
        return datalist
    plain = {
        part: [{key: value for key, value in entry.items() if key != "label_convention"} for entry in datalist[part]]
        for part in SECTIONS
    }
    return {**datalist, **plain, "label_convention": label_convention}


def write(path: str | Path, datalist: Datalist) -> None:
    """Validate and write a datalist, atomically and with sorted keys, so that equal content gives equal bytes.

    Raises:
        InputError: the content is not a valid datalist.
    """
    problem = next(schema_problems(datalist), None)
    complete = {**datalist, **{section: datalist.get(section, []) for section in SECTIONS}}
    if problem is None:
        problem = next(iter(consistency_problems(complete)), None)
    if problem is not None:
        raise InputError(f"{path}: not written, {problem}.")
    for text in alike_patients(complete):
        say(f"Warning: {text}.")
    write_atomically(path, _text(datalist))


def _text(datalist: Datalist) -> str:
    """The JSON of a datalist; with a task each item is one line, as there may be a hundred thousand."""
    if "task" not in datalist:
        return json.dumps(datalist, indent=2, sort_keys=True) + "\n"
    parts = []
    for key in sorted(datalist):
        lines = [json.dumps(item, sort_keys=True) for item in datalist[key]] if key in SECTIONS else []
        value = "[\n    " + ",\n    ".join(lines) + "\n  ]" if lines else json.dumps(datalist[key], sort_keys=True)
        parts.append(f"  {json.dumps(key)}: {value}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


class Reading(Protocol):
    """What has read the files of a list: a cache or a data set."""

    def edges(self, file: str) -> str | None:
        """`verify.edges` of a file; None if it was not read."""


def fingerprint(prepared: Sequence[Item], *readings: Reading) -> str:
    """A sha256 that changes with the data.

    It covers the name, the size and the first and last 64 KiB of every file, labels that are no files, and the
    unlabelled classes; it is independent of the order of the items and of where the data set lies.

    Args:
        prepared: the items.
        readings: what has read their files already, so that they are not opened again.

    Raises:
        InputError: a file is missing or unreadable.
    """
    files = [file for item in prepared for file in item_files(item)]
    base = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    lines = []
    for item in prepared:
        parts = [f"{os.path.relpath(file, base)} {_edges(file, readings)}" for file in item_files(item)]
        label = item.get("label")
        said = [None if isinstance(label, str) else label, sorted(item.get("unlabelled", []))]
        said += [item[key] for key in sorted({*SHARED_KEYS, "mask_kind"}) if key in item]
        parts.append(json.dumps(said))
        lines.append(" ".join(parts))
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def _require(path: str | Path, datalist: Datalist, section: str) -> None:
    if not datalist[section]:
        advice = {
            "training": "list at least one training item",
            "validation": "move some patients from training to it (a source's val_fraction does that)",
            "test": "list cases that no other stage reads (a source's test_fraction does that)",
        }[section]
        raise InputError(f"{path}: the list {section!r} has no items; {advice}.")


def _edges(file: str, readings: Sequence[Reading]) -> str:
    """Size and hash of the first and last 64 KiB of a file; see `verify.edges`."""
    known = next((found for reading in readings if (found := reading.edges(file)) is not None), None)
    if known is not None:
        return known
    if os.path.isdir(file):  # a DICOM series
        names = (os.path.join(file, name) for name in files_below(Path(file), 0))
        return combined_edges({name: _edges(name, ()) for name in names})
    try:
        return edges_of(file)
    except OSError as error:
        raise InputError(
            f"{file}: the datalist names it, but it cannot be read ({error.strerror or error})."
        ) from error


def _base_folder(path: str | Path, dataset_dir: str | Path | None) -> Path:
    """Where relative paths start.

    Raises:
        InputError: `dataset_dir` is not a folder.
    """
    if dataset_dir is not None and not Path(dataset_dir).is_dir():
        found = "is a file, expected a folder" if Path(dataset_dir).exists() else "does not exist"
        raise InputError(f"dataset_dir {dataset_dir} {found}; give the one that the paths of {path} start from.")
    return Path(os.path.abspath(dataset_dir if dataset_dir is not None else Path(path).parent))


def _absolute(base: str, file: str) -> str:
    return os.path.normpath(os.path.join(base, file))
