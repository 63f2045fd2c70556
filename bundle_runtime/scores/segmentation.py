"""Dice and HD95 of one case, in millimetres on the grid given; a missed structure is counted, never dropped.

HD95 is the larger of the two directed 95th percentiles of the Euclidean distances between surface voxels (the mask
minus its one-step erosion), as MONAI's `compute_hausdorff_distance` takes it. Other libraries define it otherwise, and
values differ.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES, region_masks
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage

from .report import outcome

NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """Scores of one class in one case; undefined values are NaN.

    Attributes:
        structure: Name of the class.
        dice: Dice coefficient, 0 to 1.
        hd95: 95th percentile Hausdorff distance in mm (voxels under parity scoring).
        outcome: "found"; "missed": labelled, not predicted; "hallucinated": predicted, not labelled; "absent": neither;
            "unlabelled": not drawn in this case, so neither scored nor counted; "not learnt": by the network, likewise.
        volume_ml_label: Labelled volume in ml (NaN in 2D).
        volume_ml_prediction: Predicted volume in ml (NaN in 2D).
    """

    structure: str
    dice: float
    hd95: float
    outcome: str
    volume_ml_label: float
    volume_ml_prediction: float

    def not_learnt(self) -> "Row":
        """The row of a class that the network cannot give."""
        return replace(self, dice=NAN, hd95=NAN, outcome="not learnt", volume_ml_prediction=NAN)


def check_penalty(miss_penalty: str | float) -> str | float:
    """Return `miss_penalty` as given.

    Raises:
        InputError: It is neither "diagonal" nor "drop" nor a finite distance of at least 0.
    """
    number = isinstance(miss_penalty, int | float) and not isinstance(miss_penalty, bool)
    if miss_penalty in ("diagonal", "drop") or (number and 0 <= float(miss_penalty) < math.inf):
        return miss_penalty
    raise InputError(
        f"miss_penalty is {miss_penalty!r}; expected 'diagonal', 'drop' or a distance in mm of at least 0."
        " Correct it in the config."
    )


def score_case(
    prediction: np.ndarray,
    label: np.ndarray,
    spacing: Sequence[float],
    class_names: Sequence[str],
    unlabelled: Sequence[str] = (),
    miss_penalty: str | float = "diagonal",
    parity: bool = False,
    regions: bool = False,
) -> list[Row]:
    """Score one case, class by class (every one but index 0) or, with `regions`, region by region.

    Args:
        prediction: (X, Y[, Z]) class indices; with `regions` tissue codes, or one mask a region (R, X, Y[, Z]).
        label: (X, Y[, Z]) class indices on the same grid; with `regions` tissue codes.
        spacing: Voxel size in mm, one number per axis.
        class_names: Names by class index; index 0 is the background.
        unlabelled: Classes that the body has but that nobody drew in this case.
        miss_penalty: HD95 of a missed or hallucinated class: "diagonal" (of the image), a distance in mm, or "drop".
        parity: Score as the papers did: HD95 in voxels, undefined where a side is empty; Dice undefined without label.
        regions: The classes are regions of a brain tumour (`tumour_labels.REGIONS`), which overlap: one by one.

    Returns:
        One row per class, in the order of `class_names`.

    Raises:
        InputError: Shapes differ, a value is no class index, `spacing` does not fit, or a name is not in `class_names`.
    """
    check_penalty(miss_penalty)
    masks = regions and prediction.ndim > label.ndim
    _check_grid(prediction.shape[1:] if masks else prediction.shape, label.shape, spacing)
    for name in unlabelled:
        if name not in class_names[1:]:
            raise InputError(
                f"unlabelled names '{name}'; expected one of {list(class_names[1:])}. Correct it in the datalist."
            )
    structures = (_regions if regions else _classes)(prediction, label, class_names)
    millilitres = math.prod(spacing) / 1000 if label.ndim == 3 else NAN
    unit = [1.0] * label.ndim if parity else [float(s) for s in spacing]  # MONAI wants floats, all of one type
    # The two scorings differ in what counts where one side is empty: these three values.
    missed = hallucinated = (0.0, _penalty(miss_penalty, label.shape, unit))
    if parity:
        missed, hallucinated = (0.0, NAN), (NAN, NAN)
    rows = []
    for name, (pair, index) in zip(class_names[1:], structures, strict=True):
        what = "unlabelled" if name in unlabelled else outcome(*pair.counts(index))
        scores = {"missed": missed, "hallucinated": hallucinated}.get(what, (NAN, NAN))
        if what == "found":
            scores = pair.dice_and_hd95(index, unit)
        volumes = [count * millilitres for count in pair.counts(index)]
        rows.append(Row(name, *scores, what, NAN if what == "unlabelled" else volumes[1], volumes[0]))
    return rows


def _classes(prediction: np.ndarray, label: np.ndarray, class_names: Sequence[str]) -> Iterator[tuple["Pair", int]]:
    """For each class but the background, the maps and its index in them."""
    pair = Pair(*(_class_map(*item, len(class_names)) for item in (("prediction", prediction), ("label", label))))
    return ((pair, index) for index in range(1, len(class_names)))


def _regions(prediction: np.ndarray, label: np.ndarray, class_names: Sequence[str]) -> Iterator[tuple["Pair", int]]:
    """For each region, maps that hold it alone, as index 1."""
    sides = []
    for part, values in (("prediction", prediction), ("label", label)):
        if values.ndim > label.ndim:
            if len(values) != len(class_names) - 1:
                raise InputError(f"{part} holds {len(values)} masks; expected one for each of {list(class_names[1:])}.")
            sides.append(_class_map(part, values, 2))
        else:
            codes = torch.from_numpy(_class_map(part, values, len(TISSUES)))
            sides.append(region_masks(codes[None], class_names).numpy().astype(np.uint8))  # R X Y [Z]
    return ((Pair(*masks), 1) for masks in zip(*sides, strict=True))


class Pair:
    """A prediction and a label as integer maps, with what one pass over each tells about all classes.

    Args:
        prediction: (X, Y[, Z]) class indices, integer.
        label: (X, Y[, Z]) class indices, integer.
    """

    def __init__(self, prediction: np.ndarray, label: np.ndarray) -> None:
        self.maps = prediction, label
        self._counts = [np.bincount(m.ravel()) for m in self.maps]
        self._boxes = [ndimage.find_objects(m) for m in self.maps]

    def counts(self, index: int) -> tuple[int, int]:
        """Voxels of a class in prediction and label."""
        in_prediction, in_label = (int(c[index]) if index < len(c) else 0 for c in self._counts)
        return in_prediction, in_label

    def dice_and_hd95(self, index: int, spacing: list[float]) -> tuple[float, float]:
        """Dice and HD95, in the unit of `spacing`, of a class that both sides hold."""
        boxes = zip(*(box[index - 1] for box in self._boxes), strict=True)
        # Nothing outside the union of both boxes matters; the surface search is fast inside it.
        crop = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in boxes)
        prediction, label = (m[crop] == index for m in self.maps)
        dice = 2 * np.count_nonzero(prediction & label) / sum(self.counts(index))
        hd95 = compute_hausdorff_distance(
            torch.from_numpy(prediction)[None, None],  # 1 1 X Y [Z]
            torch.from_numpy(label)[None, None],
            include_background=True,
            percentile=95,
            spacing=spacing,
        )
        return float(dice), float(hd95)


def _penalty(miss_penalty: str | float, shape: Sequence[int], spacing: Sequence[float]) -> float:
    """HD95 of a structure that one side lacks."""
    if miss_penalty == "diagonal":
        return float(np.linalg.norm(np.multiply(shape, spacing)))
    return NAN if miss_penalty == "drop" else float(miss_penalty)


def _check_grid(prediction: Sequence[int], label: Sequence[int], spacing: Sequence[float]) -> None:
    """Raise `InputError` unless maps of these shapes lie on one grid that `spacing` fits."""
    if prediction != label:
        raise InputError(f"prediction is {prediction} and label {label}; expected one grid for both.")
    if len(spacing) != len(label) or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise InputError(f"spacing is {tuple(spacing)}; expected {len(label)} positive numbers in mm.")


def _class_map(part: str, values: np.ndarray, classes: int) -> np.ndarray:
    """Class indices in the smallest integer type, after a check that they are class indices."""
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (low >= 0 and high < classes):  # this way round NaN is refused too
        raise InputError(f"{part} holds values from {low} to {high}; expected class indices 0 to {classes - 1}.")
    integers = values.astype(np.uint8 if classes <= 256 else np.int32)
    if values.dtype.kind == "f" and not np.array_equal(integers, values):
        raise InputError(
            f"{part} holds fractions; expected whole class indices (resample it with the nearest neighbour)."
        )
    return integers
