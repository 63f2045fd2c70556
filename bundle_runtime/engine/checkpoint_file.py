"""The training checkpoint as a file: written whole or not at all, read without running code, compared with this run."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError

from ..failures import DISK_FULL, causes
from ..files import write_atomically

FORMAT = 3


def plain(value: Any, key: str = "") -> Any:
    """Return `value` with only tensors, numbers, strings and their containers in it, as `weights_only` demands.

    It may hold numpy scalars and tensor subclasses; `key` says where it stands.

    Raises:
        TypeError: Something else is in it.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {k: plain(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v, f"{key}[{i}]") for i, v in enumerate(value))
    raise TypeError(
        f"The checkpoint entry '{key}' is a {type(value).__name__}; only tensors, numbers and strings are stored"
    )


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` atomically: at every moment `path` is the old checkpoint or the new one, whole.

    Raises:
        InputError: The disk is full or refuses; the previous checkpoint is untouched, no temporary file is left.
    """
    try:
        write_atomically(path, lambda stream: torch.save(content, stream))
        _sync_folder(path.parent)
    except Exception as error:
        # torch.save's zip writer answers a failed write with a RuntimeError and keeps the OSError as its context.
        cause = next((one for one in causes(error) if isinstance(one, OSError)), None)
        if cause is None:
            raise
        raise InputError(_write_failure(path, content, cause)) from error


def _write_failure(path: Path, content: Mapping[str, Any], cause: OSError) -> str:
    kept = "the one before it is untouched" if path.exists() else "there is none before it"
    if cause.errno not in DISK_FULL:
        return (
            f"The checkpoint {path} cannot be written ({cause.strerror}); {kept}. Give a folder that can be written to."
        )
    needed, free = _bytes_of(content) / 2**20, shutil.disk_usage(path.parent).free / 2**20
    return (
        f"No space to write the checkpoint {path} ({cause.strerror}): it needs about {needed:,.1f} MiB and "
        f"{free:,.1f} MiB are free; {kept}. Free some space, then run again with --resume true."
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)  # the new name itself must survive a power cut
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bytes_of(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(_bytes_of(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_bytes_of(item) for item in value)
    return 0


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint to the CPU.

    Raises:
        InputError: Truncated, not a checkpoint of this package, or a pickle that wants to run code (never executed).
    """
    advice = "give the checkpoint that this training wrote, or start again with --resume false"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... by the kind of damage
        reason = str(error).strip().split("\n")[0][:160]
        raise InputError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}: {reason}); {advice}."
        ) from error
    if not isinstance(content, dict) or "format" not in content:
        raise InputError(f"The file {path} is not a training checkpoint (it has no 'format' entry); {advice}.")
    if content["format"] != FORMAT:
        raise InputError(
            f"The checkpoint {path} has format {content['format']}, this version reads {FORMAT}: finish that training "
            "with the version that wrote it, or start it again with --overwrite true in place of --resume true."
        )
    return content


def optimizer_difference(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer, kind: str) -> str | None:
    """Return the first difference between a stored state and `optimizer` as half a sentence; None if they fit."""
    if kind != type(optimizer).__name__:
        return f"its optimizer is {kind}, this run uses {type(optimizer).__name__}"
    theirs, ours = saved["param_groups"], optimizer.param_groups
    if len(theirs) != len(ours):
        return f"its optimizer has {len(theirs)} parameter groups, this run has {len(ours)}"
    for index, (old, new) in enumerate(zip(theirs, ours, strict=True)):
        if old.get("name") != new.get("name"):
            return f"its parameter group {index} is '{old.get('name')}', this run has '{new.get('name')}'"
        if len(old["params"]) != len(new["params"]):
            return f"its parameter group {index} holds {len(old['params'])} tensors, this run {len(new['params'])}"
    return None


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> list[str]:
    """Load an optimiser's state; weight decay, betas and the like stay those of this run's config.

    Returns what differed, as short notes ("weight_decay 0.05 -> 0.1").
    """
    configured = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(saved))
    notes: dict[str, None] = {}
    for group, wanted in zip(optimizer.param_groups, configured, strict=True):
        for key, value in wanted.items():
            stored = group.get(key)
            if key != "initial_lr" and _as_list(stored) != _as_list(value):
                notes[f"{key} {stored} -> {value}"] = None
        group.update(wanted)
    return list(notes)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
