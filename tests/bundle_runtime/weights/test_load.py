"""Loading into networks: the report, strictness, `init`, and whole networks."""

import json

import pytest
import torch
import torch.nn.functional as F
from bundle_runtime.weights.load import init_network, load_encoder, load_network
from bundle_runtime.weights.save import save_encoder, save_network
from custom_components.errors import InputError
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from custom_components.networks.token_classifier import TokenClassifier
from custom_components.networks.unetr import UNETR
from encoders import on_vit, our_vit, selfmedmae_state, timm_forward, timm_state
from monai.handlers import CheckpointLoader
from torch import nn

SIZES = {"hidden_size": 12, "mlp_dim": 24, "num_layers": 4, "num_heads": 3}


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def unetr(**changes) -> UNETR:
    return on_vit(UNETR, 1, 32, **{"out_channels": 3, "feature_size": 4, **SIZES, **changes})


@pytest.fixture
def pretrained(tmp_path):
    mae = on_vit(MaskedAutoencoder, 1, 32, **SIZES, decoder_size=6, decoder_layers=1, decoder_heads=1)
    return mae, save_encoder(tmp_path / "pretrained_encoder.safetensors", mae, {})


def test_pretrained_encoder_enters_unetr_completely(pretrained, tmp_path, capsys):
    mae, path = pretrained
    network = unetr()
    report = load_encoder(network, path, report_path=tmp_path / "report.json")
    assert equal(network.vit, mae.encoder)
    assert report.complete
    printed = capsys.readouterr().out
    assert f"{report.encoder_total} of {report.encoder_total} encoder tensors loaded" in printed
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["complete"]
    assert saved["encoder_loaded"] == len(saved["matched"]) == report.encoder_total == 4 * 12 + 6


def test_wrapped_network_is_filled(pretrained):
    mae, path = pretrained
    network = unetr()
    load_encoder(nn.DataParallel(network), path)
    assert equal(network.vit, mae.encoder)


def test_incomplete_encoder_stops_and_changes_nothing(tmp_path, capsys):
    state = our_vit().state_dict()
    del state["blocks.1.attn.qkv.weight"], state["norm.bias"]
    torch.save(state, tmp_path / "part.pt")
    vit, report_path = our_vit(class_token=True), tmp_path / "report.json"
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    with torch.no_grad():
        state["norm.weight"] += 1
    with pytest.raises(
        InputError, match=r"part\.pt: 40 of 42 .*missing in the file: .*qkv\.weight, norm\.bias.*strict_enc"
    ):
        load_encoder(vit, tmp_path / "part.pt", report_path=report_path)
    assert "40 of 42" in capsys.readouterr().out
    assert not json.loads(report_path.read_text())["complete"]
    assert all(torch.equal(before[name], tensor) for name, tensor in vit.state_dict().items())
    report = load_encoder(vit, tmp_path / "part.pt", strict_encoder=False)
    assert report.new == ["blocks.1.attn.qkv.weight", "norm.bias"]
    assert "new 2: blocks.1.attn.qkv.weight, norm.bias" in str(report)


def test_a_fine_tuned_file_with_a_norm_of_its_head_says_so(tmp_path):
    # The sizes are right: to build the network with "the sizes of the file" would lead nowhere.
    state = timm_state((3, 4, 4), 26)
    for name in ("weight", "bias"):
        state[f"fc_norm.{name}"] = state.pop(f"norm.{name}")
    torch.save({"model": state}, tmp_path / "tuned.pth")
    with pytest.raises(InputError, match=r"fine-tuned network, .*\(fc_norm\).*: give the pre-trained file") as caught:
        load_encoder(our_vit(img_size=12, spatial_dims=2), tmp_path / "tuned.pth")
    assert "sizes" not in str(caught.value)


def fine_tuned(pooled: bool) -> dict[str, torch.Tensor]:
    """A classifier as MSMAE's and Facebook's code save it: with pooling `fc_norm` takes the place of `norm`."""
    state = {**timm_state((3, 4, 4), 10), "head.weight": torch.randn(5, 12), "head.bias": torch.randn(5)}
    if pooled:
        state["fc_norm.weight"], state["fc_norm.bias"] = state.pop("norm.weight"), state.pop("norm.bias")
    return state


