"""One item under the lens: every file read to its last byte, every property that training or inference relies on."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from nibabel.orientations import aff2axcodes, io_orientation

from ..data.schema import Item
from ..data.volume import middle_planes, millimetres
from .check_flip import coarse_picture
from .check_images import read_images
from .check_label import check_label
from .check_report import CaseReport, Expected, Problem

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
    report.channels = images.count
    _describe(report, images.first, images.shown)
    _check_roi(report, expected.roi_size, expected.spacing)
    label = check_label(report, item, images.first, images.named, expected)
    report.coarse = coarse_picture(images.first, images.shown)
    if with_planes:
        report.planes = middle_planes(images.first, images.shown, label)
    return report


def _describe(report: CaseReport, image: Any, volume: np.ndarray) -> None:
    """Fill the table columns; shape and spacing in RAS order."""
    order = np.argsort(io_orientation(image.affine)[:, 0])
    lengths = np.linalg.norm(image.affine[:3, :3], axis=0)
    report.shape = tuple(int(image.shape[axis]) for axis in order)
    report.spacing = tuple(round(float(lengths[axis]), 4) for axis in order)
    report.orientation = "".join(code or "?" for code in aff2axcodes(image.affine))
    report.dtype = str(image.get_data_dtype())
    report.digest = hashlib.sha256(np.ascontiguousarray(volume).tobytes()).hexdigest()


def _check_roi(report: CaseReport, roi_size: Sequence[int] | None, spacing: Sequence[float] | None) -> None:
    if roi_size is None or report.shape is None or report.spacing is None:
        return
    target = report.spacing if spacing is None else spacing
    size = [max(1, round(n * own / new)) for n, own, new in zip(report.shape, report.spacing, target, strict=True)]
    if any(n < roi for n, roi in zip(size, roi_size, strict=True)):
        where = f"{tuple(size)} voxels at {millimetres(target)}"
        report.add("warning", report.image, f"is {where}, smaller than the ROI {tuple(roi_size)}: it will be padded")
