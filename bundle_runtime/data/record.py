"""What a training learnt from, kept with its weights: later stages compare with it and never predict what is not there.

It is made of what the pass that read every training item has found, so no file is opened for it.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from custom_components.distributed import say
from custom_components.errors import InputError
from custom_components.tumour_labels import REGIONS
from torch import nn

from ..learnt import leave_out
from . import picture_looks
from .flips import FEWEST, flips_against, in_words, packed, unpacked
from .labels import count_classes
from .verify import STRIPPED, Found, millimetres

_FAR = 2.0  # times the largest, or a part of the smallest, that the training showed
_RARE, _MOST = 0.1, 0.5  # shares of the images: at most of those stored in a rare way, least of those in the usual one
_PICTURES = ("body", "looks")  # of `Images`
_SHIFTED = 0.25  # of the usual width of the values: both ends moved so far, the same way
_STRETCHED = 4.0  # times the usual width of the values

_BY_MASK, _AS_IT_IS = "by brain_mask", "as it is"  # how the background of a head became 0

Facts = Mapping[str, Any]


def unseen_classes(found: Sequence[Found], class_names: Sequence[str]) -> dict[str, str]:
    """The classes, or regions where the labels tell tissues, that no label shows.

    Args:
        found: the items of a training list; those without a label that could be read do not count.
        class_names: background first.

    Returns:
        Why each of them cannot be learnt, by name; empty where there is no label.
    """
    labels = [entry for entry in found if entry.voxels is not None]
    if not labels:
        return {}
    reasons = {}
    for value, name in enumerate(class_names):
        if value and not any(_voxels(entry, value, name) for entry in labels):
            # A tissue may be drawn and yet say nothing of a region: another value of the convention hides a part of it.
            hidden = any(entry.tissues and name in entry.unlabelled and _drawn(entry, name) for entry in labels)
            declared = all(name in entry.unlabelled for entry in labels)
            if hidden or (declared and any(entry.tissues for entry in labels)):
                why = "no training label can tell it: its convention has one value for it and other tissue"
            elif declared:
                why = "every training item declares it unlabelled"
            else:
                why = f"it occurs in none of the {len(labels)} training label(s)"
            reasons[name] = why
    return reasons


def _voxels(found: Found, value: int, name: str) -> int:
    """Voxels of a class in a label from which it can be learnt."""
    if name in found.unlabelled:
        return 0
    return (found.voxels or {}).get(value, 0) if found.tissues is None else _drawn(found, name)


def _drawn(found: Found, region: str) -> int:
    return sum((found.tissues or {}).get(tissue, 0) for tissue in REGIONS.get(region, ()))


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a list: of each number the lowest, the median and the highest over the items.

    Attributes:
        spacing: of volumes, mm along each axis in RAS order.
        axes: of volumes, how many are stored in each order of axes, such as LPS.
        body: of volumes, the mean of their coarse pictures (`flips.packed`); "" of a few.
        values: of volumes, by sequence, the value below which 0.5, 50 and 99.5 % of the voxels lie.
        zeros: of volumes, by sequence, the share of voxels that are exactly 0.
        side: of pictures, the shorter side in pixels.
        grey: of pictures, the share that is grey.
        looks: of pictures, see `picture_looks.summed_up`.
    """

    spacing: list[list[float]] = dataclasses.field(default_factory=list)
    values: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)
    zeros: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    side: list[float] = dataclasses.field(default_factory=list)
    grey: float = 0.0
    axes: dict[str, int] = dataclasses.field(default_factory=dict)
    body: str = ""
    looks: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, facts: Sequence[Facts]) -> Self:
        """Sum up what was found in each item, under "image" (`verify_volumes`) or "picture" (`verify_pictures`)."""
        volumes = [entry["image"] for entry in facts if "image" in entry]
        pictures = [entry["picture"] for entry in facts if "picture" in entry]
        names = list(dict.fromkeys(name for volume in volumes for name in volume["values"]))
        bodies = [unpacked(volume["body"]) for volume in volumes if "body" in volume]
        looks = [picture["look"] for picture in pictures if picture.get("look")]

        def by_name(key: str) -> dict[str, Any]:
            return {name: _extremes([volume[key][name] for volume in volumes if name in volume[key]]) for name in names}

        return cls(
            _extremes([volume["spacing"] for volume in volumes]),
            by_name("values"),
            by_name("zeros"),
            _extremes([picture["side"] for picture in pictures]),
            float(np.mean([picture["grey"] for picture in pictures])) if pictures else 0.0,
            dict(Counter(volume["axes"] for volume in volumes if "axes" in volume)),
            packed(np.sum(bodies, axis=0)) if len(bodies) >= FEWEST - 1 else "",
            picture_looks.summed_up(looks),
        )

    def differences(self, facts: Facts, absolute: bool, what: str = "those of the training") -> list[str]:
        """How one item differs from these images, in sentences that go behind its name.

        Args:
            facts: of the item.
            absolute: values have a unit, as in CT; otherwise they are not compared.
            what: the images that it is compared with.
        """
        if "picture" in facts and self.side:
            return self._of_picture(facts["picture"], what)
        if "image" not in facts or not self.spacing:
            return []
        image, said = facts["image"], []
        low, median, high = self.spacing
        if any(_far(*sizes) for sizes in zip(image["spacing"], low, high, strict=True)):
            said.append(f"has spacing {millimetres(image['spacing'])}, far from {what} (median {millimetres(median)})")
        said += self.rare_axes(facts, what)
        if self.body and "body" in image and (flips := flips_against(unpacked(image["body"]), unpacked(self.body))):
            said.append(f"looks flipped {in_words(flips)} against {what}; look at it beside one of them")
        said += self.other_values(facts, what) if absolute else []
        background = [name for name, share in image["zeros"].items() if self._is_new_background(name, share)]
        if background:
            text = f"has a background of exactly 0 ({', '.join(background)}), unlike {what}"
            said.append(f"{text}; prepare it as those were prepared")
        return said

    def rare_axes(self, facts: Facts, what: str) -> list[str]:
        """Whether an item is stored in another order of axes than nearly all of these images."""
        axes, total = facts.get("image", {}).get("axes"), sum(self.axes.values())
        usual = max(self.axes, key=self.axes.__getitem__, default="")
        if not axes or not total or self.axes.get(axes, 0) > _RARE * total or self.axes[usual] <= _MOST * total:
            return []
        return [f"is stored as {axes}, {what} as {usual}"]

    def other_values(self, facts: Facts, what: str) -> list[str]:
        """Whether the values of an item are shifted or stretched against the medians of these images."""
        values = facts.get("image", {}).get("values", {})
        named = [name for name in self.values if name in values]
        return [text for name in named for text in _other_values(values[name], self.values[name][1], what)]

    def _is_new_background(self, name: str, share: float) -> bool:
        return name in self.zeros and self.zeros[name][1] < STRIPPED <= share

    def _of_picture(self, picture: Facts, what: str) -> list[str]:
        said = []
        low, median, high = self.side
        if _far(picture["side"], low, high):
            said.append(f"is {picture['side']:g} pixels along its shorter side, far from {what} (median {median:g})")
        if picture["grey"] and not self.grey:  # the other way round it may be grey stored as colour
            said.append(f"is grey, unlike {what}")
        return said + self.other_looks({"picture": picture}, what)

    def other_looks(self, facts: Facts, what: str) -> list[str]:
        """Whether the grey levels of a picture, its colours, or where it is bright are unlike these."""
        look = facts.get("picture", {}).get("look")
        return picture_looks.differences(look, self.looks, what) if look else []