def test_a_norm_that_starts_afresh_need_not_be_in_the_file(tmp_path):
    torch.save({"model": fine_tuned(pooled=True)}, tmp_path / "tuned.pth")
    vit = init_network(
        our_vit(in_channels=3, img_size=12, spatial_dims=2), str(tmp_path / "tuned.pth"), encoder_norm="new"
    )
    assert torch.equal(vit.norm.weight, torch.ones(12))


@pytest.mark.parametrize("head", ["pool", "cls"])
def test_a_classifier_fine_tuned_with_the_released_code_is_evaluated_whole(tmp_path, head):
    """Logits as MAE's (and MSMAE's) network computes them, here from the plain forward pass of the encoder."""
    state = fine_tuned(pooled=head == "pool")
    torch.save({"model": state, "epoch": 99}, tmp_path / "checkpoint-99.pth")
    vit = our_vit(in_channels=3, img_size=12, spatial_dims=2)
    network = load_network(
        TokenClassifier(vit, 5, head=head).eval(), tmp_path / "checkpoint-99.pth", choices={"head": head}
    )
    image = torch.randn(2, 3, 12, 12)
    identity = {"norm.weight": torch.ones(12), "norm.bias": torch.zeros(12)}
    tokens = timm_forward({**identity, **state}, image, norm=head == "cls")
    token = tokens[:, 0]
    if head == "pool":
        token = F.layer_norm(tokens[:, 1:].mean(1), (12,), state["fc_norm.weight"], state["fc_norm.bias"], 1e-6)
    expected = token @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(network(image), expected, atol=2e-5, rtol=1e-5)
    other = {"pool": "cls", "cls": "pool"}[head]
    with pytest.raises(InputError, match=r"checkpoint-99\.pth: its head reads .*choose the other head or pool"):
        load_network(TokenClassifier(vit, 5, head=other), tmp_path / "checkpoint-99.pth")


def test_leftover_blocks_stop_the_load(tmp_path):
    path = save_encoder(tmp_path / "deep.safetensors", our_vit(num_layers=4), {})
    with pytest.raises(InputError, match=r"without a place in the network: blocks\.3\..* and 9 more"):
        load_encoder(our_vit(), path)
    assert load_encoder(our_vit(), path, strict_encoder=False).encoder_loaded == 42


def test_report_is_compact_for_a_foreign_file(tmp_path, capsys):
    torch.save({"model": timm_state((3, 4, 4), 26)}, tmp_path / "mae.pth")
    load_encoder(our_vit(img_size=12, spatial_dims=2), tmp_path / "mae.pth")
    printed = capsys.readouterr().out.strip()
    assert len(printed.splitlines()) <= 8
    assert "renamed 21: pos_embed -> patch_embedding.position_embeddings" in printed
    assert "5x5 to 3x3 positions" in printed


def test_sidecar_grid_is_used(tmp_path):
    path = save_encoder(tmp_path / "e.safetensors", our_vit(img_size=(16, 8, 4)), {})
    report = load_encoder(our_vit(), path)
    assert report.resampled["patch_embedding.position_embeddings"] == "4x2x1 to 2x2x2 positions"


def test_init_scratch_and_mae_and_file(pretrained, capsys):
    mae, path = pretrained
    network = unetr()
    before = network.vit.norm.weight.clone()
    assert init_network(network, "scratch") is network
    assert torch.equal(network.vit.norm.weight, before)
    assert "scratch" in capsys.readouterr().out
    assert equal(init_network(unetr(), "mae", path).vit, mae.encoder)
    assert equal(init_network(unetr(), str(path)).vit, mae.encoder)


@pytest.mark.parametrize("new_norm", [False, True])
def test_the_final_norm_is_loaded_or_starts_afresh(pretrained, capsys, new_norm):
    """SD-MAE's code: it always drops the pre-trained norm."""
    mae, path = pretrained
    torch.nn.init.normal_(mae.encoder.norm.weight)
    save_encoder(path, mae, {})
    vit = init_network(unetr(), "mae", path, encoder_norm="new" if new_norm else "loaded").vit
    expected = torch.ones(12) if new_norm else mae.encoder.norm.weight
    assert torch.equal(vit.norm.weight, expected)
    assert torch.equal(vit.blocks[3].norm2.weight, mae.encoder.blocks[3].norm2.weight)
    assert ("starts afresh" in capsys.readouterr().out) is new_norm


