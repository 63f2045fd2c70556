"""One item under the lens: what a run verifies, and how it looks beside the other items."""

import hashlib
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes

from bundle_runtime.data.schema import Item
from bundle_runtime.data.verify import Problem
from bundle_runtime.data.verify_labels import read_label
from bundle_runtime.data.verify_volumes import Expected, check_roi, read_images, size_and_spacing

from .check_flip import coarse_picture
from .check_report import CaseReport
from .check_tissues import ENHANCED, core_outside, enhancement
from .planes import middle_planes

_ANYTHING = Expected()


def check_item(item: Item, expected: Expected = _ANYTHING) -> list[Problem]:
    """Everything wrong with one item; the label is looked at where the item has one. See `inspect_item`."""
    return inspect_item(item, expected).problems


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
    report.convention, report.tissues = label.convention, label.tissues
    if label.tissues is not None and label.codes is not None:
        report.core_outside = core_outside(label.codes)
        enhanced = enhancement(label.codes, images.named)
        if enhanced is not None and enhanced < ENHANCED:
            text = (
                "its enhancing tumour does not look enhanced: on T1ce it is not brighter than the rest of the tumour "
                f"by {ENHANCED} standard deviations (found {enhanced:.2g}); are label_convention and sequences right?"
            )
            report.add("warning", item["label"], text)
    report.coarse = coarse_picture(images.first, shown)
    if with_planes:
        report.planes = middle_planes(images.first, shown, label.codes)
    return report


def _describe(report: CaseReport, image: Any, volume: np.ndarray) -> None:
    """Fill the table columns; shape and spacing in RAS order."""
    report.shape, report.spacing = size_and_spacing(image)
    report.orientation = "".join(code or "?" for code in aff2axcodes(image.affine))
    report.dtype = str(image.get_data_dtype())
    report.digest = hashlib.sha256(np.ascontiguousarray(volume).tobytes()).hexdigest()
