"""Fitting an encoder to a network of other sizes, and refusing where it cannot be done."""

import pytest
import torch
from bundle_runtime.weights.adapt import adapt
from bundle_runtime.weights.describe import PATCH_WEIGHT, POSITIONS
from custom_components.errors import InputError
from encoders import our_vit, timm_state


def test_same_sizes_are_the_identity():
    state = our_vit().state_dict()
    tensors, report = adapt(state, our_vit(pos_embed_type="sincos"))
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)
    assert report.complete
    assert not any([report.renamed, report.resampled, report.new, report.unused])


def test_positions_go_to_another_grid():
    tensors, report = adapt(our_vit().state_dict(), our_vit(img_size=(16, 8, 12)))
    assert tensors[POSITIONS].shape == (1, 4 * 2 * 3, 12)
    assert report.resampled == {POSITIONS: "2x2x2 to 4x2x3 positions"}
    assert report.complete


def test_grid_of_the_sidecar_is_used():
    vit = our_vit(img_size=(16, 8, 4))
    sidecar = {"architecture": {"img_size": [16, 8, 4], "patch_size": [4, 4, 4]}}
    tensors, report = adapt(vit.state_dict(), our_vit(), sidecar=sidecar)
    assert tensors[POSITIONS].shape == (1, 8, 12)
    assert report.resampled == {POSITIONS: "4x2x1 to 2x2x2 positions"}


def test_unknown_grid_asks_for_source_grid():
    state = our_vit(img_size=(16, 8, 12)).state_dict()
    with pytest.raises(
        InputError, match=r"a\.pt: the position table has 24 rows, which fits no .*2x2x2.*give source_grid"
    ):
        adapt(state, our_vit(), source="a.pt")
    assert adapt(state, our_vit(), source_grid=(4, 2, 3))[1].complete


def test_grid_that_could_be_two_things_asks_for_source_grid():
    state = our_vit().state_dict()
    with pytest.raises(InputError, match=r"8 rows, which could be 2x2x2 or 4x2x1"):
        adapt(state, our_vit(img_size=(16, 8, 4)))
    assert adapt(state, our_vit(img_size=(16, 8, 4)), source_grid=(4, 2, 1))[1].resampled == {}


def test_wrong_source_grid_is_refused():
    with pytest.raises(InputError, match=r"has 8 rows, but source_grid .* is 3x3x3"):
        adapt(our_vit().state_dict(), our_vit(), source_grid=(3, 3, 3))


def test_positions_of_a_2d_file_with_class_slot_go_to_another_grid():
    vit = our_vit(in_channels=1, img_size=(16, 12), spatial_dims=2)
    tensors, report = adapt(timm_state((3, 4, 4), 1 + 9), vit)
    assert tensors[POSITIONS].shape == (1, 12, 12)
    assert report.resampled[POSITIONS] == "3x3 to 4x3 positions"
    assert "3 input channels to 1" in report.resampled[PATCH_WEIGHT]


def test_table_without_class_slot_is_taken_as_it_is():
    state = timm_state((3, 4, 4), 9)
    tensors, _ = adapt(state, our_vit(in_channels=3, img_size=12, spatial_dims=2))
    assert torch.equal(tensors[POSITIONS], state["pos_embed"])
    assert torch.equal(tensors["cls_token"], state["cls_token"])


def test_2d_weights_inflate_to_3d_only_when_asked():
    state, vit = timm_state((3, 4, 4), 1 + 9), our_vit(img_size=(12, 12, 8))
    with pytest.raises(InputError, match=r"spatial_dims is 2 in the file, 3 in the network; .*inflate: true"):
        adapt(state, vit)
    tensors, report = adapt(state, vit, inflate=True)
    assert report.complete
    assert "2 along depth (a sine-cosine wave added)" in report.resampled[POSITIONS]
    vit.load_state_dict(tensors)
    flat = our_vit(in_channels=1, img_size=12, spatial_dims=2)
    flat.load_state_dict(adapt(state, flat)[0])
    slice_ = torch.randn(1, 1, 12, 12)
    volume = slice_[..., None].expand(-1, -1, -1, -1, 8)
    found = vit.patch_embedding(volume).view(1, 3, 3, 2, 12)
    torch.testing.assert_close(found.mean(3), flat.patch_embedding(slice_).view(1, 3, 3, 12), atol=1e-5, rtol=1e-5)
    assert (found[..., 0, :] - found[..., 1, :]).abs().mean() > 0.1  # depth is seen


def test_3d_weights_never_enter_a_2d_network():
    with pytest.raises(InputError, match="spatial_dims is 3 in the file, 2 in the network"):
        adapt(our_vit().state_dict(), our_vit(spatial_dims=2), inflate=True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"patch_size": 2, "img_size": 4}, "patch_size is 2x2x2 in the file, 4x4x4 in the network"),
        ({"hidden_size": 24}, r"hidden_size \(width\) is 24 in the file, 12 in the network"),
        ({"mlp_dim": 36}, "mlp_dim is 36 in the file, 24 in the network"),
        ({"num_layers": 2}, r"num_layers \(depth\) is 2 in the file, 3 in the network"),
    ],
)
def test_encoder_of_other_sizes_is_refused(changes, sentence):
    with pytest.raises(InputError, match=rf"enc\.safetensors: {sentence}; "):
        adapt(our_vit(**changes).state_dict(), our_vit(), source="enc.safetensors")


def test_other_number_of_heads_is_refused_where_the_sidecar_tells_it():
    """Heads do not show in any shape: the tensors would load and compute something else."""
    with pytest.raises(InputError, match="num_heads is 2 in the file, 3 in the network"):
        adapt(our_vit().state_dict(), our_vit(), sidecar={"architecture": {"num_heads": 2}})


def test_linear_embedding_of_another_patch_size_is_refused():
    state = timm_state((50,), 8)
    with pytest.raises(InputError, match="patch_size is a linear patch embedding of 50 values in the file, 4x4x4"):
        adapt(state, our_vit())


def test_deeper_file_is_not_complete():
    _, report = adapt(our_vit(num_layers=4).state_dict(), our_vit())
    assert not report.complete
    assert len(report.unplaced) == 12
    assert any("num_layers is 4 in the file, 3 in the network" in note for note in report.notes)


def test_class_token_on_one_side_only_is_reported():
    _, report = adapt(our_vit().state_dict(), our_vit(class_token=False))
    assert report.complete
    assert report.unused == ["cls_token"]
    assert any("class token of the file left out" in note for note in report.notes)
    _, report = adapt(our_vit(class_token=False).state_dict(), our_vit())
    assert report.new == ["cls_token"]
    assert any("the file has none" in note for note in report.notes)


def test_any_other_shape_is_never_skipped():
    state = {**our_vit().state_dict(), "blocks.1.norm2.bias": torch.zeros(5)}
    with pytest.raises(InputError, match=r"blocks\.1\.norm2\.bias is 5 in the file, 12 in the network"):
        adapt(state, our_vit())


def test_nan_is_refused():
    state = our_vit().state_dict()
    state["norm.bias"] = torch.full((12,), float("nan"))
    with pytest.raises(InputError, match=r"norm\.bias holds NaN or infinity"):
        adapt(state, our_vit())


def test_half_precision_is_read():
    state = {name: tensor.half() for name, tensor in our_vit().state_dict().items()}
    tensors, report = adapt(state, our_vit(img_size=12))
    assert report.complete
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
