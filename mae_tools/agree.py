"""What a bundle says of itself, in its configs, with its weights and in its metadata, and where these disagree."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bundle_runtime.failures import find_input_error
from custom_components.errors import InputError
from monai.bundle import ConfigParser

from .bundles import SEGMENTATION, load, stages

METADATA = "configs/metadata.json"
# What all stages of a kind must have alike: a network of one is read by the others, on images prepared as it learnt.
_SHARED = (
    *("class_names", "sequences", "in_channels", "patch_size", "hidden_size", "mlp_dim", "num_layers", "num_heads"),
    *("spacing", "roi_size", "intensity_mode", "intensity_range", "img_size", "pixel_mean", "pixel_std", "task"),
    *("equalise", "equalise_order", "stain", "fit"),
)


class Described(NamedTuple):
    """The network of a bundle, as `inference.yaml` builds it.

    Attributes:
        names: of its output channels.
        inputs: of its input channels, where the config names them.
        channels: how many input channels there are.
        size: of its input in pixels or voxels.
    """

    names: list[str]
    inputs: list[str] | None
    channels: int
    size: list[int]


def read_metadata(root: Path) -> dict[str, Any]:
    """The content of a bundle's metadata."""
    return dict(json.loads((root / METADATA).read_text(encoding="utf-8")))


def describe(root: Path, weights: bool = True) -> Described:
    """What inference makes of its config, and of its weights where it takes the classes from them.

    Args:
        root: the bundle.
        weights: false leaves them out of account.

    Raises:
        InputError: the config cannot be evaluated.
    """
    parser = ConfigParser(load(root / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(root)
    if not weights:
        parser["model_dir"] = str(root / "configs")  # where there are none
    key = "out_channels" if "out_channels" in parser["network_def"] else "num_classes"
    try:
        classes, channels, size, outputs = (
            parser.get_parsed_content(entry)
            for entry in (
                "classes",
                "network_def::encoder::in_channels",
                "network_def::encoder::img_size",
                f"network_def::{key}",
            )
        )
    except Exception as error:  # MONAI wraps whatever a config item raises
        raise find_input_error(error) or error from error
    sizes = [size, size] if isinstance(size, int) else list(size)
    inputs = parser.get("sequences")
    return Described(
        list(classes)[len(classes) - outputs :], inputs if isinstance(inputs, list) else None, channels, sizes
    )


def agreeing(metadata: dict[str, Any], described: Described) -> dict[str, Any]:
    """A copy of the metadata whose channels and sizes are those of the network."""
    made = copy.deepcopy(metadata)
    formats = made["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    if not _same_names(pred["channel_def"], described.names) and not _names_the_map(pred, described):
        pred["channel_def"] = {str(index): name for index, name in enumerate(described.names)}
    pred["num_channels"], image["num_channels"] = len(described.names), described.channels
    inputs = described.inputs or [f"channel {index}" for index in range(described.channels)]
    if len(image["channel_def"]) != described.channels or described.inputs:
        image["channel_def"] = {str(index): name for index, name in enumerate(inputs)}
    image["spatial_shape"] = list(described.size)
    if pred["type"] == "image":
        pred["spatial_shape"] = list(described.size)
        label_map = formats.get("post_processed_outputs", {}).get("pred")
        if label_map and described.names[0] == "background":
            label_map["value_range"] = [0, len(described.names) - 1]
    return made


def metadata_problems(metadata: dict[str, Any], described: Described) -> Iterator[str]:
    """Where metadata and network disagree, in sentences that go behind the name of the metadata."""
    wanted = agreeing(metadata, described)["network_data_format"]
    for group, parts in wanted.items():
        for part, tensor in parts.items():
            said = metadata["network_data_format"][group][part]
            for key in ("num_channels", "channel_def", "spatial_shape", "value_range"):
                if said.get(key) == tensor.get(key):
                    continue
                if key == "channel_def":
                    other = [i for i in {**said[key], **tensor[key]} if said[key].get(i) != tensor[key].get(i)]
                    first = min(other, key=int)
                    names = said[key].get(first, "nothing"), tensor[key].get(first, "nothing")
                    yield f"channel {first} of {group}.{part} is {names[0]!r}, the network's is {names[1]!r}"
                else:
                    yield f"{key} of {group}.{part} is {said.get(key)}, the network's is {tensor.get(key)}"


def stage_problems(root: Path) -> Iterator[str]:
    """Settings that stages of one kind must have alike and have not."""
    first: dict[tuple[bool, str], tuple[str, Any]] = {}
    for stage, content in stages(root).items():
        for key in _SHARED:
            value = content.get(key)
            if value is None or str(value).startswith(("$", "@")):
                continue
            before = first.setdefault((stage.endswith(SEGMENTATION), key), (stage, value))
            if before[1] != value:
                yield f"{key} is {before[1]} in {before[0]}.yaml, {value} in {stage}.yaml"


def refuse_disagreement(root: Path, weights: bool = True) -> None:
    """Stop where the configs disagree with each other, or the metadata with them or with the weights' classes.

    Args:
        root: the bundle.
        weights: those in `models/` count.

    Raises:
        InputError: naming what both say.
    """
    inside = list(stage_problems(root))
    if inside:
        raise InputError(f"{root / 'configs'}: {'; '.join(inside)}. Give every stage the same.")
    outside = list(metadata_problems(read_metadata(root), describe(root, weights)))
    if outside:
        raise InputError(
            f"{root / METADATA}: {'; '.join(outside)}. Configs, weights and metadata must agree: bake the settings "
            "of the training in with `package --overlay <file>`, or make a bundle of your own (`mae_tools adopt`)."
        )


def _names_the_map(pred: dict[str, Any], described: Described) -> bool:
    """Whether `channel_def` names the values of the label map instead, as it does for regions that overlap."""
    return pred["type"] == "image" and pred["channel_def"].get("0") == "background" != described.names[0]


def _same_names(channels: dict[str, str], names: list[str]) -> bool:
    """Whether channels are called by these names; a longer text with the name in brackets behind it counts."""
    said = [channels.get(str(index), "") for index in range(len(names))]
    same = all(text == name or text.endswith(f"({name})") for text, name in zip(said, names, strict=True))
    return same and len(channels) == len(names)
