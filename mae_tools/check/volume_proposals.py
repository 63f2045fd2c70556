"""Settings that follow from volumes: spacing, crop, window of intensities, batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bundle_runtime.data.record import Images
from bundle_runtime.data.schema import Datalist

from .case_report import CaseReport
from .proposals import Proposal, batch_size

_COARSE = 3.0  # times the finest spacing: slices so thick are kept thinner than their median (nnU-Net's rule)
_SPAN = 4  # a crop spans at least one part in so many of the median extent
_AIR = -500.0  # Hounsfield units; where the lowest values lie below it in most images, they are CT
_MARGIN = 0.1  # of the width of the labelled structures' values, added at both ends of the window


def of_volumes(
    reports: Sequence[CaseReport], content: Datalist, config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Proposal]]:
    """The fingerprint of volumes, and what follows from it.

    Args:
        reports: of the cases, of which only the readable training cases count where there are any.
        content: the datalist.
        config: the training stage of the bundle; {} where none was named.

    Returns:
        What `check.json` holds of it, and the proposals.
    """
    usable = [report for report in reports if report.facts.get("image") and report.shape]
    usable = [report for report in usable if report.section == "training"] or usable
    if not usable:
        return {}, []
    images = Images.of([report.facts for report in usable])
    shapes = np.array([list(report.shape or ()) for report in usable], float)  # cases 3
    spacings = np.array([list(report.spacing or ()) for report in usable], float)  # cases 3, mm
    inside = [report.inside for report in usable if report.inside is not None]
    fingerprint = {
        "cases": len(usable),
        "spacing": images.spacing,
        "size": [row.tolist() for row in (shapes.min(0), np.median(shapes, 0), shapes.max(0))],
        "values": images.values,
        "labelled_values": [min(low for low, _ in inside), max(high for _, high in inside)] if inside else None,
    }
    patch = int(config.get("patch_size", 16))
    roi = [int(size) for size in config.get("roi_size", [96, 96, 96])]
    extent = np.median(shapes * spacings, axis=0)
    spacing, why = _spacing(spacings, extent, roi)
    size = extent / spacing
    fitted = [
        min(side, max(patch, int(np.ceil(length / patch)) * patch)) for side, length in zip(roi, size, strict=True)
    ]
    held = f"the median volume is {' x '.join(f'{length:.0f}' for length in size)} voxels at that spacing"
    found = [
        Proposal("spacing", spacing, why),
        Proposal("roi_size", fitted, f"{held}; a multiple of patch_size {patch}"),
    ]
    if not config or "intensity_range" in config:
        found += _window(images, inside, content.get("modality"))
    channels = {report.channels for report in usable}
    if len(channels) == 1 and "in_channels" in config:
        found.append(Proposal("in_channels", channels.pop(), "volumes of each case"))
    crops = int(config.get("crops_per_volume", 4))
    return fingerprint, [*found, batch_size(len(usable), crops, int(config.get("batch_size", 24)), "volumes")]


def _spacing(spacings: np.ndarray, extent: np.ndarray, roi: Sequence[int]) -> tuple[list[float], str]:
    """mm along each axis: the median, thick slices thinner, and not so fine that a crop shows next to nothing."""
    spacing, reasons = np.median(spacings, axis=0), ["the median"]
    thick = int(spacing.argmax())
    if spacing[thick] > _COARSE * spacing.min():
        spacing[thick] = max(np.quantile(spacings[:, thick], 0.1), np.delete(spacing, thick).max())
        reasons.append(f"axis {thick} has thick slices: their 10th percentile")
    least = extent / (_SPAN * np.array(roi))
    if (spacing < least).any():
        spacing = np.maximum(spacing, least)
        reasons.append(
            f"coarser, so that {max(roi)} voxels span a quarter of {' x '.join(f'{e:.0f}' for e in extent)} mm"
        )
    return [float(f"{value:.2g}") for value in spacing], "; ".join(reasons)


def _window(images: Images, inside: Sequence[tuple[float, float]], modality: Any) -> list[Proposal]:
    """How intensities become 0..1."""
    lowest = np.median([values[1][0] for values in images.values.values()])
    ct = modality == "CT" if modality is not None else lowest < _AIR
    if not ct:
        why = "values have no unit that images share" + (f" ({modality})" if modality else "")
        return [
            Proposal("intensity_mode", "percentile", why),
            Proposal("intensity_range", [1, 99], "percentiles of each image; the rest is clipped"),
        ]
    mode = Proposal("intensity_mode", "window", "CT has Hounsfield units")
    if not inside:
        return [mode]
    low, high = min(pair[0] for pair in inside), max(pair[1] for pair in inside)
    margin = _MARGIN * (high - low)
    window = [int(np.floor((low - margin) / 5) * 5), int(np.ceil((high + margin) / 5) * 5)]
    why = f"99 % of the labelled voxels lie from {low:.0f} to {high:.0f} in every case; a tenth added at both ends"
    return [mode, Proposal("intensity_range", window, why)]


def statistics(fingerprint: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of a fingerprint of volumes, header first; nothing where there is none."""
    if not fingerprint:
        return []
    lines = {"spacing mm": fingerprint["spacing"], "size": fingerprint["size"]}
    lines |= {f"{name}: 0.5, 50, 99.5 % below": rows for name, rows in fingerprint["values"].items()}
    shown = {what: [" ".join(f"{value:.4g}" for value in row) for row in rows] for what, rows in lines.items()}
    head = (f"{fingerprint['cases']} cases", "lowest", "median", "highest")
    return [head, *((what, *cells) for what, cells in shown.items())]
