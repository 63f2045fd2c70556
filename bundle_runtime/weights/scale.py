"""How large the network sees what is in pictures, told with its weights: a training at another scale is warned of."""

from pathlib import Path
from typing import Any

from custom_components.distributed import say

from ..data.record import Images
from .io import read_sidecar

_FAR = 2.0  # times: crops of random sizes change the scale by about as much


def network_scale(
    dataset: Any,
    size: int | None = None,
    mpp: float | None = None,
    init: str = "scratch",
    pretrained_encoder: str | Path | None = None,
) -> dict[str, float | None]:
    """The scale of a training's pictures, for the sidecar; warns where that of the pre-training is far from it.

    Args:
        dataset: of the training, its files read.
        size: pixels that the shorter side of a picture is brought to; None: the network sees its own pixels.
        mpp: micrometres a pixel of the files, where the datalist says it.
        init: what the training starts from, as for `init_network`.
        pretrained_encoder: likewise.

    Returns:
        Along a pixel of the network: "pixels" of a picture (of median size), and micrometres, "mpp", where they are
        known; None where there is no picture.
    """
    sides = Images.of(dataset.facts).side
    pixels = 1.0 if size is None else sides[1] / size if sides else None
    scale = {"pixels": pixels, "mpp": None if mpp is None or pixels is None else mpp * pixels}
    path = pretrained_encoder if init == "mae" else init
    before = {} if init == "scratch" or path is None else (read_sidecar(path) or {}).get("scale") or {}
    for unit, said in (("mpp", "micrometres"), ("pixels", "pixels of a picture")):
        ours, theirs = scale[unit], before.get(unit)
        if ours and theirs:
            if max(ours / theirs, theirs / ours) > _FAR:
                say(
                    f"WARNING: a pixel of the network is {ours:.3g} {said} here and was {theirs:.3g} in the "
                    f"pre-training ({path}): it learnt structures of another size. Pre-train on pictures cut to pieces "
                    "of this scale."
                )
            break
    return scale
