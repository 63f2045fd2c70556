"""Settings that follow from pictures: size, channels, normalisation, batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bundle_runtime.data.record import Images
from bundle_runtime.data.schema import Datalist
from bundle_runtime.data.verify_pictures import Seen

from .proposals import Proposal, batch_size
from .tones import of_tones


def of_pictures(
    seen: Sequence[Seen], content: Datalist, config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Proposal]]:
    """The fingerprint of pictures, those of the training list, and what follows from it; else as `of_volumes`."""
    usable = [picture for picture in seen if not picture.problem]
    if not usable:
        return {}, []
    facts = [picture.facts() for picture in usable]
    images = Images.of([{"picture": fact} for fact in facts])
    ratio = float(np.median([max(p.height, p.width) / min(p.height, p.width) for p in usable]))
    side, patch = images.side[1], int(config.get("patch_size", 16))
    found = []
    if "task" in content:
        found.append(Proposal("task", content["task"], "the datalist's"))
    whole = int(max(side // patch, 1) * patch)
    wanted = int(config.get("img_size", 224))
    found.append(Proposal("img_size", min(wanted, whole), f"the shorter side is {side:.0f} pixels at the median"))
    cached = config.get("cache_size")
    if isinstance(cached, int):
        found.append(
            Proposal("cache_size", max(min(cached, int(side)), min(wanted, whole)), "no picture is enlarged for it")
        )
    coloured = np.mean([len(picture.tones) == 3 for picture in usable])
    channels = 3 if coloured else int(config.get("in_channels", 1))
    if coloured and config.get("in_channels") == 1:
        found.append(Proposal("in_channels", channels, f"{coloured:.0%} of the pictures have colours"))
    levels, scaling = of_tones([picture.tones for picture in usable], channels, config)
    found += scaling
    if "mpp" in content:
        found.append(Proposal("mpp", content["mpp"], "micrometres a pixel of the tiles, which `detect` must read at"))
    found.append(batch_size(len(usable), 1, int(config.get("batch_size", 64)), "pictures"))
    return {"pictures": len(usable), "side": images.side, "grey": images.grey, "aspect": ratio, **levels}, found


def statistics(fingerprint: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of a fingerprint of pictures, header first; nothing where there is none."""
    if not fingerprint:
        return []
    lines = {"shorter side, pixels": "side", "brightness, black 0, white 1": "brightness", "contrast": "contrast"}
    head = (f"{fingerprint['pictures']} pictures", "lowest", "median", "highest")
    return [head, *((what, *(f"{value:.4g}" for value in fingerprint[key])) for what, key in lines.items())]
