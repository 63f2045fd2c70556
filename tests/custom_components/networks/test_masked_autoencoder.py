import pytest
import torch
from custom_components.errors import InputError
from custom_components.masking import block_order
from custom_components.networks.masked_autoencoder import MaskedAutoencoder, ReconstructionLoss
from custom_components.networks.vit import patchify
from encoders import on_vit
from hypothesis import given, settings
from hypothesis import strategies as st


def tiny(**kwargs: object) -> MaskedAutoencoder:
    options = {
        "hidden_size": 24, "mlp_dim": 48, "num_layers": 2, "num_heads": 2, "decoder_size": 18, "decoder_layers": 1,
        "decoder_heads": 2, "mask_ratio": 0.5, **kwargs,
    }  # fmt: skip
    return on_vit(MaskedAutoencoder, options.pop("in_channels", 2), options.pop("img_size", 16), 8, **options)


def trainable(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("channels", "size", "count"), [(1, 96, 104_272_384), (4, 128, 118_440_448)])
def test_parameter_counts_of_the_paper(channels: int, size: int, count: int) -> None:
    with torch.device("meta"):
        network = on_vit(MaskedAutoencoder, channels, size, mask_ratio=0.125)
    assert trainable(network) == count


def test_loss_at_the_start_on_noise() -> None:
    """About 1.17 for the decoder of the BTCV bundle on standard-normal input."""
    torch.manual_seed(0)
    network = on_vit(MaskedAutoencoder, 1, 48, num_layers=1, decoder_layers=8, mask_ratio=0.125)
    with torch.no_grad():
        loss = ReconstructionLoss()(network(torch.randn(4, 1, 48, 48, 48)))
    assert loss.item() == pytest.approx(1.17, abs=0.1)


@pytest.mark.parametrize("axes", [2, 3])
def test_targets_are_the_normalised_hidden_patches(axes: int) -> None:
    network = tiny(spatial_dims=axes)
    image = torch.randn(3, 2, *[16] * axes)
    output = network(image)
    count = 2**axes // 2
    assert output.pred.shape == output.target.shape == (3, count, 2 * 8**axes)
    for sample in range(3):
        patches = patchify(image, [8] * axes)[sample, output.hidden[sample]]
        expected = (patches - patches.mean(1, keepdim=True)) / patches.var(1, correction=0, keepdim=True).add(
            1e-6
        ).sqrt()
        assert torch.allclose(output.target[sample], expected, atol=1e-5)
    plain = tiny(spatial_dims=axes, norm_pix_loss=False)
    output = plain(image)
    assert torch.equal(output.target[0], patchify(image, [8] * axes)[0, output.hidden[0]])


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(2, 3), st.floats(0.1, 100.0), st.floats(-50.0, 50.0))
def test_channels_are_normalised_by_themselves_on_request(channels: int, axes: int, gain: float, shift: float) -> None:
    """Each is then scaled to mean 0 and variance 1, whatever its unit; the order inside a vector is channel-first."""
    torch.manual_seed(0)
    network = tiny(in_channels=channels, spatial_dims=axes, norm_pix_per_channel=True)
    image, noise = torch.randn(2, channels, *[16] * axes), torch.rand(2, 2**axes)
    target = network(image, noise).target
    alone = tiny(in_channels=1, spatial_dims=axes)
    for channel in range(channels):
        own = target[..., channel * 8**axes : (channel + 1) * 8**axes]
        assert torch.allclose(own, alone(image[:, channel : channel + 1], noise).target, atol=1e-5)
        assert own.mean(-1).abs().max() < 1e-5
        assert torch.allclose(own.var(-1, correction=0), torch.ones(()), atol=1e-3)
    image[:, 0] = gain * image[:, 0] + shift  # another scanner gain in one sequence changes nothing
    assert torch.allclose(network(image, noise).target, target, atol=2e-3)


def test_loss_is_that_of_facebooks_mae_with_the_unbiased_variance() -> None:
    """Its `forward_loss`, written out: pixels of a patch as (p, q, C), variance divided by P - 1, 1e-6 in the root."""
    torch.manual_seed(0)
    network = tiny(in_channels=3, spatial_dims=2, norm_pix_variance="unbiased").eval()
    image, noise = torch.randn(4, 3, 16, 16), torch.rand(4, 4)
    output = network(image, noise)
    patches = image.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(4, 4, -1)
    target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6) ** 0.5
    index = output.hidden.unsqueeze(-1).expand(-1, -1, 192)
    pred = output.pred.unflatten(2, (3, 8, 8)).permute(0, 1, 3, 4, 2).flatten(2)
    expected = ((pred - target.gather(1, index)) ** 2).mean(-1).mean()
    assert ReconstructionLoss()(output).item() == pytest.approx(expected.item(), abs=1e-6)
    plain = tiny(in_channels=3, spatial_dims=2).eval()
    assert ReconstructionLoss()(plain(image, noise)).item() - expected.item() > 1e-3  # the size of the difference


def test_another_word_for_the_variance_is_refused() -> None:
    with pytest.raises(InputError, match=r"norm_pix_variance is 'sample'; choose one of population, unbiased"):
        tiny(norm_pix_variance="sample")