def test_another_word_for_the_final_norm_is_refused(pretrained):
    with pytest.raises(InputError, match="encoder_norm is 'fresh'; choose one of new, loaded"):
        init_network(unetr(), "scratch", pretrained[1], encoder_norm="fresh")


def test_missing_pretrained_encoder_never_means_scratch(tmp_path):
    """A defect of SelfMedMAE's code: a wrong path silently trained from scratch."""
    with pytest.raises(
        InputError, match=r"init is mae, but there is no pre-trained encoder at .*x\.safetensors; run pretrain"
    ):
        init_network(unetr(), "mae", tmp_path / "x.safetensors")
    with pytest.raises(
        InputError, match=r"at None; run pretrain first, .*--encoder_file <file>.*--init <file>.*--init scratch"
    ):
        init_network(unetr(), "mae")
    with pytest.raises(InputError, match=r"init is 'scrach', expected scratch, mae or the path"):
        init_network(unetr(), "scrach")


def test_selfmedmae_file_fills_a_network_with_learnable_positions(tmp_path):
    """A defect of SelfMedMAE's code: fine-tuning kept random positions because the table was not loaded."""
    state = selfmedmae_state()
    torch.save({"state_dict": state, "epoch": 9999}, tmp_path / "btcv.pth.tar.pth")
    vit = our_vit(in_channels=2, pos_embed_type="learnable")
    report = load_encoder(vit, tmp_path / "btcv.pth.tar.pth")
    assert "patch_embedding.position_embeddings" not in report.new
    assert torch.equal(vit.patch_embedding.position_embeddings, state["encoder_pos_embed"])


def test_weights_are_really_loaded_where_monai_loads_nothing(tmp_path):
    """Upstream defect, MONAI #2506: `CheckpointLoader(strict_shape=False)` loads nothing and does not say so."""
    torch.save({"model": our_vit().state_dict()}, tmp_path / "e.pt")
    theirs, ours = our_vit(), our_vit()
    for vit in (theirs, ours):
        nn.init.zeros_(vit.norm.weight)
    from ignite.engine import Engine

    engine = Engine(lambda engine, batch: None)
    CheckpointLoader(str(tmp_path / "e.pt"), {"model": theirs}, strict=False, strict_shape=False).attach(engine)
    engine.run([0])
    assert not theirs.norm.weight.any()
    assert load_encoder(ours, tmp_path / "e.pt").complete
    assert equal(ours, our_vit())


def test_network_is_loaded_strictly(tmp_path):
    trained = unetr()
    pt, safe = save_network(tmp_path / "model.pt", nn.DataParallel(trained), {})
    assert equal(load_network(unetr(), pt), trained)
    assert equal(load_network(unetr(), safe), trained)
    torch.save({f"module.{name}": tensor for name, tensor in trained.state_dict().items()}, tmp_path / "ddp.pt")
    assert equal(load_network(unetr(), tmp_path / "ddp.pt"), trained)


def test_network_with_other_classes_is_refused(tmp_path):
    pt, _ = save_network(tmp_path / "model.pt", unetr(), {})
    network = unetr(out_channels=5)
    before = network.vit.norm.weight.clone()
    with pytest.raises(InputError, match=r"model\.pt: its tensor 'out.* is \(3, 4.* needs \(5, 4.*use the class_names"):
        load_network(network, pt)
    assert torch.equal(network.vit.norm.weight, before)
    with pytest.raises(InputError, match=r"it holds a tensor 'vit\.cls_token', which this network does not have"):
        load_network(unetr(class_token=False), pt)
    with pytest.raises(InputError, match=r"none\.pt: no trained network found; run train first"):
        load_network(network, tmp_path / "none.pt")


