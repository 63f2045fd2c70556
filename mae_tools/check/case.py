"""One item under the lens: what a run verifies, and how it looks beside the other items."""

from typing import Any

import numpy as np
from bundle_runtime.data.schema import Item
from bundle_runtime.data.verify_labels import read_label
from bundle_runtime.data.verify_volumes import Expected, check_roi, read_images, size_and_spacing
from nibabel.orientations import aff2axcodes

from ..copies import volume_digest
from .case_report import CaseReport, tissue_part
from .flips import coarse_picture
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
    label = read_label(report, item, images.first, expected)
    report.convention = label.convention
    if report.tissues is not None and label.codes is not None:
        tissue_part().look(report, item["label"], label.codes, images.named)
    if label.codes is not None and label.codes.shape == shown.shape and label.codes.any():
        low, high = np.quantile(shown[label.codes > 0], (0.005, 0.995))
        report.inside = float(low), float(high)
    report.coarse = coarse_picture(images.first, shown)
    if with_planes:
        report.planes = middle_planes(images.first, shown, label.codes)
    return report


def _describe(report: CaseReport, image: Any, volume: np.ndarray) -> None:
    """Fill the table columns; shape and spacing in RAS order."""
    report.shape, report.spacing = size_and_spacing(image)
    report.orientation = "".join(code or "?" for code in aff2axcodes(image.affine))
    report.dtype = str(image.get_data_dtype())
    report.digest = volume_digest(volume).hex()
