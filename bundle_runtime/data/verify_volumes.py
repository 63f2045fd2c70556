"""The volumes of one item: every voxel read, sequences matched by name, all of them on one grid."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from custom_components.errors import InputError
from nibabel.orientations import aff2axcodes, io_orientation
from nibabel.spatialimages import HeaderDataError

from .background import read_brain, without_background
from .body import coarse_picture
from .flips import packed
from .schema import Item, as_list, check_background
from .sequences import sequence_name, sequence_names, split_stem
from .verify import STRIPPED, Found, millimetres
from .volume import UnusableError, corner_shift, grid_difference, read_volume, tilted, turned_like


@dataclasses.dataclass
class Expected:
    """What the run will want of every item.

    Attributes:
        class_names: all classes, background first; without them label values are not compared with anything.
        channels: image channels over all files of an item; None takes as many as the item names sequences, or 1.
        roi_size: crop of the network in voxels, one number or three in RAS order; a smaller volume gets a warning.
        spacing: voxel size in mm that volumes are resampled to, likewise; None keeps their own.
        sequences: the sequences that the network takes, in any spelling that `data.sequences` knows; then they are
            compared in place of `channels`.
        allow_missing_sequences: whether zeros may stand in for a sequence that an item lacks.
        need_convention: whether a label without a declared convention is an error.
        background: of items that do not say it, see `background.without_background`.

    Raises:
        InputError: neither one nor three numbers, two sequences that mean the same, or no background.
    """

    class_names: Sequence[str] | None = None
    channels: int | None = 1
    roi_size: Any = None
    spacing: Any = None
    sequences: Sequence[str] | None = None
    allow_missing_sequences: bool = False
    need_convention: bool = False
    background: Any = None

    def __post_init__(self) -> None:
        self.roi_size, self.spacing = _triple(self.roi_size), _triple(self.spacing)
        check_background(self.background)
        if self.sequences is not None:
            given = [self.sequences] if isinstance(self.sequences, str) else self.sequences
            self.sequences = sequence_names(given)


def _triple(value: Any) -> tuple[Any, ...] | None:
    """A number as three equal ones; a sequence of three as it is."""
    if value is None or isinstance(value, int | float):
        return None if value is None else (value,) * 3
    if len(value) != 3:
        raise InputError(f"roi_size and spacing need one or three numbers; found {list(value)}.")
    return tuple(value)


class ImageFile(NamedTuple):
    """One file that was read: its path, the nibabel image, its voxels (X, Y, Z) or (X, Y, Z, C), what they hold."""

    path: str
    image: Any
    voxels: np.ndarray
    names: list[str] | None


@dataclasses.dataclass
class Images:
    """What could be read of an item.

    Attributes:
        files: in the order of the item; the grid of the first one counts.
        names: the sequences that the item names.
        named: sequence name -> voxels (X, Y, Z) of those that the run takes.
        value_range: the lowest and highest value of all files; None where all hold NaN.
    """

    files: list[ImageFile] = dataclasses.field(default_factory=list)
    names: list[str] | None = None
    named: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    value_range: tuple[float, float] | None = None

    @property
    def first(self) -> Any:
        """The nibabel image whose grid counts."""
        return self.files[0].image

    @property
    def count(self) -> int:
        """Volumes over all files."""
        return sum(_planes(file.voxels) for file in self.files)

    def shown(self, sequences: Sequence[str] | None) -> np.ndarray:
        """The volume for pictures: the first sequence of the run that the item has."""
        order = sequences or self.names or ()
        first = self.files[0].voxels
        first = first[..., 0] if first.ndim == 4 else first
        return next((self.named[name] for name in order if name in self.named), first)


def _planes(voxels: np.ndarray) -> int:
    return voxels.shape[3] if voxels.ndim == 4 else 1


def read_images(report: Found, item: Item, expected: Expected) -> Images | None:
    """Read the image files of an item and note what is wrong with them; None where nothing could be read.

    Files of sequences that the run does not take are left unread.
    """
    files = as_list(item["image"])
    found = Images(names=_names(report, item, files, expected))
    brain = read_brain(report, item)
    for index, file in enumerate(files):
        name = found.names[index] if found.names is not None and len(files) > 1 else None
        if name is not None and expected.sequences is not None and name not in expected.sequences:
            continue
        try:
            image, voxels = read_volume(file, report.edges)
            check_header(report, file, image)
        except UnusableError as problem:
            report.add("error", file, str(problem))
            continue
        voxels = without_background(report, file, image, voxels, item.get("background", expected.background), brain)
        _note_image(
            report, found, ImageFile(file, image, voxels, [name] if name is not None else found.names), expected
        )
    if not found.files:
        return None
    _note_values(report, found, expected)
    _check_channels(report, files, found, expected)
    return found


def _note_image(report: Found, found: Images, read: ImageFile, expected: Expected) -> None:
    """Look at the values and the grid of a file, and put it to the others."""
    planes = _planes(read.voxels)
    if read.names is not None and len(read.names) != planes:
        report.add("error", read.path, _volumes_sentence(read.voxels.shape, planes, read.names))
        read = read._replace(names=None)
    _check_values(report, found, read)
    if found.files:
        read = read._replace(
            **dict(zip(("image", "voxels"), turned_like(read.image, read.voxels, found.first), strict=True))
        )
        check_same_grid(report, read.path, read.image, found.first, "the first image")
    found.files.append(read)
    for position, name in enumerate(read.names or []):
        volume = read.voxels[..., position] if read.voxels.ndim == 4 else read.voxels
        if expected.sequences is None or name in expected.sequences:
            _check_blank(report, read.path, name, volume)
            if volume.shape == found.first.shape[:3]:
                found.named[name] = volume


def _names(report: Found, item: Item, files: list[str], expected: Expected) -> list[str] | None:
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


def _check_file_names(report: Found, files: list[str], names: list[str]) -> None:
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


def _check_channels(report: Found, files: list[str], found: Images, expected: Expected) -> None:
    """Compare the number of volumes with what the network takes; where it takes sequences by name, the names count."""
    channels = expected.channels if expected.channels is not None else len(found.names or [""])
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


def _check_values(report: Found, found: Images, read: ImageFile) -> None:
    """Finite voxels, their range, and no blank file; blank sequences with a name are looked for one by one."""
    data = read.voxels
    if data.dtype.kind == "f":
        finite = np.isfinite(data)
        if not finite.all():
            text = f"holds {int(finite.size - finite.sum())} NaN or Inf voxels; replace them"
            report.add("error", read.path, text)
            return
    low, high = float(data.min()), float(data.max())
    if low == high and read.names is None:
        report.add("warning", read.path, f"has the value {low:g} everywhere; is it blank?")
    before = found.value_range or (low, high)
    found.value_range = (min(low, before[0]), max(high, before[1]))


def _check_blank(report: Found, file: str, name: str, volume: np.ndarray) -> None:
    if volume.min() == volume.max():  # not so with NaN, which has been named already
        text = f"its {name} is {float(volume.flat[0]):g} everywhere; restore it, or take {name} out of sequences"
        report.add("error", file, text)


def _note_values(report: Found, found: Images, expected: Expected) -> None:
    """Keep what later images are compared with, see `record.Images`; warn of a background that is not 0.

    Z-scores are taken over the voxels that are not 0, which are the brain only where the rest is exactly 0.
    """
    values, zeros = {}, {}
    for name, volume in (found.named or {"image": found.files[0].voxels}).items():
        flat = volume.ravel(order="K")
        some = flat[:: max(1, flat.size // 100_000) | 1]  # odd, so that it is no multiple of a row
        values[name] = [round(float(value), 4) for value in np.quantile(some, (0.005, 0.5, 0.995))]
        zeros[name] = round(1 - np.count_nonzero(volume) / volume.size, 4)
    if not report.failed:
        spacing, axes = list(size_and_spacing(found.first)[1]), axes_of(found.first)
        report.facts["image"] = {"spacing": spacing, "axes": axes, "values": values, "zeros": zeros}
        body = coarse_picture(found.first, found.shown(expected.sequences))
        report.facts["image"] |= {} if body is None else {"body": packed(body)}
    few = [f"{name} {zeros[name]:.1%}" for name in found.named if zeros[name] < STRIPPED]
    if few:
        report.add(
            "warning",
            report.image,
            f"is not skull-stripped, or its background is not 0 (voxels that are exactly 0: {', '.join(few)}); "
            "intensities are normalised over all voxels that are not 0, so strip the skull and set the rest to 0, or "
            "say in the datalist what it is (background: corners, or a brain_mask of each item), in the inference of a "
            "folder by --background or --brain_mask",
        )


def check_header(report: Found, file: str, image: Any) -> None:
    """The transforms of a NIfTI header, and whether its spacing agrees with them."""
    affine, zooms = image.affine, np.asarray(image.header.get_zooms()[:3], dtype=float)
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UnusableError("has an affine that is singular or not finite; fix the header's sform")
    qform, sform = int(image.header["qform_code"]), int(image.header["sform_code"])
    if qform == 0 and sform == 0:
        report.add("warning", file, "has neither qform nor sform, so left and right are a guess; convert it again")
    from_affine = np.linalg.norm(affine[:3, :3], axis=0)
    if np.any(np.abs(from_affine / zooms - 1) > 0.01):
        report.add(
            "warning",
            file,
            f"says {millimetres(zooms)} in pixdim but {millimetres(from_affine)} in its affine, which is used",
        )
    if tilt := tilted(affine):
        report.add("warning", file, tilt)
    if qform > 0 and sform > 0:
        try:
            agree = corner_shift(image.get_qform(), affine, image.shape[:3]) <= 0.5
        except (ValueError, HeaderDataError):  # not a rotation
            agree = False
        if not agree:
            report.add(
                "warning", file, "has a qform and an sform that disagree; the sform is used, other tools may not"
            )


def check_same_grid(report: Found, file: str, image: Any, first: Any, name: str) -> bool:
    """Same shape and, within a tenth of a voxel, the same place."""
    difference = grid_difference(image, first, name)
    if difference:
        report.add("error", file, difference)
    return not difference


def size_and_spacing(image: Any) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Voxels along each axis of a nibabel image and their lengths in mm, in RAS order."""
    order = np.argsort(io_orientation(image.affine)[:, 0])
    lengths = np.linalg.norm(image.affine[:3, :3], axis=0)
    return tuple(int(image.shape[axis]) for axis in order), tuple(round(float(lengths[axis]), 4) for axis in order)


def axes_of(image: Any) -> str:
    """Where the axes of a nibabel image point, such as RAS or LPS."""
    return "".join(code or "?" for code in aff2axcodes(image.affine))


def check_roi(report: Found, image: Any, expected: Expected) -> None:
    """Warn where a volume is smaller than the crop of the network."""
    if expected.roi_size is None:
        return
    shape, spacing = size_and_spacing(image)
    target = expected.spacing or spacing
    size = [max(1, round(n * own / new)) for n, own, new in zip(shape, spacing, target, strict=True)]
    if any(n < roi for n, roi in zip(size, expected.roi_size, strict=True)):
        where = f"{tuple(size)} voxels at {millimetres(target)}"
        report.add("warning", report.image, f"is {where}, smaller than the ROI {expected.roi_size}: it will be padded")
