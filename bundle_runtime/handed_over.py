"""What MONAI Label sets in a training's config, in the places that this project's configs look at.

It names neither a datalist nor the stage's own keys: it puts lists of `{"image": ..., "label": ...}` and a number of
epochs into data sets and trainer (for several processes in a copy of the config), and trains in one folder repeatedly.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from .class_names import class_names
from .data import datalist as datalists

_EPOCHS = "train::trainer::max_epochs"
_PARTS = {"train": "training", "validate": "validation"}
_TISSUES = "msd"  # the values of tumour tissues that `metadata.json` tells to Label


def take_over(parser: ConfigParser, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Move what a tool has handed over to the keys that everything else follows from.

    The items become a datalist in `output_dir`, the number of epochs `max_epochs` (the warm-up takes a tenth of it at
    most). The run starts anew from the weights that it finds, and leaves out classes that nobody has drawn yet.

    Args:
        parser: the merged config; it is changed.
        overrides: what was set beside the files.

    Returns:
        The settings that were made, {} where no tool has handed over anything.

    Raises:
        InputError: the items are no valid datalist.
    """
    given = {key.replace("#", "::") for key in overrides}
    lists = {part: data for part in _PARTS if isinstance(data := parser.get(f"{part}::dataset::data"), list)}
    if "train" not in lists or not isinstance(parser.get(_EPOCHS), int):  # each refers to a key in a run of ours
        return {}
    sections = {_PARTS[part]: [_entry(parser, item) for item in items] for part, items in lists.items()}
    path = Path(parser.get_parsed_content("output_dir")) / "handed_over.json"
    datalists.write(path, sections)
    epochs = int(parser[_EPOCHS])
    settings: dict[str, Any] = {
        "datalist": str(path),
        "dataset_dir": str(path.parent),
        "max_epochs": epochs,
        "warmup_epochs": min(parser.get_parsed_content("warmup_epochs"), epochs / 10),
        "init": _start(parser),
        "overwrite": True,
        "allow_unlearnt": True,
    }
    if parser["class_names"] is None:  # a study does not name them
        metadata = Path(parser.get_parsed_content("bundle_root")) / "configs" / "metadata.json"
        settings["class_names"] = class_names(None, weights=parser.get_parsed_content("model_file"), metadata=metadata)
    settings = {key: value for key, value in settings.items() if key in parser and key not in given}
    parser.update(
        {**{f"{part}::dataset::data": f"@{part}::data" for part in lists}, _EPOCHS: "@max_epochs", **settings}
    )
    parser.parse(reset=True)
    return settings


def _entry(parser: ConfigParser, item: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"image": os.path.abspath(item["image"]), "label": os.path.abspath(item["label"])}
    if "sequences" in parser:
        entry |= {"sequences": parser["sequences"], "label_convention": _TISSUES}
    return entry


def _start(parser: ConfigParser) -> Any:
    """The `init` of the config, or what there is where its file is missing."""
    model, encoder = (parser.get_parsed_content(key) for key in ("model_file", "encoder_file"))
    if parser["init"] != "mae" or os.path.isfile(encoder):
        return parser["init"]
    return model if os.path.isfile(model) else "scratch"
