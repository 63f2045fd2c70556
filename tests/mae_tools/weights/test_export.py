"""Export to stock MONAI and back."""

import json

import pytest
import torch
from bundle_runtime.weights.adapt import adapt
from bundle_runtime.weights.io import read_state_dict
from bundle_runtime.weights.load import load_encoder
from bundle_runtime.weights.save import save_encoder
from custom_components.errors import InputError
from encoders import our_vit, timm_state
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.weights.export import export_monai, to_monai_vit_state
from monai.networks.nets import UNETR as MonaiUNETR


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 2), st.sampled_from([2, 3]), st.booleans(), st.integers(1, 3))
def test_export_and_read_back_is_the_identity(layers, channels, dims, class_token, cells):
    sizes = {"num_layers": layers, "in_channels": channels, "spatial_dims": dims, "class_token": class_token}
    vit = our_vit(**sizes, img_size=2 * cells, patch_size=2)
    state = vit.state_dict()
    tensors, report = adapt(to_monai_vit_state(state), vit)
    assert report.complete
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_exported_file_fills_stock_unetr(tmp_path):
    vit = our_vit(img_size=32, patch_size=16, num_layers=12)
    path = save_encoder(tmp_path / "enc.safetensors", vit, {"normalisation": "window"})
    sentence = export_monai(path, tmp_path / "unetr.safetensors", class_token=False)
    assert "class token left out" in sentence
    assert "eps is 1e-5" in sentence
    stock = MonaiUNETR(1, 2, 32, 4, 12, 24, 3, qkv_bias=True)
    stock.vit.load_state_dict(read_state_dict(tmp_path / "unetr.safetensors"), strict=True)
    sidecar = json.loads((tmp_path / "unetr.json").read_text())
    assert sidecar["normalisation"] == "window"
    assert sidecar["architecture"]["class_token"] is False
    assert "ViT(classification=True" in export_monai(path, tmp_path / "vit.pt")
    again = our_vit(img_size=32, patch_size=16, num_layers=12)
    torch.nn.init.zeros_(again.norm.weight)
    report = load_encoder(again, tmp_path / "vit.pt")
    assert torch.equal(again.norm.weight, vit.norm.weight)
    assert not any("differ slightly" in note for note in report.notes)  # the sidecar states the eps it was trained with


def test_foreign_layout_must_be_converted_first(tmp_path):
    torch.save(timm_state((3, 4, 4), 10), tmp_path / "mae.pth")
    with pytest.raises(InputError, match=r"mae\.pth: layout is timm, expected ours or MONAI's; run `weights convert`"):
        export_monai(tmp_path / "mae.pth", tmp_path / "out.safetensors")
