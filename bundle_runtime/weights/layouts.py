"""Recognise whose Vision Transformer a state dict holds, and give its encoder our (MONAI's) names.

| layout | names | position table | final norm | LayerNorm eps |
|---|---|---|---|---|
| `monai-vit` | MONAI `ViT`; ours | without class slot | `norm` | 1e-5 in MONAI, 1e-6 in ours |
| `monai-unetr` | the same under `vit.` | | | |
| `masked-autoencoder` | the same under `encoder.` (our MaskedAutoencoder) | | | |
| `monai-mae` | MONAI `MaskedAutoEncoderViT` | without class slot | `blocks.{L}` | 1e-5 |
| `timm` | timm and Facebook's MAE | usually with class slot | `norm` | 1e-6 |
| `mae-pytorch` | timm's with `q_bias`, `v_bias` (SD-MAE; BEiT stores a table) | computed, not stored | `norm` | 1e-6 |
| `selfmedmae` | timm's under `encoder.` | `encoder_pos_embed`, outside, without class slot | `norm` | 1e-6 |

The fused q-k-v weight has the same row order in timm and MONAI. SelfMedMAE: arXiv 2203.05573; MAE: arXiv 2111.06377.
"""

import re
from dataclasses import dataclass, field

import torch
from custom_components.errors import InputError
from torch import Tensor

from .describe import CLASS_TOKEN, PATCH_WEIGHT, POSITIONS
from .report import first_names

# What is written otherwise than in our names, which are MONAI's.
_MONAI_NAMES = {"patch_embeddings.1.": "patch_embeddings."}  # proj_type="perceptron": a Sequential of two
_TIMM_NAMES = {
    "patch_embed.proj.": "patch_embedding.patch_embeddings.",
    "pos_embed": POSITIONS,
    ".attn.proj.": ".attn.out_proj.",
    ".mlp.fc1.": ".mlp.linear1.",
    ".mlp.fc2.": ".mlp.linear2.",
}
_OURS = re.compile(
    rf"cls_token|{re.escape(POSITIONS)}|(norm|patch_embedding\.patch_embeddings)\.(weight|bias)"
    r"|blocks\.\d+\.(norm[12]|attn\.(qkv|out_proj)|mlp\.linear[12])\.(weight|bias)"
)
_FIRST_BLOCK = "blocks.0.norm1.weight"
# Encoder tensors that change the output; if our networks have no place for one, the load is not complete.
_ENCODER_PART = re.compile(r"(blocks\.|patch_embed|pos_embed|norm_pre\.|reg_token|rel_pos)")


@dataclass
class Recognised:
    """The encoder found in a state dict, in our names; values still as stored.

    Attributes:
        layout: One of the layouts in the module's table.
        encoder: Our name -> tensor.
        origin: Our name -> name in the file.
        unused: Names in the file that are not the encoder's (decoder, head, unused normalisation).
        unplaced: Names in the file that are the encoder's and for which our networks have no place.
        notes: What a reader of the report should know.
        norm_eps: LayerNorm eps of the code the file comes from, None if the names do not tell.
    """

    layout: str
    encoder: dict[str, Tensor]
    origin: dict[str, str]
    unused: list[str] = field(default_factory=list)
    unplaced: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    norm_eps: float | None = None


def recognise(state_dict: dict[str, Tensor], source: str = "state dict") -> Recognised:
    """Find the encoder in a state dict and rename its tensors.

    Args:
        state_dict: Any of the layouts in the module's table; `module.` and `_orig_mod.` wrappers are ignored.
        source: What to call it in messages.

    Raises:
        InputError: If no known layout fits, or several encoders are in it.
    """
    clean = {_without_wrappers(name): name for name in state_dict}
    prefix = _encoder_prefix(clean, source)
    layout, table = _layout(clean, prefix, source)
    found = Recognised(layout, {}, {}, norm_eps=1e-6 if table is _TIMM_NAMES else None)
    for name, original in clean.items():
        if not name.startswith(prefix):
            found.unused.append(original)
            continue
        local = name.removeprefix(prefix)
        ours = _translate(local, table)
        if ours is not None:
            found.encoder[ours], found.origin[ours] = state_dict[original], original
        elif "cross_attn" not in local and _ENCODER_PART.match(local):
            found.unplaced.append(original)
        else:
            found.unused.append(original)
    if table is _TIMM_NAMES:
        _join_qkv_bias(found, state_dict)
        _fold_layer_scale(found, state_dict)
        _take_outer_positions(found, state_dict)
        _note_timm(found, prefix)
    else:
        _take_last_block_norm(found, state_dict)
        _note_monai(found)
    return found


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ("module", "_orig_mod"))


def _encoder_prefix(names: dict[str, str], source: str) -> str:
    prefixes = [name.removesuffix(_FIRST_BLOCK) for name in names if name.endswith(_FIRST_BLOCK)]
    # "decoder_blocks.0..." ends the same way: a prefix is whole components, none of them a decoder's.
    prefixes = [p for p in prefixes if (not p or p.endswith(".")) and "decoder" not in p]
    for known in ("", "vit.", "encoder."):
        if known in prefixes:
            return known
    if len(prefixes) != 1:
        what = f"several encoders ({', '.join(prefixes)})" if prefixes else "no Vision Transformer encoder"
        raise InputError(
            f"{source}: {what} found, expected exactly one with {_FIRST_BLOCK} (names of MONAI, timm, Facebook-MAE or "
            f"SelfMedMAE); its tensors begin {first_names(list(names))}."
        )
    return prefixes[0]