def _extremes(values: Sequence[Any]) -> list[Any]:
    """The lowest, the median and the highest of numbers or of lists of them."""
    if not values:
        return []
    return [[round(float(v), 4) for v in row] if np.ndim(row) else round(float(row), 4) for row in
            (np.min(values, axis=0), np.median(values, axis=0), np.max(values, axis=0))]  # fmt: skip


def _far(value: float, low: float, high: float) -> bool:
    return value > _FAR * high or value < low / _FAR


def _other_values(values: Sequence[float], usual: Sequence[float], what: str) -> list[str]:
    """Whether values are shifted or stretched: another unit, or a rescale intercept that was lost."""
    (low, _, high), (usual_low, _, usual_high) = values, usual
    width, usual_width = high - low, usual_high - usual_low
    if width <= 0 or usual_width <= 0:  # blank, which is said elsewhere
        return []
    shifts = (low - usual_low) / usual_width, (high - usual_high) / usual_width
    shifted = min(map(abs, shifts)) > _SHIFTED and shifts[0] * shifts[1] > 0
    if not shifted and usual_width / _STRETCHED < width < usual_width * _STRETCHED:
        return []
    text = f"holds values from {low:.4g} to {high:.4g} (99 % of them), {what} lie from {usual_low:.4g} to"
    return [f"{text} {usual_high:.4g}; bring it to the same unit (CT: Hounsfield units, air -1000, water 0)"]