def test_joint_normalisation_lets_the_loudest_channel_win() -> None:
    """The paper's form (SelfMedMAE mae3d.py:137): 4 x 16^3 values share one mean and deviation."""
    torch.manual_seed(0)
    image, noise = torch.randn(2, 2, 16, 16, 16), torch.rand(2, 8)
    image[:, 1] *= 0.01
    joint, single = (tiny(norm_pix_per_channel=flag)(image, noise).target for flag in (False, True))
    assert joint[..., 512:].var() < 0.01 < joint[..., :512].var()
    assert single[..., 512:].var() == pytest.approx(1.0, abs=0.01)


def test_prediction_depends_on_visible_patches_only() -> None:
    network = tiny().eval()
    noise = torch.rand(1, 8)
    image = torch.randn(1, 2, 16, 16, 16)
    output = network(image, noise)
    _, mask = network.reconstruct(image, noise)
    scrambled = torch.where(mask.bool(), torch.randn_like(image), image)
    assert torch.allclose(network(scrambled, noise).pred, output.pred, atol=1e-5)


def test_reconstruction_keeps_visible_voxels_and_true_brightness() -> None:
    """The most asked question about MAE pictures (facebookresearch/mae#12, #95): un-normalise before showing."""
    network = tiny().eval()
    image = 50.0 + 3.0 * torch.randn(2, 2, 16, 16, 16)
    filled, mask = network.reconstruct(image)
    assert mask.shape == (2, 1, 16, 16, 16)
    assert mask.mean().item() == pytest.approx(0.5)
    visible = ~mask.bool().expand_as(image)
    assert torch.equal(filled[visible], image[visible])
    assert 30 < filled[~visible].mean().item() < 70


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_perfect_prediction_reconstructs_the_image(per_channel: bool) -> None:
    network = tiny(norm_pix_per_channel=per_channel).eval()
    image = torch.randn(1, 2, 16, 16, 16) * torch.tensor([5.0, 0.2]).view(1, 2, 1, 1, 1)
    noise = torch.rand(1, 8)
    target = network(image, noise).target
    network.decode = lambda tokens, visible, hidden: target
    assert torch.allclose(network.reconstruct(image, noise)[0], image, atol=1e-4)


def test_decoding_a_share_of_the_hidden_patches() -> None:
    image, noise = torch.randn(2, 2, 16, 16, 16), torch.rand(2, 8)
    full, part = tiny(), tiny(predict_ratio=0.5)
    part.load_state_dict(full.state_dict())
    assert torch.equal(part(image, noise).hidden, full(image, noise).hidden[:, :2])
    with pytest.raises(ValueError, match="predict_ratio"):
        tiny(predict_ratio=0.0)


@pytest.mark.parametrize("axes", [2, 3])
def test_blocks_are_hidden_on_request(axes: int) -> None:
    network = tiny(spatial_dims=axes, img_size=32, mask_strategy="block", predict_ratio=0.5)
    image, noise = torch.randn(2, 2, *[32] * axes), torch.rand(2, 4**axes)
    visible, hidden = network.split(image, noise)
    whole = tiny(spatial_dims=axes, img_size=32, mask_strategy="block").split(image, noise)
    assert torch.equal(whole[0], visible)
    assert torch.equal(block_order(noise, 0.5, [4] * axes), torch.cat(whole, dim=1))
    for sample in range(2):  # the share that is scored is a random one, not what the boxes reached first
        first = noise[sample, hidden[sample]]
        assert torch.equal(first, noise[sample, whole[1][sample]].sort().values[: len(first)])
    ReconstructionLoss()(network(image, noise)).backward()
    filled, mask = network.reconstruct(image, noise)
    assert torch.equal(filled[:, :1][~mask.bool()], image[:, :1][~mask.bool()])


def test_unknown_strategies_are_refused() -> None:
    with pytest.raises(ValueError, match="mask_strategy is 'attention'; choose one of block, random"):
        tiny(mask_strategy="attention")


def test_works_under_bf16_autocast() -> None:
    """MONAI 1.6.1 masked_autoencoder_vit.py:203 fails there ('Index put requires the ... dtypes match')."""
    network = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(torch.randn(2, 2, 16, 16, 16))
    loss = ReconstructionLoss()(output)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_every_trainable_parameter_gets_a_gradient() -> None:
    network = tiny()
    ReconstructionLoss()(network(torch.randn(2, 2, 16, 16, 16))).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert frozen == ["decoder_position_embeddings", "encoder.patch_embedding.position_embeddings"]


def test_learns_to_fill_in_a_smooth_image() -> None:
    torch.manual_seed(0)
    network = tiny(in_channels=1, norm_pix_loss=False)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    axis = torch.linspace(0, 1, 16)
    ramp = (axis[:, None, None] + axis[:, None] + axis)[None, None]
    losses = []
    for _ in range(60):
        image = ramp + torch.rand(4, 1, 1, 1, 1)
        loss = ReconstructionLoss()(network(image))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.1 * sum(losses[:5])


def test_reconstruction_loss_is_the_mean_over_hidden_values() -> None:
    pred, true = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    true[0, 0, 0] = 6.0
    assert ReconstructionLoss()((pred, true, torch.zeros(2, 3))).item() == pytest.approx(36 / 24)