def _layout(names: dict[str, str], prefix: str, source: str) -> tuple[str, dict[str, str]]:
    if f"{prefix}blocks.0.attn.out_proj.weight" in names:
        if any(re.fullmatch(rf"{re.escape(prefix)}blocks\.\d+\.weight", name) for name in names):
            return "monai-mae", _MONAI_NAMES
        known = {"vit.": "monai-unetr", "encoder.": "masked-autoencoder"}
        return known.get(prefix, "monai-vit"), _MONAI_NAMES
    if f"{prefix}blocks.0.attn.proj.weight" in names:
        outer = f"{prefix}pos_embed" not in names and any(name.startswith("encoder_pos") for name in names)
        return "selfmedmae" if outer else "timm", _TIMM_NAMES
    raise InputError(
        f"{source}: layout not recognised: {prefix}blocks.0 has neither attn.out_proj (MONAI) nor attn.proj (timm); "
        f"its tensors begin {first_names(list(names))}."
    )


def _translate(name: str, table: dict[str, str]) -> str | None:
    for theirs, ours in table.items():
        name = name.replace(theirs, ours)
    return name if _OURS.fullmatch(name) else None


def _take_last_block_norm(found: Recognised, state_dict: dict[str, Tensor]) -> None:
    """MONAI's MaskedAutoEncoderViT keeps the final norm as the last member of `blocks`."""
    for original in list(found.unplaced):
        match = re.search(r"blocks\.\d+\.(weight|bias)$", _without_wrappers(original))
        if match:
            ours = f"norm.{match[1]}"
            found.encoder[ours], found.origin[ours] = state_dict[original], original
            found.unplaced.remove(original)
            found.norm_eps = 1e-5


def _note_monai(found: Recognised) -> None:
    dropped = [name for name in found.unused if "cross_attn" in name and "decoder" not in name]
    if dropped:
        found.notes.append(f"dropped {len(dropped)} cross-attention tensors that MONAI's ViT registers but never uses")
        # only stock MONAI blocks register them, and their LayerNorms have PyTorch's default
        found.norm_eps = 1e-5


def _take_outer_positions(found: Recognised, state_dict: dict[str, Tensor]) -> None:
    """SelfMedMAE keeps the encoder's table beside the encoder (`encoder_pos_embed`); its own ViT transfer missed it."""
    if POSITIONS in found.encoder:
        return
    for original in list(found.unused):
        if _without_wrappers(original).startswith("encoder_pos") and state_dict[original].ndim == 3:
            found.encoder[POSITIONS], found.origin[POSITIONS] = state_dict[original], original
            found.unused.remove(original)
            return


def _join_qkv_bias(found: Recognised, state_dict: dict[str, Tensor]) -> None:
    """BEiT and its descendants keep the biases of q and v by themselves and have none for k: zero says the same."""
    for original in [name for name in found.unplaced if name.endswith(".q_bias")]:
        other = original.removesuffix("q_bias") + "v_bias"
        if other in found.unplaced:
            q, v = state_dict[original], state_dict[other]
            ours = re.sub(r".*(blocks\.\d+\.attn\.)q_bias", r"\1qkv.bias", original)
            found.encoder[ours], found.origin[ours] = torch.cat([q, torch.zeros_like(q), v]), original
            found.unplaced = [name for name in found.unplaced if name not in (original, other)]
    if POSITIONS not in found.encoder and any(name.endswith("q_bias") for name in found.origin.values()):
        found.layout = "mae-pytorch"


def _fold_layer_scale(found: Recognised, state_dict: dict[str, Tensor]) -> None:
    """LayerScale (timm, BEiT) multiplies a branch by a vector: the same as scaling the rows of its last linear map."""
    folded = 0
    for original in list(found.unplaced):
        match = re.search(r"(blocks\.\d+)\.(?:ls([12])\.gamma|gamma_([12]))$", original)
        if not match:
            continue
        last = f"{match[1]}.attn.out_proj" if "1" in match.groups() else f"{match[1]}.mlp.linear2"
        if f"{last}.weight" not in found.encoder:
            continue
        gamma = state_dict[original]
        found.encoder[f"{last}.weight"] = found.encoder[f"{last}.weight"] * gamma[:, None]
        if f"{last}.bias" in found.encoder:
            found.encoder[f"{last}.bias"] = found.encoder[f"{last}.bias"] * gamma
        found.unplaced.remove(original)
        folded += 1
    if folded:
        found.notes.append(f"{folded} LayerScale vectors folded into the linear map before them (exactly equivalent)")


def _note_timm(found: Recognised, prefix: str) -> None:
    if any(_without_wrappers(name).startswith(f"{prefix}fc_norm.") for name in found.unused):
        found.notes.append(
            "the file has fc_norm, a norm of the averaged tokens for its own head: not the encoder's final norm, unused"
        )
    patch = found.encoder.get(PATCH_WEIGHT)
    if found.layout == "selfmedmae" and patch is not None and patch.ndim == 4 and patch.shape[1] > 1:
        found.notes.append(
            "2D SelfMedMAE files of several channels may hold a kernel trained on patches in another value order"
        )
    if CLASS_TOKEN not in found.encoder:
        found.notes.append("the file has no class token")
