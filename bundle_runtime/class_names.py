"""Which classes a run has: named once, in the config, in the datalist, with the weights or in the metadata."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError

from .data.datalist import parse
from .weights.io import read_sidecar


def class_names(
    given: Sequence[Any] | str | None,
    datalist: str | Path | None = None,
    weights: str | Path | None = None,
    metadata: str | Path | None = None,
) -> list[str]:
    """The classes of a run, in the order of its labels and channels.

    Args:
        given: what the config says; null takes them from the first of the others that names some.
        weights: file of the trained network, whose sidecar names those that it was trained on; may be missing.
        datalist: read where the weights do not say it, as in training; later steps compare both with what they need.
        metadata: of the bundle: what its network is for, where neither is there, as in an export.

    Raises:
        InputError: none of them names classes, or `given` is a text.
    """
    if isinstance(given, str):
        hint = "quote its words: \"['one','two words']\""
        raise InputError(f"class_names is the text {given!r}, expected a list; {hint}.")
    found = given
    if found is None and weights is not None and Path(weights).is_file():
        found = (read_sidecar(weights) or {}).get("class_names")
    if found is None and datalist is not None:
        found = parse(datalist).get("class_names")
    if found is None and metadata is not None:
        # A tool that is started elsewhere does not know the bundle's folder, in which this file lies in a package.
        own = Path(__file__).resolve().parents[1] / "configs" / "metadata.json"
        file = next((file for file in (Path(metadata), own) if file.is_file()), None)
        found = None if file is None else channel_names(json.loads(file.read_text(encoding="utf-8")))
    if found is None:
        places = [str(place) for place in (weights, datalist, metadata) if place is not None]
        raise InputError(
            f"class_names is null, and {', '.join(places) or 'nothing else'} names no classes; name them in the "
            "datalist (`python -m mae_tools datalist` does) or with --class_names \"['one','two words']\"."
        )
    return [str(name) for name in found]


def channel_names(metadata: dict[str, Any]) -> list[str] | None:
    """The names of the network's channels in a bundle's metadata; None where one of them has none."""
    pred = metadata["network_data_format"]["outputs"]["pred"]
    names = [pred["channel_def"].get(str(channel)) for channel in range(pred["num_channels"])]
    return None if None in names else names
