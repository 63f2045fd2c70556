"""One item under the lens: what a run verifies, and how it looks beside the other items."""

from typing import Any

import numpy as np
from bundle_runtime.data.schema import Item
from bundle_runtime.data.verify_labels import read_label
from bundle_runtime.data.verify_volumes import Expected, axes_of, check_roi, read_images, size_and_spacing

from ..copies import volume_digest
from .case_report import CaseReport
from .planes import middle_planes

_ANYTHING = Expected()


def inspect_item(
    item: Item, expected: Expected = _ANYTHING, section: str = "", with_planes: bool = False
) -> CaseReport:
    """Read image and label of an item completely and note what is wrong.

    Args:
        item: as `datalist.items` gives it.
        expected: what the run wants.
        section: the list the item stands in, for the report.
        with_planes: keep three planes for thumbnails.
    """
    report = CaseReport(section, item["case"], item["file"], unlabelled=list(item.get("unlabelled", [])))
    images = read_images(report, item, expected)
    if images is None:
        return report
    report.channels, report.sequences, report.value_range = images.count, images.names, images.value_range
    shown = images.shown(expected.sequences)
    _describe(report, images.first, shown)
    check_roi(report, images.first, expected)
    label = read_label(report, item, images.first, expected, images.named)
    report.convention, report.core_outside = label.convention, label.core_outside
    if label.codes is not None and label.codes.shape == shown.shape and label.codes.any():
        low, high = np.quantile(shown[label.codes > 0], (0.005, 0.995))
        report.inside = float(low), float(high)
    if with_planes:
        report.planes = middle_planes(images.first, shown, label.codes)
    return report


def _describe(report: CaseReport, image: Any, volume: np.ndarray) -> None:
    """Fill the table columns; shape and spacing in RAS order."""
    report.shape, report.spacing = size_and_spacing(image)
    report.orientation = axes_of(image)
    report.dtype = str(image.get_data_dtype())
    report.digest = volume_digest(volume).hex()
