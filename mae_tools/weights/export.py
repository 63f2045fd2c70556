"""Export an encoder to stock MONAI: `monai.networks.nets.ViT` and `UNETR(...).vit`."""

from pathlib import Path

import torch
from bundle_runtime.weights.describe import CLASS_TOKEN
from bundle_runtime.weights.io import SAFETENSORS, read_sidecar, read_state_dict
from bundle_runtime.weights.layouts import recognise
from bundle_runtime.weights.save import write_weights
from custom_components.errors import InputError
from torch import Tensor


def to_monai_vit_state(vit_state: dict[str, Tensor], class_token: bool = True) -> dict[str, Tensor]:
    """Add what stock MONAI's `ViT` registers beyond ours: a `norm_cross_attn` per block, which it never uses.

    Args:
        vit_state: State dict of our `ViT`.
        class_token: False leaves the class token out, for `UNETR(...).vit`, which has none; its patch tokens then no
            longer attend to it, so they are not those of the encoder with it.

    Returns:
        The state for MONAI networks built with `qkv_bias=True`: `UNETR(...).vit` takes it strictly,
        `ViT(classification=True)` all but its head. MONAI's LayerNorm eps is 1e-5.
    """
    state = {name: tensor for name, tensor in vit_state.items() if class_token or name != CLASS_TOKEN}
    width = vit_state["norm.weight"].shape[0]
    for name in vit_state:
        if name.endswith(".norm1.weight"):
            block = name.removesuffix("norm1.weight")
            state[f"{block}norm_cross_attn.weight"] = torch.ones(width)
            state[f"{block}norm_cross_attn.bias"] = torch.zeros(width)
    return state


def export_monai(path_in: str | Path, path_out: str | Path, class_token: bool = True) -> str:
    """Write the encoder of a file with the tensors of stock MONAI's `ViT`.

    Args:
        path_in: An encoder, or a network that holds one, in our or MONAI's layout.
        path_out: `.safetensors` or `.pt`, with a sidecar that carries over what is known of the encoder.
        class_token: False for `UNETR(...).vit`.

    Returns:
        One sentence: what was written and how to load it.

    Raises:
        InputError: If the file cannot be read or is in a foreign layout (convert it first).
    """
    found = recognise(read_state_dict(path_in), str(path_in))
    if found.layout in ("timm", "selfmedmae") or found.unplaced:
        raise InputError(f"{path_in}: layout is {found.layout}, expected ours or MONAI's; run `weights convert` first.")
    if Path(path_out).suffix not in (SAFETENSORS, ".pt"):
        raise InputError(f"{path_out}: suffix is {Path(path_out).suffix!r}, expected {SAFETENSORS} or .pt.")
    sidecar = read_sidecar(path_in) or {}
    described = dict(sidecar.get("architecture") or {})
    kept = CLASS_TOKEN in found.encoder and class_token
    if described:
        described["class_token"] = kept
    carried = {key: value for key, value in sidecar.items() if not key.startswith("sha256")}
    state = to_monai_vit_state(found.encoder, class_token)
    write_weights({path_out: state}, {**carried, "architecture": described or None, "exported_for": "monai ViT"})
    use = "ViT(classification=True, qkv_bias=True), strict=False (its head is new)"
    if not kept:
        use = "UNETR(qkv_bias=True).vit; class token " + ("left out" if CLASS_TOKEN in found.encoder else "absent")
    return f"{path_out}: {len(state)} tensors for MONAI's {use}; MONAI's LayerNorm eps is 1e-5"
