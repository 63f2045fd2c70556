"""Settings that follow from what a data set is like, each with its reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser

from bundle_runtime.data.record import Images
from bundle_runtime.data.schema import Datalist
from bundle_runtime.data.verify_pictures import Seen
from bundle_runtime.files import write_atomically
from custom_components.errors import InputError

from ..bundles import SEGMENTATION, find_bundle, stages
from .case_report import CaseReport

_COARSE = 3.0  # times the finest spacing: slices so thick are kept thinner than their median (nnU-Net's rule)
_SPAN = 4  # a crop spans at least one part in so many of the median extent
_AIR = -500.0  # Hounsfield units; where the lowest values lie below it in most images, they are CT
_MARGIN = 0.1  # of the width of the labelled structures' values, added at both ends of the window
_UPDATES = 4  # an epoch has at least so many
_FREE = 0.9  # share of the card's free memory that is counted on


class Proposal(NamedTuple):
    """A setting, the value that the data suggest, and why."""

    key: str
    value: Any
    reason: str


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
    return fingerprint, [*found, _batch(len(usable), crops, int(config.get("batch_size", 24)), "volumes")]


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


def of_pictures(
    seen: Sequence[Seen], content: Datalist, config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Proposal]]:
    """The same for pictures: `seen` are those of the training list."""
    usable = [picture for picture in seen if not picture.problem]
    if not usable:
        return {}, []
    facts = [picture.facts() for picture in usable]
    images = Images.of([{"picture": fact} for fact in facts])
    ratio = float(np.median([max(p.height, p.width) / min(p.height, p.width) for p in usable]))
    side, patch = images.side[1], int(config.get("patch_size", 16))
    found = []
    if "task" in content:
        found.append(Proposal("task", content["task"], "the datalist's"))
    whole = int(max(side // patch, 1) * patch)
    wanted = int(config.get("img_size", 224))
    found.append(Proposal("img_size", min(wanted, whole), f"the shorter side is {side:.0f} pixels at the median"))
    cached = config.get("cache_size")
    if isinstance(cached, int):
        found.append(
            Proposal("cache_size", max(min(cached, int(side)), min(wanted, whole)), "no picture is enlarged for it")
        )
    if images.grey < 1 and config.get("in_channels") == 1:
        found.append(Proposal("in_channels", 3, f"{1 - images.grey:.0%} of the pictures have colours"))
    if "mpp" in content:
        found.append(Proposal("mpp", content["mpp"], "micrometres a pixel of the tiles, which `detect` must read at"))
    found.append(_batch(len(usable), 1, int(config.get("batch_size", 64)), "pictures"))
    return {"pictures": len(usable), "side": images.side, "grey": images.grey, "aspect": ratio}, found


def _batch(count: int, crops: int, usual: int, what: str) -> Proposal:
    size = max(min(usual, count * crops // _UPDATES // crops * crops), crops)
    return Proposal("batch_size", size, f"{count} {what} give {max(1, count * crops // size)} updates an epoch")


def of_card(
    root: Path | None, stage: str, proposals: Sequence[Proposal], names: Sequence[str] | None
) -> list[Proposal]:
    """`micro_batch`: crops that fit on the GPU, by what one and two take in a step of the bundle's network."""
    if root is None or not torch.cuda.is_available():
        return []
    parser = ConfigParser(ConfigParser.load_config_file(str(root / "configs" / f"{stage}.yaml")))
    wanted = {proposal.key: proposal.value for proposal in proposals}
    parser.update({**{key: value for key, value in wanted.items() if key in parser}, "class_names": list(names or [])})
    network = parser.get_parsed_content("network_def").cuda().train()
    size = wanted.get("roi_size") or [wanted["img_size"]] * 2
    channels = parser.get("in_channels") or len(parser["sequences"])
    peaks = []
    for crops in (1, 2):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16):
            output = network(torch.zeros(crops, channels, *size, device="cuda"))
            sum(part.float().mean() for part in (output if isinstance(output, list | tuple) else [output])).backward()
        peaks.append(torch.cuda.max_memory_allocated())
        network.zero_grad(set_to_none=True)
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    free = _FREE * torch.cuda.mem_get_info()[0] - 3 * weights  # gradients and both averages of AdamW
    fits = max(int(free / max(peaks[1] - peaks[0], 1)), 1)
    batch = wanted["batch_size"]
    name = torch.cuda.get_device_name()
    each = f"a crop takes {(peaks[1] - peaks[0]) / 2**30:.2f} GB on this {name}, {fits} fit (measured in bf16)"
    return [Proposal("micro_batch", None if fits >= batch else fits, each)]


def training_of(bundle: str | None, content: Datalist) -> tuple[Path | None, str, dict[str, Any]]:
    """Folder, name and content of the training stage of a bundle that fits a datalist; nothing without a bundle."""
    if bundle is None:
        return None, "", {}
    root = find_bundle(bundle)
    known = stages(root)
    stage = "train" if "task" in content or f"train{SEGMENTATION}" not in known else f"train{SEGMENTATION}"
    return root, stage, known[stage]


def rows(proposals: Sequence[Proposal], config: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of proposals, header first."""
    head = ("setting", "proposed", *(["now"] if config else []), "because")
    return [
        head,
        *((p.key, str(p.value), *([str(config.get(p.key, "-"))] if config else []), p.reason) for p in proposals),
    ]


def statistics(fingerprint: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table of a fingerprint of volumes, header first; nothing where there is none."""
    if not fingerprint:
        return []
    lines = {"spacing mm": fingerprint["spacing"], "size": fingerprint["size"]}
    lines |= {f"{name}: 0.5, 50, 99.5 % below": rows for name, rows in fingerprint["values"].items()}
    shown = {what: [" ".join(f"{value:.4g}" for value in row) for row in rows] for what, rows in lines.items()}
    head = (f"{fingerprint['cases']} cases", "lowest", "median", "highest")
    return [head, *((what, *cells) for what, cells in shown.items())]


def write_overlay(path: str | Path, proposals: Sequence[Proposal], root: Path | None) -> None:
    """Write the proposals as an overlay, the reason behind each; those that no stage of the bundle has are left out.

    Raises:
        InputError: there is nothing to propose, or the file is there already.
    """
    target = Path(path)
    known = {key for content in stages(root).values() for key in content} if root is not None else None
    chosen = [proposal for proposal in proposals if known is None or proposal.key in known]
    if not chosen:
        raise InputError(f"{target}: not written, as the images say nothing that a setting follows from.")
    if target.exists():
        raise InputError(f"{target} is there already; name another file, or remove it.")
    lines = ["# Proposed by `python -m mae_tools check`; append this file to the --config_file list of every stage."]
    for proposal in chosen:
        value = yaml.safe_dump(proposal.value, default_flow_style=True).removesuffix("\n").removesuffix("\n...").strip()
        lines.append(f"{f'{proposal.key}: {value}':36} # {proposal.reason}")
    write_atomically(target, "\n".join(lines) + "\n")
    print(f"Overlay: {target}")
