"""Weights files on disk: atomic writes, checksums, JSON sidecars, and reading without running code."""

import argparse
import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from custom_components.errors import InputError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..files import write_atomically

SAFETENSORS = ".safetensors"
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
_NESTED = ("model", "state_dict", "network", "model_state_dict")


def write_file(path: str | Path, data: str | bytes) -> Path:
    """Write a file atomically (see `write_atomically`).

    Raises:
        InputError: If it cannot be written (full disk, no permission). Nothing is left behind.
    """
    try:
        return write_atomically(path, data)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder."
        ) from error


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def sidecar_path(path: str | Path) -> Path:
    """Return the JSON file that describes a weights file: the same name with the suffix `.json`."""
    return Path(path).with_suffix(".json")


def checksum_key(path: str | Path) -> str:
    """Return the sidecar key that holds the checksum: `model.pt` and `model.safetensors` share one sidecar."""
    return "sha256" if Path(path).suffix == SAFETENSORS else "sha256_pt"


def read_sidecar(path: str | Path) -> dict[str, Any] | None:
    """Read the sidecar of a weights file; None when there is none.

    Raises:
        InputError: If the sidecar is not a JSON object.
    """
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return None
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{sidecar}: is not valid JSON ({error}); restore it, or remove it to load without it."
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{sidecar}: holds a {type(content).__name__}, expected a JSON object; restore or remove it.")
    return content


def check_sha256(path: str | Path) -> bool:
    """Compare a weights file with the checksum in its sidecar; False when there is none to compare with.

    Raises:
        InputError: If they differ.
    """
    expected = (read_sidecar(path) or {}).get(checksum_key(path))
    if expected is None:
        return False
    found = sha256_of(path)
    if found != expected:
        raise InputError(
            f"{path}: sha256 is {found[:12]}..., its sidecar {sidecar_path(path).name} says {str(expected)[:12]}...; "
            "the file was changed or damaged after it was written: copy both files again."
        )
    return True


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file by name, to the CPU; code in the file is never run.

    Args:
        path: `.safetensors`, or a torch file (`.pt`, `.pth`, `.ckpt`, `.bin`) whose tensors lie at the top or under
            "model", "state_dict", "network" or "model_state_dict".

    Raises:
        InputError: If the file is missing, truncated, of another kind, wants to run code, holds no tensors, or does
            not have the checksum that its sidecar states.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: weights file not found; check the path.")
    if path.suffix != SAFETENSORS and path.suffix not in TORCH_SUFFIXES:
        kinds = ", ".join((SAFETENSORS, *TORCH_SUFFIXES))
        raise InputError(f"{path}: suffix {path.suffix or '(none)'} is not a weights file; expected one of {kinds}.")
    check_sha256(path)
    return _read_safetensors(path) if path.suffix == SAFETENSORS else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error}); copy or export it again.") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # Checkpoints of many public projects carry their command line as a Namespace: plain attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():
            raise InputError(
                f"{path}: holds Python objects that could run code, expected tensors only; it was not executed. "
                "Save its state dict alone (safetensors) where the file comes from."
            ) from error
        raise InputError(f"{path}: truncated or not a weights file; copy or export it again.") from error
    except Exception as error:  # on damaged bytes the readers of zip and pickle raise nearly any kind
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: truncated or not a weights file ({reason}); copy or export it again.") from error
    return _tensors(content, path)


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    found = {}
    if isinstance(content, Mapping):
        found = {str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise InputError(f"{path}: holds no tensors, expected a state dict (at the top or under {', '.join(_NESTED)}).")
    return found
