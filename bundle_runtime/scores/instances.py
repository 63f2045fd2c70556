"""Scores of one picture: pixels of each class, and its objects by aggregated Jaccard index and panoptic quality.

Aggregated Jaccard index: Kumar et al., IEEE TMI 36(7), 2017, algorithm 1. Every reference object takes the predicted
one with the highest IoU (one may be taken twice); intersections and unions are summed, and predicted objects that
nobody took add to the union.

Panoptic quality: Kirillov et al., CVPR 2019: a reference and a predicted object match where their IoU is above 0.5,
which no object can do twice; SQ is the mean IoU of the matches, RQ = TP / (TP + FP / 2 + FN / 2), PQ = SQ RQ. RQ is the
F1 score of finding objects at IoU 0.5.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add

import numpy as np
from custom_components.errors import InputError
from skimage.metrics import contingency_table

MATCH_IOU = 0.5


@dataclass(frozen=True)
class Counts:
    """What is summed, over the objects of a picture or over pictures, before anything is divided.

    Attributes:
        overlap: pixels that reference and prediction both give the class.
        reference: pixels of the class in the reference.
        predicted: pixels of the class in the prediction.
        tp: objects found (IoU above 0.5).
        fp: predicted objects without a match.
        fn: reference objects without a match.
        iou_sum: sum of the IoU of the matches.
        aji_overlap: numerator of the aggregated Jaccard index, pixels.
        aji_union: its denominator, pixels.
    """

    overlap: float = 0
    reference: float = 0
    predicted: float = 0
    tp: float = 0
    fp: float = 0
    fn: float = 0
    iou_sum: float = 0.0
    aji_overlap: float = 0
    aji_union: float = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def scores(counts: Counts | dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Dice, IoU, precision, recall and F1 of objects, PQ, SQ and AJI from counts; NaN where there is nothing to score.

    With objects on one side only, or pixels on one side only, the scores that concern them are 0, and SQ, a mean over
    matches, is NaN.

    Args:
        counts: `Counts`, or its fields as arrays of one shape.
    """
    given = asdict(counts) if isinstance(counts, Counts) else counts
    c = {name: np.asarray(value, float) for name, value in given.items()}
    objects = c["tp"] + (c["fp"] + c["fn"]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "dice": 2 * c["overlap"] / (c["reference"] + c["predicted"]),
            "iou": c["overlap"] / (c["reference"] + c["predicted"] - c["overlap"]),
            "aji": c["aji_overlap"] / c["aji_union"],
            "pq": c["iou_sum"] / objects,
            "sq": c["iou_sum"] / c["tp"],
            "object_f1": c["tp"] / objects,
            "object_precision": c["tp"] / (c["tp"] + c["fp"]),
            "object_recall": c["tp"] / (c["tp"] + c["fn"]),
        }


def total(parts: Sequence[Counts]) -> Counts:
    """Counts of several pictures together."""
    return reduce(add, parts, Counts())


def count_pixels(reference: np.ndarray, prediction: np.ndarray) -> Counts:
    """Pixels of one class, from two bool masks (H, W)."""
    return Counts(*(int(np.count_nonzero(mask)) for mask in (reference & prediction, reference, prediction)))


def count_objects(reference: np.ndarray, prediction: np.ndarray) -> Counts:
    """Matches of the objects of one class and the sums of the aggregated Jaccard index.

    Args:
        reference: (H, W) whole numbers, 0 is no object; numbers need not be consecutive.
        prediction: likewise.

    Raises:
        InputError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise InputError(f"prediction is {prediction.shape} and reference {reference.shape}; expected one grid.")
    reference, prediction = _consecutive(reference), _consecutive(prediction)
    table = contingency_table(reference, prediction, sparse_type="array").tocoo()
    sizes = [np.bincount(side.ravel(), minlength=1).astype(float) for side in (reference, prediction)]
    both = (table.row > 0) & (table.col > 0)
    row, column, shared = table.row[both] - 1, table.col[both] - 1, table.data[both].astype(float)
    ours, theirs = sizes[0][1:], sizes[1][1:]  # pixels of each object
    union = ours[row] + theirs[column] - shared
    iou = shared / union
    matched = iou > MATCH_IOU
    found = int(matched.sum())
    # The best partner of each reference object: the last of its pairs in ascending order of IoU.
    order = np.lexsort((-column, iou, row))
    last = np.append(np.diff(row[order]) != 0, True)[: len(order)]
    best = order[last]
    alone = np.ones(len(ours), bool)
    alone[row[best]] = False
    untaken = np.ones(len(theirs), bool)
    untaken[column[best]] = False
    return Counts(
        tp=found,
        fp=len(theirs) - found,
        fn=len(ours) - found,
        iou_sum=float(iou[matched].sum()),
        aji_overlap=float(shared[best].sum()),
        aji_union=float(union[best].sum() + ours[alone].sum() + theirs[untaken].sum()),
    )


def _consecutive(numbers: np.ndarray) -> np.ndarray:
    """Objects numbered 1, 2, 3, ... in the order of their numbers; 0 stays 0."""
    found, index = np.unique(numbers, return_inverse=True)
    return index.reshape(numbers.shape) + (found[:1] != 0).sum()


def score_picture(
    label: np.ndarray,
    prediction: np.ndarray,
    classes: int,
    instances: np.ndarray | None = None,
    predicted_instances: np.ndarray | None = None,
) -> list[Counts]:
    """Counts of each class but the background.

    Args:
        label: (H, W) class indices.
        prediction: (H, W) class indices.
        classes: number of classes, background included.
        instances: (H, W) numbers of the reference objects; None counts pixels only.
        predicted_instances: (H, W) numbers of the predicted objects.

    Raises:
        InputError: shapes differ, or a value is no class.
    """
    for name, values in (("prediction", prediction), ("label", label)):
        if values.shape != label.shape:
            raise InputError(f"{name} is {values.shape} and the label {label.shape}; expected one grid for both.")
        if not (values.min(initial=0) >= 0 and values.max(initial=0) < classes):
            raise InputError(
                f"{name} holds values from {values.min()} to {values.max()}; expected class indices 0 to {classes - 1}."
            )
    rows = []
    for index in range(1, classes):
        masks = label == index, prediction == index
        counts = count_pixels(*masks)
        if instances is not None and predicted_instances is not None:
            sides = zip(masks, (instances, predicted_instances), strict=True)
            counts = counts + count_objects(*(np.where(mask, objects, 0) for mask, objects in sides))
        rows.append(counts)
    return rows