@dataclasses.dataclass(frozen=True)
class Record:
    """What a network was trained on.

    Attributes:
        class_names: as the network has them.
        shown: by class, how many items show it, and in how many voxels or pixels.
        unlearnt: why a class was not learnt, by name.
        regions: the classes are overlapping regions, with no channel for the background.
        items: how many there were.
        patients: likewise.
        absolute: values of images have a unit and are compared.
        images: what they looked like.
        about: what else is worth knowing: epochs, share of the labels, resolution and tissue share of tiles, treatment
            of the background.
    """

    class_names: list[str]
    shown: dict[str, dict[str, int]]
    unlearnt: dict[str, str]
    regions: bool
    items: int
    patients: int
    absolute: bool
    images: Images
    about: dict[str, Any]

    @property
    def indices(self) -> tuple[int, ...]:
        """The positions of the unlearnt classes in `class_names`."""
        return tuple(index for index, name in enumerate(self.class_names) if name in self.unlearnt)

    @property
    def channels(self) -> tuple[int, ...]:
        """The network's outputs of the unlearnt classes."""
        return tuple(index - self.regions for index in self.indices)

    def sentences(self) -> list[str]:
        """Why each unlearnt class was not learnt."""
        return [f"{name} ({reason})" for name, reason in self.unlearnt.items()]

    def differences(self, facts: Facts) -> list[str]:
        """How an image differs from those of the training; see `Images.differences`."""
        return self.images.differences(facts, self.absolute)

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def in_short(self) -> dict[str, Any]:
        """The same without the pictures of what was usual, for a report."""
        plain = self.to_plain()
        return {**plain, "images": {key: value for key, value in plain["images"].items() if key not in _PICTURES}}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The same again."""
        return cls(**{**plain, "images": Images(**plain["images"])})


def learn_from(
    dataset: Any,
    class_names: Sequence[str],
    network: nn.Module,
    loss: nn.Module,
    allow_unlearnt: bool = False,
    absolute: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Record:
    """Make the record of a training; classes that cannot be learnt are refused, or left out of network and loss.

    Args:
        dataset: the training's `PreparedDataset` or `ImageDataset`, whose items have been read.
        class_names: as the network has them.
        network: never gives such a class then (see `learnt.leave_out`).
        loss: its `unlearnt` says which they are.
        allow_unlearnt: go on without them.
        absolute: see `Record`.
        about: see `Record`.

    Raises:
        InputError: a class cannot be learnt, and `allow_unlearnt` is not set, or none can.
    """
    record = record_of(dataset, class_names, absolute, about)
    labels = getattr(dataset, "labels", None)
    if unlearnt := record.unlearnt:
        listed = "; ".join(record.sentences())
        least = 1 if labels is not None and labels.ndim > 1 else 2  # background and a class, or two classes
        if not allow_unlearnt or len(class_names) - len(unlearnt) < least:
            raise InputError(
                f"{len(unlearnt)} of the class_names cannot be learnt: {listed}. Draw or add such cases, take the "
                "names out of class_names, or go on without them with --allow_unlearnt true: they are then left out "
                "of loss and scores and never predicted, and something must be left to tell apart."
            )
        say(f"Not learnt, so left out of loss and scores and never predicted: {listed}.")
    leave_out(network, record.channels)
    loss.unlearnt = record.indices  # type: ignore[assignment]
    return record


def record_of(
    dataset: Any, class_names: Sequence[str], absolute: bool = False, about: Mapping[str, Any] | None = None
) -> Record:
    """What the labels and images of a training show; arguments as those of `learn_from`."""
    labels = getattr(dataset, "labels", None)
    shown, unlearnt, regions = (
        _of_masks(dataset.found, class_names) if labels is None else _of_labels(labels, class_names)
    )
    patients = len({item["patient_id"] for item in dataset.data})
    images = Images.of(dataset.facts)
    said = {**(about or {}), **background_treatment(dataset.data)}
    return Record(list(class_names), shown, unlearnt, regions, len(dataset), patients, absolute, images, said)


_Learnt = tuple[dict[str, dict[str, int]], dict[str, str], bool]


def _of_masks(found: Sequence[Found], class_names: Sequence[str]) -> _Learnt:
    shown = {}
    for value, name in enumerate(class_names):
        counts = [_voxels(entry, value, name) for entry in found]
        if value:
            shown[name] = {"items": sum(count > 0 for count in counts), "voxels": sum(counts)}
    return shown, unseen_classes(found, class_names), any(entry.tissues is not None for entry in found)


def _of_labels(labels: np.ndarray, class_names: Sequence[str]) -> _Learnt:
    task = "multi_class" if labels.ndim == 1 else "multi_label"
    counts = count_classes(labels, class_names, task)
    shown = {name: {"items": number["present"]} for name, number in counts.items()}
    unlearnt = {}
    for name, number in counts.items():
        if not number["present"]:
            unlearnt[name] = f"it occurs in none of the {len(labels)} training labels"
        elif not number["absent"]:
            unlearnt[name] = f"it is present in every known label of the {len(labels)}"
    return shown, unlearnt, False


def background_treatment(items: Sequence[Facts]) -> dict[str, Any]:
    """How the background of heads became 0, for the record of a training; {} where it was left alone.

    Returns:
        `background`, as the items say it, where all were treated alike by it; else `backgrounds`, how many each way.
    """
    ways = Counter(_BY_MASK if "brain_mask" in item else item.get("background") for item in items)
    if set(ways) <= {None}:
        return {}
    if len(ways) == 1 and _BY_MASK not in ways:
        return {"background": next(iter(ways))}
    return {"backgrounds": {_AS_IT_IS if way is None else str(way): count for way, count in ways.items()}}
