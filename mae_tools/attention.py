"""`python -m mae_tools attention`: where several encoders look in the same pictures, side by side."""

import glob
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from bundle_runtime.data.image_file import read_picture
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.figures.attention import attention_figure, attention_rollout, class_attention_map
from bundle_runtime.weights.io import read_sidecar
from bundle_runtime.weights.load import load_encoder
from custom_components.errors import InputError
from custom_components.networks.vit import ViT


def attention(
    *encoders: str, images: str, names: Sequence[str] | None = None, out: str = "attention", rollout: bool = False
) -> str:
    """Draw each picture, and under the attention of the last block of each encoder the same picture again.

    Without a class token it is the mean over all patches. Each encoder sees the whole picture at its own size, prepared
    as its sidecar says.

    Args:
        *encoders: what `pretrain` wrote (`pretrained_encoder.safetensors`, with its sidecar), 2D.
        images: a picture, or a pattern such as "tiles/*.png".
        names: of the encoders; without, their files.
        out: folder of a PNG file a picture.
        rollout: through all blocks (arXiv 2005.00928) instead of in the last.
    """
    files = sorted(glob.glob(images))
    titles = list(encoders) if names is None else [str(name) for name in names]
    if not encoders or len(titles) != len(encoders) or not files:
        raise InputError(
            f"There are {len(encoders)} encoders, {len(titles)} names and {len(files)} pictures at {images}; "
            "give at least one of each, and a name an encoder."
        )
    networks = [_network(file) for file in encoders]
    for file in files:
        found: list[torch.Tensor] = []
        shown = np.zeros(0)
        for vit, settings in networks:
            prepared = {name: settings[name] for name in ("order", "stain") if settings.get(name)}
            equalise = settings.get("equalise") or "none"
            recipe = Recipe(vit.img_size[0], vit.in_channels, equalise, fit="squash", **prepared)
            pixels = recipe.apply(read_picture(file).pixels)
            mean, std = (np.reshape(settings[name], (-1, 1, 1)) for name in ("mean", "std"))
            image = torch.from_numpy((pixels / 255 - mean) / std).float()[None]
            found.append((attention_rollout if rollout else class_attention_map)(vit, image)[0])
            shown = shown if shown.size else pixels / 255
        target = Path(out) / f"{Path(file).stem}.png"
        attention_figure(shown, found, target, [Path(file).name, *titles], {"mean": 0.0, "std": 1.0})
    return f"written: {len(files)} picture(s) in {out}"


def _network(file: str) -> tuple[ViT, dict]:
    """An encoder as its sidecar describes it, and how its pictures were prepared."""
    sidecar = read_sidecar(file) or {}
    sizes, settings = sidecar.get("architecture") or {}, sidecar.get("normalisation") or {}
    if sizes.get("spatial_dims") != 2 or not {"mean", "std"} <= set(settings):
        raise InputError(f"{file}: its sidecar does not describe a 2D encoder and how its pictures were normalised.")
    vit = ViT(**{**sizes, "pos_embed_type": sizes["pos_embed_type"] or "sincos"})
    load_encoder(vit, file)
    return vit.eval(), settings
