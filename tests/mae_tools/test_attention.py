"""Attention of several encoders side by side."""

from pathlib import Path

import mae_tools.attention as module
import numpy as np
import pytest
import torch
from bundle_runtime.data.image_file import read_picture
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.figures.attention import class_attention_map
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from custom_components.networks.vit import ViT
from PIL import Image

SETTINGS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.25], "equalise": "none"}


def encoder(file: Path, seed: int, class_token: bool, **settings: str) -> ViT:
    torch.manual_seed(seed)
    vit = ViT(3, 32, 8, 24, 32, 2, 2, spatial_dims=2, class_token=class_token, pos_embed_type="sincos")
    save_encoder(file, vit, {"normalisation": SETTINGS | settings})
    return vit


def test_each_encoder_has_a_panel_of_its_own_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "tile.png")
    files = [tmp_path / "mae.safetensors", tmp_path / "sdmae.safetensors"]
    networks = [encoder(file, seed, token) for seed, (file, token) in enumerate(zip(files, (True, False), strict=True))]
    drawn = []
    original = module.attention_figure
    monkeypatch.setattr(module, "attention_figure", lambda *given: (drawn.append(given), original(*given)))
    module.attention(
        *map(str, files), images=str(tmp_path / "*.png"), names=["MAE", "SD-MAE"], out=str(tmp_path / "out")
    )
    assert (tmp_path / "out" / "tile.png").is_file()
    (_, maps, _, titles, _) = drawn[0]
    assert titles == ["tile.png", "MAE", "SD-MAE"]
    mean, std = (torch.tensor(SETTINGS[name]).view(3, 1, 1) for name in ("mean", "std"))
    image = ((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std)[None]
    for network, found in zip(networks, maps, strict=True):
        torch.testing.assert_close(found, class_attention_map(network, image)[0], atol=1e-6, rtol=1e-4)


def test_pictures_are_prepared_as_those_of_the_pretraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = np.random.default_rng(0).random((2, 40, 32, 1))  # of haematoxylin and eosin
    optical = amounts[0] * [1.1, 1.4, 0.6] + amounts[1] * [0.1, 1.2, 0.3]
    pixels = (255 * np.exp(-optical)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "tile.png")
    encoder(tmp_path / "e.safetensors", 0, True, stain="macenko", equalise="hist", order="resize_first")
    drawn = []
    monkeypatch.setattr(module, "attention_figure", lambda *given: drawn.append(given))
    module.attention(str(tmp_path / "e.safetensors"), images=str(tmp_path / "*.png"), out=str(tmp_path / "out"))
    recipe = Recipe(32, 3, "hist", "resize_first", "squash", stain="macenko")
    expected = recipe.apply(read_picture(tmp_path / "tile.png").pixels)
    np.testing.assert_allclose(drawn[0][0] * 255, expected, atol=1e-3)
    plain = Recipe(32, 3, "hist", fit="squash").apply(read_picture(tmp_path / "tile.png").pixels)
    assert np.abs(expected.astype(float) - plain).mean() > 3, "the settings make a difference"


def test_what_cannot_be_drawn_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There are 1 encoders, 1 names and 0 pictures"):
        module.attention("a.safetensors", images=str(tmp_path / "*.png"))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    save_encoder(tmp_path / "v.safetensors", ViT(1, 16, 8, 24, 32, 2, 2), {})
    with pytest.raises(InputError, match=r"v\.safetensors: its sidecar does not describe a 2D encoder"):
        module.attention(str(tmp_path / "v.safetensors"), images=str(tmp_path / "*.png"))
