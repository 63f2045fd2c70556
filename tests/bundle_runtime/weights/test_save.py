"""Saving encoders and networks."""

import json
import os

import pytest
import torch
from bundle_runtime.weights.io import read_state_dict, sha256_of
from bundle_runtime.weights.load import load_network
from bundle_runtime.weights.save import save_encoder, save_network
from custom_components import __version__
from custom_components.errors import InputError
from encoders import our_vit
from monai.networks.nets import UNETR as MonaiUNETR
from safetensors.torch import load_file
from torch import nn


class Holder(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def test_sidecar_says_what_the_file_is(tmp_path):
    path = save_encoder(tmp_path / "models" / "enc.safetensors", our_vit(), {"normalisation": {"window": [-175, 250]}})
    sidecar = json.loads((tmp_path / "models" / "enc.json").read_text())
    assert sidecar["architecture"] == {
        "in_channels": 1,
        "img_size": [8, 8, 8],
        "patch_size": [4, 4, 4],
        "hidden_size": 12,
        "mlp_dim": 24,
        "num_layers": 3,
        "num_heads": 3,
        "spatial_dims": 3,
        "class_token": True,
        "norm_eps": 1e-6,
        "pos_embed_type": "sincos_learnable",
    }
    assert sidecar["normalisation"] == {"window": [-175, 250]}
    assert sidecar["patch_layout"] == "channel-first (C, p...)"
    assert sidecar["sha256"] == sha256_of(path)
    assert sidecar["package_version"] == __version__
    assert sorted(file.name for file in path.parent.iterdir()) == ["enc.json", "enc.safetensors"]


@pytest.mark.parametrize("part", ["encoder", "vit"])
def test_encoder_is_found_inside_a_network(tmp_path, part):
    vit = our_vit()
    path = save_encoder(tmp_path / "e.safetensors", Holder(**{part: vit}, head=nn.Linear(2, 2)), {})
    found = load_file(path)
    assert found.keys() == vit.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in vit.state_dict().items())


def test_stock_monai_encoder_is_saved_without_what_it_never_uses(tmp_path):
    path = save_encoder(tmp_path / "e.safetensors", MonaiUNETR(1, 2, 16, 4, 12, 24, 3), {})
    assert not any("cross_attn" in name for name in load_file(path))


def test_network_is_saved_twice_with_one_sidecar(tmp_path):
    network = Holder(vit=our_vit(), head=nn.Linear(3, 2))
    network.tied = network.head  # shared memory, which safetensors alone refuses
    pt, safe = save_network(tmp_path / "model.pt", network, {"epoch": 7})
    for path in (pt, safe):
        found = read_state_dict(path)
        assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())
    plain = torch.load(pt, weights_only=True)
    assert plain.keys() == network.state_dict().keys()
    sidecar = json.loads((tmp_path / "model.json").read_text())
    assert (sidecar["network"], sidecar["epoch"], sidecar["architecture"]["num_layers"]) == ("Holder", 7, 3)
    with torch.no_grad():
        network.head.weight.zero_()
    load_network(network, pt)
    assert network.head.weight.any()
    assert len(list(tmp_path.iterdir())) == 3


def test_network_without_vit_is_saved_too(tmp_path):
    save_network(tmp_path / "a.pt", nn.Linear(2, 2), {})
    assert json.loads((tmp_path / "a.json").read_text())["architecture"] is None
    assert load_network(nn.Linear(2, 2), tmp_path / "a.pt")


def test_full_disk_leaves_the_old_file_and_its_sidecar(tmp_path, monkeypatch):
    path = save_encoder(tmp_path / "e.safetensors", our_vit(), {"n": 1})
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"e\.safetensors: cannot be written \(No space left on device\); free space"):
        save_encoder(path, our_vit(norm_eps=1e-5), {"n": 2})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert json.loads((tmp_path / "e.json").read_text())["n"] == 1
    assert read_state_dict(path)
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_again_replaces_file_and_sidecar(tmp_path):
    for n in (1, 2):
        path = save_encoder(tmp_path / "e.safetensors", our_vit(num_layers=n), {"n": n})
    assert json.loads((tmp_path / "e.json").read_text())["n"] == 2
    assert read_state_dict(path)


def test_other_suffix_and_other_networks_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"e\.onnx: suffix is \.onnx, expected \.safetensors or \.pt"):
        save_encoder(tmp_path / "e.onnx", our_vit(), {})
    with pytest.raises(InputError, match=r"network Linear has no Vision Transformer at `\.vit` or `\.encoder`"):
        save_encoder(tmp_path / "e.safetensors", nn.Linear(2, 2), {})
    assert not list(tmp_path.iterdir())


def test_sidecar_that_json_cannot_hold_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        save_encoder(tmp_path / "e.safetensors", our_vit(), {"bad": torch.ones(1)})
    assert not list(tmp_path.iterdir())