def test_a_network_is_not_run_with_other_classes_or_spacing_than_it_was_trained_with(tmp_path, capsys):
    """Right shapes, wrong meaning: labels would be swapped without a word."""
    from bundle_runtime.weights.load import init_network, load_network
    from bundle_runtime.weights.save import save_encoder, save_network
    from custom_components.networks.unetr import UNETR

    network = on_vit(UNETR, 1, 16, 8, **{**SIZES, "num_layers": 2, "num_heads": 2}, out_channels=3, feature_size=2)
    names, prepared = ["background", "liver", "aorta"], {"spacing_mm": [6.0, 6.0, 6.0], "range": (0, 1)}
    path = tmp_path / "model.pt"
    save_network(path, network, {"class_names": names, "normalisation": prepared})
    load_network(network, path, names, prepared)
    load_network(network, path)
    with pytest.raises(InputError, match=r"class_names is .*'liver', 'aorta'.*'aorta', 'liver'"):
        load_network(network, path, ["background", "aorta", "liver"], prepared)
    with pytest.raises(InputError, match="normalisation"):
        load_network(network, path, names, {**prepared, "spacing_mm": [3.0, 3.0, 3.0]})

    encoder = tmp_path / "encoder.safetensors"
    save_encoder(encoder, network, {"normalisation": prepared})
    init_network(network, str(encoder), normalisation=prepared)
    assert "note: normalisation" not in capsys.readouterr().out
    init_network(network, str(encoder), normalisation={**prepared, "spacing_mm": [3.0, 3.0, 3.0]})
    assert "note: normalisation" in capsys.readouterr().out


def test_a_network_is_not_run_with_other_heads_or_choices_than_it_was_trained_with(tmp_path):
    """Every tensor fits and the output is another: the number of heads and the pooling are in no shape."""
    from bundle_runtime.weights.load import load_network
    from bundle_runtime.weights.save import save_network
    from custom_components.networks.token_classifier import TokenClassifier

    def build(heads: int = 2) -> TokenClassifier:
        sizes = {**SIZES, "num_layers": 2, "num_heads": heads, "spatial_dims": 2}
        return on_vit(TokenClassifier, 3, 16, 8, num_classes=2, **sizes)

    path = tmp_path / "model.pt"
    save_network(path, build(), {"head": "cls"})
    load_network(build(), path, choices={"head": "cls", "unstated": 1})
    with pytest.raises(InputError, match=r"head is cls in .*, pool in this run"):
        load_network(build(), path, choices={"head": "pool"})
    with pytest.raises(InputError, match=r"num_heads is 2 in .*, 3 in this run"):
        load_network(build(heads=3), path)


def test_weights_that_are_not_finite_replace_nothing(tmp_path):
    import torch
    from bundle_runtime.weights.save import save_encoder
    from custom_components.networks.vit import ViT

    network = ViT(1, 16, 8, 12, 24, 1, 2)
    path = save_encoder(tmp_path / "encoder.safetensors", network, {})
    before = path.read_bytes()
    with torch.no_grad():
        network.norm.weight[3] = float("nan")
    with pytest.raises(InputError, match=r"norm\.weight is NaN"):
        save_encoder(path, network, {})
    assert path.read_bytes() == before


def test_weights_of_an_unfinished_training_are_loaded_with_a_warning(pretrained, tmp_path, capsys):
    for finished, said in ((False, True), (True, False), (None, False)):
        sidecar = {"epoch": 7} if finished is None else {"epoch": 7, "finished": finished}
        file = save_encoder(tmp_path / "encoder.safetensors", pretrained[0], sidecar)
        init_network(unetr(), "mae", file)
        assert ("WARNING: the pre-training that wrote" in capsys.readouterr().out) == said
        save_network(tmp_path / "model.pt", unetr(), sidecar)
        load_network(unetr(), tmp_path / "model.pt")
        text = capsys.readouterr().out
        assert ("did not finish (these weights are of epoch 7)" in text) == said


def test_only_preparation_that_both_sides_state_is_compared(pretrained, capsys):
    """Segmentation of tiles prepares no cache: `fit` and the like are no difference, another mean is."""
    mae, path = pretrained
    save_encoder(path, mae, {"normalisation": {"mean": [0.5], "fit": "crop"}})
    init_network(unetr(), "mae", path, normalisation={"mean": [0.5]})
    assert "note: normalisation" not in capsys.readouterr().out
    init_network(unetr(), "mae", path, normalisation={"mean": [0.4]})
    assert "note: normalisation is {'mean': [0.5]}" in capsys.readouterr().out
