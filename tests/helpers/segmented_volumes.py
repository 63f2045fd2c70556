"""Label maps and reports of segmented volumes, for several tests."""

import math

import numpy as np
from bundle_runtime.scores.segmentation import Row
from bundle_runtime.scores.segmentation_report import SegmentationReport

NAMES = ["background", "liver", "spleen", "kidney"]
SPACING = (0.8, 1.5, 3.0)
SHAPE = (20, 18, 16)


def boxes(*placed, shape=SHAPE):
    """A label map with (class, start, stop) boxes."""
    volume = np.zeros(shape, dtype=np.uint8)
    for index, start, stop in placed:
        volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = index
    return volume


LABEL = boxes((1, (2, 2, 2), (8, 9, 7)), (2, (11, 4, 5), (15, 9, 11)))
SHIFTED = boxes((1, (4, 3, 2), (10, 9, 8)), (2, (11, 5, 4), (16, 9, 11)))
ONLY_LIVER = np.where(LABEL == 1, LABEL, 0)


def make_row(organ, dice, hd95=1.0, outcome="found"):
    return Row(organ, dice, hd95, outcome, 10.0, 11.0)


def filled_report(dice, **arguments):
    """A report from a (cases, 3 organs) table of Dice; None = absent."""
    report = SegmentationReport(NAMES, **arguments)
    for number, line in enumerate(dice):
        rows = [
            make_row(organ, math.nan, math.nan, "absent") if value is None else make_row(organ, value, 10 * (1 - value))
            for organ, value in zip(NAMES[1:], line, strict=True)
        ]
        report.add(f"case{number}", f"p{number}", rows)
    return report
