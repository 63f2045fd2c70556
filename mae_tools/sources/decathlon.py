"""A task of the Medical Segmentation Decathlon, or any folder with such a `dataset.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from bundle_runtime.data.sequences import file_stem
from custom_components.errors import InputError

from .registry import Root, source
from .split import Found, by_patient


@source(split=by_patient)
def decathlon(root: Root) -> Found:
    """Write the datalist of a Decathlon folder.

    Its labelled cases are split; its own test list has no labels and is left out.

    Args:
        root: the folder with `dataset.json`, e.g. `Task04_Hippocampus`.

    Raises:
        InputError: no readable `dataset.json`, labels that do not count up from 0, or a file it names is missing.
    """
    task = read_task(root)
    modality = task.modality if isinstance(task.modality, str | dict) else None
    keys = {"class_names": [name for _, name in sorted(task.labels.items())], "modality": modality}
    return Found(task.entries, keys=keys, name=task.name, unit="case", said="labelled cases {}")


@dataclass(frozen=True)
class Task:
    """What a `dataset.json` says.

    Attributes:
        path: the file.
        name: of the task.
        entries: items of its training list in its own order, with paths from its folder and the case as `patient_id`.
        labels: label value -> name, for 0, 1, 2, …
        modality: what it says of the channels, unchecked.
    """

    path: Path
    name: str
    entries: list[Item]
    labels: dict[int, str]
    modality: Any

    @property
    def base(self) -> Path:
        """The folder of the task."""
        return self.path.parent


def read_task(root: Root) -> Task:
    """Read `dataset.json` in `root`; the files it names must exist.

    Raises:
        InputError: unreadable, no training items, labels that do not count up from 0, or a missing file.
    """
    base = root.path
    path = base / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder that contains it.") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("training"), list) or not content["training"]:
        raise InputError(f"{path}: has no list 'training' with items, so this is not a Decathlon task.")
    entries = [_entry(path, item) for item in content["training"]]
    missing = [item[key] for item in entries for key in ("image", "label") if not (base / item[key]).is_file()]
    if missing:
        raise InputError(
            f"{path}: names {len(missing)} files that do not exist: {some(missing)}; unpack the task again."
        )
    labels = _labels(path, content.get("labels"))
    modality = content.get("modality", content.get("channel_names"))
    return Task(path, str(content.get("name", base.name)), entries, labels, modality)


def _entry(path: Path, item: Any) -> Item:
    """An item without the leading `./` of the Decathlon's paths."""
    try:
        image, label = (str(Path(item[key])) for key in ("image", "label"))
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: a training item is {item!r}, expected one with 'image' and 'label' paths."
        ) from error
    return {"image": image, "label": label, "patient_id": file_stem(image)}


def _labels(path: Path, labels: Any) -> dict[int, str]:
    """`{"0": "background", "1": "liver"}`, or the reverse that nnU-Net writes, as value -> name."""
    try:
        pairs = {int(key): str(name) for key, name in labels.items()}
    except ValueError:
        try:
            pairs = {int(value): str(name) for name, value in labels.items()}
        except (ValueError, TypeError):
            pairs = {}
    except AttributeError:
        pairs = {}
    if len(pairs) < 2 or sorted(pairs) != list(range(len(pairs))):
        raise InputError(f"{path}: 'labels' is {labels!r}, expected names for 0, 1, 2, … with the background at 0.")
    return pairs
