"""The commands `weights show`, `convert` and `verify`."""

import json

import fire
import pytest
import torch
from bundle_runtime.weights.io import sha256_of
from bundle_runtime.weights.load import load_encoder
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from encoders import our_vit, timm_forward, timm_state
from mae_tools.weights.cli import WeightsCommands
from safetensors.torch import load_file, save_file

commands = WeightsCommands()


@pytest.fixture
def encoder_file(tmp_path):
    return str(save_encoder(tmp_path / "enc.safetensors", our_vit(), {"data": "abc"}))


@pytest.fixture
def mae_file(tmp_path):
    torch.save({"model": {**timm_state((3, 4, 4), 10), "head.weight": torch.ones(2)}}, tmp_path / "mae.pth")
    return str(tmp_path / "mae.pth")


def test_show_describes_file_and_sidecar(encoder_file, mae_file):
    text = commands.show(encoder_file)
    assert "monai-vit, 42 tensors" in text
    assert "width 12, 3 blocks" in text
    assert "sidecar data: abc" in text
    text = commands.show(mae_file)
    assert "timm, 43 tensors" in text
    assert "unused 1: head.weight" in text
    assert "no sidecar" in text


def test_convert_keeps_the_sizes_of_the_file(mae_file, tmp_path):
    out = str(tmp_path / "ours.safetensors")
    assert "12x12 voxels, 3 channels" in commands.convert(mae_file, out, num_heads=3)
    vit = our_vit(in_channels=3, img_size=12, spatial_dims=2)
    load_encoder(vit, out)
    image = torch.randn(1, 3, 12, 12)
    expected = timm_forward(timm_state((3, 4, 4), 10), image)
    torch.testing.assert_close(vit(image).tokens, expected, atol=2e-5, rtol=1e-5)
    sidecar = json.loads((tmp_path / "ours.json").read_text())
    assert sidecar["converted_from"] == "mae.pth"
    assert sidecar["conversion"]["complete"]
    assert "good" in commands.verify(out)


def test_convert_to_other_sizes_and_to_3d(mae_file, tmp_path):
    out = str(tmp_path / "ours.safetensors")
    commands.convert(mae_file, out, img_size=(16, 16, 8), patch_size=4, in_channels=1, num_heads=3, inflate=True)
    assert load_file(out)["patch_embedding.patch_embeddings.weight"].shape == (12, 1, 4, 4, 4)
    assert load_file(out)["patch_embedding.position_embeddings"].shape == (1, 32, 12)


def test_command_line_reaches_the_commands(mae_file, tmp_path, capsys):
    out = str(tmp_path / "o.safetensors")
    fire.Fire(WeightsCommands, command=["convert", mae_file, "--to", out, "--img_size", "16,8", "--num_heads", "3"])
    fire.Fire(WeightsCommands, command=["verify", out])
    printed = capsys.readouterr().out
    assert "3x3 to 4x2 positions" in printed
    assert "good: 42 tensors" in printed


def test_convert_for_monai(encoder_file, tmp_path):
    out = str(tmp_path / "monai.safetensors")
    assert "48 tensors" in commands.convert(encoder_file, out, monai=True)
    assert "good" in commands.verify(out)


def test_convert_with_sizes_that_do_not_fit_is_one_sentence(mae_file, tmp_path):
    out = tmp_path / "ours.safetensors"
    with pytest.raises(InputError, match=r"mae\.pth: cannot build an encoder with .* not divisible"):
        commands.convert(mae_file, str(out), img_size=13)
    with pytest.raises(InputError, match="patch_size is 4x4 in the file, 6x6 in the network"):
        commands.convert(mae_file, str(out), img_size=12, patch_size=6, num_heads=3)
    assert not out.exists()


def test_convert_asks_for_what_a_linear_embedding_hides(tmp_path):
    torch.save(timm_state((128,), 8), tmp_path / "lin.pt")
    with pytest.raises(InputError, match=r"lin\.pt: the patch embedding is linear.*give patch_size, one per axis"):
        commands.convert(str(tmp_path / "lin.pt"), str(tmp_path / "o.safetensors"))
    commands.convert(str(tmp_path / "lin.pt"), str(tmp_path / "o.safetensors"), patch_size=(4, 4, 4), num_heads=3)
    assert load_file(tmp_path / "o.safetensors")["patch_embedding.patch_embeddings.weight"].shape == (12, 2, 4, 4, 4)


def test_convert_asks_for_a_grid_that_is_not_square(tmp_path):
    torch.save(timm_state((3, 4, 4), 1 + 6), tmp_path / "wide.pt")
    out = str(tmp_path / "o.safetensors")
    with pytest.raises(InputError, match=r"wide\.pt: 7 position rows fit no square or cubic grid; give source_grid"):
        commands.convert(str(tmp_path / "wide.pt"), out)
    commands.convert(str(tmp_path / "wide.pt"), out, source_grid=(2, 3), num_heads=3)
    assert load_file(out)["patch_embedding.position_embeddings"].shape == (1, 6, 12)


def test_verify_accepts_a_good_file(encoder_file, mae_file):
    assert "sha256 agrees with the sidecar; sizes agree" in commands.verify(encoder_file)
    assert "no checksum to compare with; no sidecar architecture" in commands.verify(mae_file)


def test_verify_finds_nan_and_a_sidecar_that_lies(encoder_file, tmp_path):
    sidecar_file = tmp_path / "enc.json"
    sidecar = json.loads(sidecar_file.read_text())
    for key, value, sentence in (
        ("num_layers", 5, "num_layers is 3 in the tensors, 5 in the sidecar"),
        ("img_size", [16, 8, 8], "8 positions in the tensors, 16 in the sidecar"),
    ):
        changed = {**sidecar, "architecture": {**sidecar["architecture"], key: value}}
        sidecar_file.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=sentence):
            commands.verify(encoder_file)
    state = load_file(encoder_file)
    state["norm.bias"][0] = float("inf")
    save_file(state, encoder_file)
    sidecar_file.write_text(json.dumps({**sidecar, "sha256": sha256_of(encoder_file)}))
    with pytest.raises(InputError, match=r"norm\.bias holds NaN or infinity"):
        commands.verify(encoder_file)
