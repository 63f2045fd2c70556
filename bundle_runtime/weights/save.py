"""Save encoders and whole networks with a JSON sidecar that says what they are."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from custom_components import __version__
from custom_components.errors import InputError
from custom_components.networks.find import find_vit, unwrap
from torch import Tensor, nn

from .describe import architecture, encoder_sizes
from .io import SAFETENSORS, checksum_key, sha256_of, sidecar_path, write_file

PATCH_LAYOUT = "channel-first (C, p...)"


def save_encoder(path: str | Path, vit: nn.Module, sidecar: dict[str, Any]) -> Path:
    """Write an encoder as `<name>.safetensors`, and its JSON sidecar `<name>.json` beside it; returns `path`.

    Args:
        path: The weights file.
        vit: A ViT, or a network that holds one at `.vit` or `.encoder`.
        sidecar: What the caller knows: input normalisation, data fingerprint, ... as plain JSON values. Architecture,
            patch layout, checksum and package version are added here.

    Raises:
        InputError: If the suffix is another one or the file cannot be written.
    """
    encoder = find_vit(vit)
    state = encoder.state_dict()
    tensors = {name: state[name] for name in encoder_sizes(encoder).shapes}
    return write_weights({path: tensors}, {**sidecar, "architecture": architecture(encoder)})


def save_network(path_pt: str | Path, network: nn.Module, sidecar: dict[str, Any]) -> tuple[Path, Path]:
    """Write a whole network twice, as a plain PyTorch state dict and as safetensors, with one sidecar.

    Args:
        path_pt: `<name>.pt`, for tools that expect it; readable with `weights_only=True`. The same tensors go to
            `<name>.safetensors`; both paths are returned.
        network: Any network; DDP and compile wrappers are left out of the names.
        sidecar: As for `save_encoder`.

    Raises:
        InputError: If a file cannot be written.
    """
    network = unwrap(network)
    state = network.state_dict()
    content = {**sidecar, "network": type(network).__name__}
    try:
        content["architecture"] = architecture(find_vit(network))
    except InputError:
        content["architecture"] = None  # a network without a ViT is saved all the same
    paths = Path(path_pt), Path(path_pt).with_suffix(SAFETENSORS)
    write_weights(dict.fromkeys(paths, state), content)
    return paths


def write_weights(files: Mapping[Any, dict[str, Tensor]], sidecar: dict[str, Any]) -> Path:
    """Write weights files that share one sidecar, each atomically; returns the first path.

    Args:
        files: Path -> tensors; the suffix decides the format (`.safetensors` or `.pt`).
        sidecar: Content of the JSON file; patch layout, package version and checksums are added.

    Raises:
        InputError: If a suffix is unknown or a file cannot be written.
        TypeError: If `sidecar` holds values that JSON cannot.
    """
    first = Path(next(iter(files)))
    for suffix in (Path(path).suffix for path in files):
        if suffix not in (SAFETENSORS, ".pt"):
            raise InputError(f"{first}: suffix is {suffix or '(none)'}, expected {SAFETENSORS} or .pt; rename it.")
    for name, tensor in ((name, tensor) for tensors in files.values() for name, tensor in tensors.items()):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{first}: not written, {name} is NaN or infinite; what was there before is untouched.")
    content = {**sidecar, "patch_layout": PATCH_LAYOUT, "package_version": __version__}
    json.dumps(content)
    # A run killed between two files must not leave an old checksum beside new weights: the old sidecar goes first, the
    # new one comes last. It is set aside, not removed, so that a full disk leaves old weights and old sidecar together.
    sidecar_file = sidecar_path(first)
    aside = sidecar_file.with_name(f".{sidecar_file.name}.previous")
    if sidecar_file.is_file():
        sidecar_file.replace(aside)
    written = 0
    try:
        for path, tensors in files.items():
            write_file(path, _serialise(Path(path), tensors))
            written += 1
            content[checksum_key(path)] = sha256_of(path)
        write_file(sidecar_file, json.dumps(content, indent=2) + "\n")
    finally:
        if written == 0 and aside.is_file():
            aside.replace(sidecar_file)
        aside.unlink(missing_ok=True)
    return first


def _serialise(path: Path, tensors: dict[str, Tensor]) -> bytes:
    # clones, because safetensors refuses tensors that share memory
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    if path.suffix == SAFETENSORS:
        return safetensors.torch.save(plain, metadata={"format": "pt"})
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()
