"""The image files of one item: every voxel read, sequences matched by name, all of them on one grid."""

import dataclasses
from typing import Any

import numpy as np

from ..data.schema import Item, as_list
from ..data.sequences import sequence_name, split_stem
from ..data.volume import UnusableFile, read_volume
from .check_grid import check_header, check_same_grid
from .check_report import CaseReport, Expected

_STRIPPED = 0.1  # least share of exact zeros in a skull-stripped head; cropped to the brain it still is about a third


@dataclasses.dataclass
class Images:
    """What could be read: the first file, whose grid counts, and the volumes.

    Attributes:
        first: the nibabel image.
        shown: the volume for pictures and fingerprint: the first sequence of the run that the item has.
        named: sequence name -> voxels (X, Y, Z), where the item names them.
        count: volumes over all files.
    """

    first: Any
    shown: np.ndarray
    named: dict[str, np.ndarray]
    count: int


def read_images(report: CaseReport, item: Item, expected: Expected) -> Images | None:
    """Read the image files of an item and note what is wrong with them; None where nothing could be read.

    Files of sequences that the run does not take are left unread, as they are by the run.
    """
    files = as_list(item["image"])
    names = _names(report, item, files, expected)
    found: Images | None = None
    for index, file in enumerate(files):
        name = names[index] if names is not None and len(files) > 1 else None
        if name is not None and expected.sequences is not None and name not in expected.sequences:
            continue
        try:
            image, data, planes = read_volume(file)
            check_header(report, file, image)
        except UnusableFile as problem:
            report.add("error", file, str(problem))
            continue
        inside = [name] if name is not None else names
        if inside is not None and len(inside) != planes:
            report.add("error", file, _volumes_sentence(data.shape, planes, inside))
            inside = None
        _check_values(report, file, data, inside is not None)
        if found is None:
            found = Images(image, data[..., 0] if data.ndim == 4 else data, {}, 0)
        else:
            check_same_grid(report, file, image, found.first, "the first image")
        found.count += planes
        for position, label in enumerate(inside or []):
            volume = data[..., position] if data.ndim == 4 else data
            if expected.sequences is None or label in expected.sequences:
                _check_blank(report, file, label, volume)
                if volume.shape == found.shown.shape:
                    found.named[label] = volume
    if found is not None:
        order = expected.sequences or names or ()
        found.shown = next((found.named[name] for name in order if name in found.named), found.shown)
        _check_background(report, found.named)
        _check_channels(report, files, names, found, expected)
    return found


def _names(report: CaseReport, item: Item, files: list[str], expected: Expected) -> list[str] | None:
    """What the files, or the volumes of the only one, hold; None where it is not said, or said wrongly."""
    names: list[str] | None = item.get("sequences")
    wanted = expected.sequences
    if names is None:
        if wanted is not None:
            report.add(
                "error",
                report.image,
                f"nothing says which sequences this item holds; add sequences, such as {list(wanted)}, to the "
                "datalist, in the order of the paths, or of the volumes of a 4-D file",
            )
        return None
    report.sequences = list(names)
    if len(files) > 1 and len(files) != len(names):
        text = f"the item has {len(files)} files but names {len(names)} sequences ({', '.join(names)})"
        report.add("error", report.image, f"{text}; name one for each file")
        return None
    _check_file_names(report, files, names)
    lacking = [name for name in wanted or () if name not in names]
    if wanted is not None and len(lacking) == len(wanted):
        text = f"has none of the sequences {', '.join(wanted)}; it is said to hold {', '.join(names)}"
        report.add("error", report.image, text)
    elif lacking and expected.allow_missing_sequences:
        report.add("warning", report.image, f"has no {' and no '.join(lacking)}: zeros stand in")
    elif lacking:
        report.add(
            "error",
            report.image,
            f"has no {' and no '.join(lacking)}, only {', '.join(names)}; add what is missing, or let zeros stand in "
            "with allow_missing_sequences: true",
        )
    return names


def _check_file_names(report: CaseReport, files: list[str], names: list[str]) -> None:
    """Sequences go with the paths by position: a file that is named by another sequence shows an exchange."""
    if len(files) != len(names):  # the volumes of one file
        return
    for file, declared in zip(files, names, strict=True):
        parts = split_stem(file)
        found = None if parts is None or parts[1].lower() == "seg" else sequence_name(parts[1])
        if found is not None and found != declared:
            text = (
                f"is declared as {declared} in sequences, but its name says {found}; sequences go in the order of the"
            )
            report.add("error", file, f"{text} paths, so correct one of the two, or rename the file")


def _volumes_sentence(shape: tuple[int, ...], planes: int, names: list[str]) -> str:
    if len(names) > 1:
        return f"has shape {shape}: {planes} volume(s), but {len(names)} sequences are named ({', '.join(names)})"
    return f"has shape {shape}: {planes} volumes, but one sequence is named ({names[0]}); expected one 3-D volume"


def _check_channels(
    report: CaseReport, files: list[str], names: list[str] | None, found: Images, expected: Expected
) -> None:
    """Compare the number of volumes with what the network takes; where it takes sequences by name, the names count."""
    channels = expected.channels if expected.channels is not None else len(names or [""])
    if expected.sequences is not None or found.count == channels or report.failed:
        return
    shape = found.first.shape
    if len(files) > 1:
        text = f"the {len(files)} files of this item hold {found.count} channels, expected {channels}"
    elif channels == 1:
        text = f"is {len(shape)}-D, shape {shape}, expected one 3-D volume (1 channel); split it or set the channels"
    else:
        text = f"has shape {shape}: {found.count} channel(s), expected {channels} on the last axis"
    report.add("error", report.image, text)


def _check_values(report: CaseReport, file: str, data: np.ndarray, named: bool) -> None:
    """Finite voxels, their range, and no blank file; blank sequences with a name are looked for one by one."""
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        if not finite.all():
            report.add("error", file, f"holds {int(finite.size - finite.sum())} NaN or Inf voxels; replace them")
            return
    low, high = float(data.min()), float(data.max())
    if low == high and not named:
        report.add("warning", file, f"has the value {low:g} everywhere; is it blank?")
    if report.value_range is not None:
        low, high = min(low, report.value_range[0]), max(high, report.value_range[1])
    report.value_range = (low, high)


def _check_blank(report: CaseReport, file: str, name: str, volume: np.ndarray) -> None:
    if volume.min() == volume.max():  # not so with NaN, which has been named already
        text = f"its {name} is {float(volume.flat[0]):g} everywhere; restore it, or take {name} out of sequences"
        report.add("error", file, text)


def _check_background(report: CaseReport, named: dict[str, np.ndarray]) -> None:
    """Z-scores are taken over the voxels that are not 0, which are the brain only where the rest is exactly 0."""
    zeros = {name: 1 - np.count_nonzero(volume) / volume.size for name, volume in named.items()}
    few = [f"{name} {share:.1%}" for name, share in zeros.items() if share < _STRIPPED]
    if few:
        report.add(
            "warning",
            report.image,
            f"is not skull-stripped, or its background is not 0 (voxels that are exactly 0: {', '.join(few)}); "
            "intensities are normalised over all voxels that are not 0, so strip the skull and set the rest to 0",
        )
