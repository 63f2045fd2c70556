"""Settings that follow from what a data set is like, each with its reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from bundle_runtime.data.schema import Datalist
from bundle_runtime.files import write_atomically
from custom_components.errors import InputError
from monai.bundle import ConfigParser
from torch import nn

from ..bundles import SEGMENTATION, find_bundle, stages

_UPDATES = 4  # an epoch has at least so many
_FREE = 0.9  # share of the card's free memory that is counted on


class Proposal(NamedTuple):
    """A setting, the value that the data suggest, and why."""

    key: str
    value: Any
    reason: str


def batch_size(count: int, crops: int, usual: int, what: str) -> Proposal:
    """So many crops or pictures that an epoch has some updates, at most the usual number."""
    size = max(min(usual, count * crops // _UPDATES // crops * crops), crops)
    return Proposal("batch_size", size, f"{count} {what} give {max(1, count * crops // size)} updates an epoch")


def of_card(
    root: Path | None, stage: str, proposals: Sequence[Proposal], names: Sequence[str] | None
) -> list[Proposal]:
    """`micro_batch`: crops or pictures that fit on the GPU, by what one and two take in a step of the bundle's network.

    Args:
        root: the bundle; None: nothing is proposed, as without a GPU.
        stage: its training.
        proposals: the other ones, which decide on size and batch.
        names: of the classes.
    """
    if root is None or not torch.cuda.is_available():
        return []
    parser = ConfigParser(ConfigParser.load_config_file(str(root / "configs" / f"{stage}.yaml")))
    wanted = {proposal.key: proposal.value for proposal in proposals}
    wanted = {**wanted, **({} if names is None else {"class_names": list(names)})}
    parser.update({key: value for key, value in wanted.items() if key in parser})
    network = parser.get_parsed_content("network_def")
    size = wanted.get("roi_size") or [wanted["img_size"]] * 2
    channels = parser.get("in_channels") or len(parser["sequences"])
    each = _grows_by(network, [channels, *size])
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    free = _FREE * torch.cuda.mem_get_info()[0] - 3 * weights  # gradients and both averages of AdamW
    fits = max(int(free / each), 1)
    what = "crop" if "roi_size" in wanted else "picture"
    said = f"a {what} takes {each / 2**30:.2f} GB on this {torch.cuda.get_device_name()}, {fits} fit (measured in bf16)"
    return [Proposal("micro_batch", None if fits >= wanted["batch_size"] else fits, said)]


def _grows_by(network: nn.Module, shape: Sequence[int]) -> int:
    """Bytes on the GPU by which a training step with two inputs of this shape peaks above one with a single input."""
    network.cuda().train()
    peaks = []
    for count in (1, 2):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16):
            output = network(torch.zeros(count, *shape, device="cuda"))
            sum(part.float().mean() for part in (output if isinstance(output, list | tuple) else [output])).backward()
        peaks.append(torch.cuda.max_memory_allocated())
        network.zero_grad(set_to_none=True)
    return max(peaks[1] - peaks[0], 1)


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
