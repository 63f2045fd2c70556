"""How bright pictures are, and the normalisation that follows from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bundle_runtime.data.image_prepare import equalise_histogram
from PIL import Image

from .proposals import Proposal

Tones = tuple[tuple[float, float], ...]
_LEVELS = np.arange(256) / 255  # of 8 bits, black 0 and white 1
_APART = 0.5  # of the contrast within a picture: brightness that varies so much between pictures has no common scale
_FLAT = 0.1  # contrast below which a picture uses little of the range
_SHARES = (0, 50, 100)  # percentiles of the pictures that a report shows


def tones_of(pixels: np.ndarray) -> Tones:
    """Mean and mean square, in the range 0..1, of red, green and blue; of grey two pairs: as it is, and equalised.

    Args:
        pixels: uint8 (1, H, W) or (3, H, W); three equal channels are grey.
    """
    moments = tuple(map(_moments, pixels))
    return moments if len(set(moments)) > 1 else (moments[0], _moments(equalise_histogram(pixels[:1])[0]))


def _moments(plane: np.ndarray) -> tuple[float, float]:
    shares = np.array(Image.fromarray(plane).histogram()) / plane.size
    return float(shares @ _LEVELS), float(shares @ _LEVELS**2)


def of_tones(
    tones: Sequence[Tones], channels: int, config: Mapping[str, Any]
) -> tuple[dict[str, list[float]], list[Proposal]]:
    """The brightness of pictures, and what follows from it.

    Args:
        tones: of each picture, see `tones_of`.
        channels: that the network takes.
        config: the training stage of the bundle; {} where none was named.

    Returns:
        For each picture's mean ("brightness") and standard deviation ("contrast") the lowest, the median and the
        highest, and the proposals.
    """
    grey = [len(entry) < 3 for entry in tones]
    plain = np.array([entry[:1] * 3 if one else entry for entry, one in zip(tones, grey, strict=True)])  # N 3 moments
    means = plain[..., 0].mean(axis=1)
    inside = np.sqrt(np.maximum(plain[..., 1] - plain[..., 0] ** 2, 0)).mean(axis=1)
    shown = {"brightness": means, "contrast": inside}
    facts = {name: [round(float(v), 4) for v in np.percentile(values, _SHARES)] for name, values in shown.items()}
    found, used, said = [], plain, "of the pictures"
    if "equalise" in config:
        way, why = _equalise(facts, float(means.std()), all(grey), config["equalise"])
        found.append(Proposal("equalise", way, why))
        if way != "none" and all(grey):
            used, said = np.array([entry[1:] * 3 for entry in tones]), "of the equalised pictures"
    if not config or "pixel_mean" in config:
        found += _scaling(used, channels, said)
    return facts, found


def _equalise(facts: Mapping[str, Sequence[float]], apart: float, grey: bool, now: str) -> tuple[str, str]:
    """Whether the brightness of pictures is to be equalised, and why; as it is now where nothing asks for another."""
    (low, _, high), (_, contrast, _) = facts["brightness"], facts["contrast"]
    said = f"mean brightness from {low:.2f} to {high:.2f}, contrast {contrast:.2f} (black 0, white 1)"
    if not grey:
        return "none", f"colours say more than brightness; {said}"
    if apart > _APART * contrast or contrast < _FLAT:
        why = "the pictures share no scale" if apart > _APART * contrast else "the pictures use little of the range"
        return ("hist" if now == "none" else now), f"{why}: {said}"
    return now, f"nothing asks for another: {said}"


def _scaling(moments: np.ndarray, channels: int, what: str) -> list[Proposal]:
    """What is subtracted from pixels, and what they are divided by: one number, or one for red, green and blue."""
    mean, square = moments.mean(axis=0).T  # each picture counts alike, as all are brought to one size
    deviation = np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), 0.01)
    if channels == 1:
        mean, deviation = mean[:1], deviation[:1]
    values = ([round(float(v), 3) for v in part] for part in (mean, deviation))
    mean_of, deviation_of = (part[0] if len(part) == 1 else part for part in values)
    keep = "; an encoder from elsewhere wants its own"
    return [
        Proposal("pixel_mean", mean_of, f"the mean {what}{keep}"),
        Proposal("pixel_std", deviation_of, f"the standard deviation {what}{keep}"),
    ]
